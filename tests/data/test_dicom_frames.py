"""Enhanced DICOM objects: each frame's own place, and a volume for each weighting."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian

from modicum.data.adjacent_slices import AdjacentSlices
from modicum.data.image import ImageRef
from modicum.data.readers import read_image
from modicum.data.volumes import dicom_volume, find_volumes
from modicum.errors import InputError

AXIAL, STEP = [1, 0, 0, 0, 1, 0], 3.0


def item(**elements):
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def frame(index, directions=AXIAL, position=None, groups=None, dimensions=None):
    """The functional groups of one frame; ``groups`` are further ones by name."""
    content = {"DimensionIndexValues": dimensions} if dimensions else {}
    made = item(
        PlanePositionSequence=Sequence([item(ImagePositionPatient=position or [-5.0, -6.0, STEP * index])]),
        PlaneOrientationSequence=Sequence([item(ImageOrientationPatient=directions)]),
        FrameContentSequence=Sequence([item(**content)]),
    )
    for name, elements in (groups or {}).items():
        sequence = getattr(made, name, None) or Sequence([Dataset()])
        for keyword, value in elements.items():
            setattr(sequence[0], keyword, value)
        setattr(made, name, sequence)
    return made


def enhanced(path, frames, dimensions=()):
    """Frame k holds the value k everywhere."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = EnhancedMRImageStorage, "1.2.3"
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    ds.Rows, ds.Columns, ds.NumberOfFrames, ds.SeriesInstanceUID, ds.Modality = 4, 6, len(frames), "1.2", "MR"
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.SharedFunctionalGroupsSequence = Sequence(
        [item(PixelMeasuresSequence=Sequence([item(PixelSpacing=[0.5, 0.75])]))]
    )
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    if dimensions:
        ds.DimensionIndexSequence = Sequence(
            [item(DimensionIndexPointer=pydicom.tag.Tag(keyword)) for keyword in dimensions]
        )
    ds.PixelData = np.repeat(np.arange(len(frames), dtype="<u2"), 24).tobytes()
    ds.save_as(path, enforce_file_format=True)
    return path


def frames_of(volumes):
    return [[ref.frame for ref in volume.refs] for volume in volumes]


def echo(time):
    return {"MREchoSequence": {"EffectiveEchoTime": time}}


def diffusion(b, direction=None):
    elements = {"DiffusionBValue": b}
    if direction:
        elements["DiffusionGradientDirectionSequence"] = Sequence(
            [item(DiffusionGradientOrientation=direction)]
        )
    return {"MRDiffusionSequence": elements}


def test_frames_are_in_order_along_their_normal_at_their_own_places(tmp_path):
    path = enhanced(tmp_path / "a.dcm", [frame(index) for index in (2, 0, 3, 1)])
    (volume,) = find_volumes([path])
    assert frames_of([volume]) == [[1, 3, 0, 2]]
    assert volume.spacing == pytest.approx((STEP, 0.5, 0.75))
    np.testing.assert_allclose(volume.affine @ [2, 3, 5, 1], [5 - 5 * 0.75, 6 - 3 * 0.5, 2 * STEP, 1])
    for index, ref in enumerate(volume.refs):
        lps = (volume.affine @ [index, 0, 0, 1])[:3] * [-1, -1, 1]
        np.testing.assert_allclose(read_image(ref).plane.origin, lps, atol=1e-9)
    assert dicom_volume([path]).shape == (4, 4, 6)


def test_a_tilted_gantry_shears_an_enhanced_object_too(tmp_path):
    frames = [frame(0, position=[-5.0, -6.0 + 0.9 * index, STEP * index]) for index in range(4)]
    (volume,) = find_volumes([enhanced(tmp_path / "a.dcm", frames)])
    np.testing.assert_allclose(volume.affine @ [3, 0, 0, 1], [5, 6 - 2.7, 9, 1], atol=1e-9)
    bent = [frame(0, position=[-5.0, -6.0 + 0.5 * index**2, STEP * index]) for index in range(4)]
    with pytest.raises(InputError, match=r"#frame=\d' .*from its place in a regular grid"):
        find_volumes([enhanced(tmp_path / "b.dcm", bent)])


WEIGHTINGS = {
    "echoes, interleaved": [frame(k, groups=echo(time)) for k in range(3) for time in (10.0, 90.0)],
    "echoes, one after the other": [frame(k, groups=echo(time)) for time in (10.0, 90.0) for k in range(3)],
    "echoes at places of their own": [frame(k, groups=echo(10.0 + 80 * (k > 2))) for k in range(6)],
    "diffusion": [frame(k, groups=diffusion(b)) for k in range(3) for b in (0.0, 1000.0)],
    "gradients": [
        frame(k, groups=diffusion(900.0, g)) for k in range(3) for g in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    ],
    "phases": [
        frame(k, groups={"FrameContentSequence": {"TemporalPositionIndex": at}})
        for at in (1, 2)
        for k in range(3)
    ],
    "stacks": [
        frame(k, groups={"FrameContentSequence": {"StackID": name}}) for name in "ab" for k in range(3)
    ],
    "magnitude and phase": [
        frame(k, groups={"MRImageFrameTypeSequence": {"ComplexImageComponent": kind}})
        for kind in ("MAGNITUDE", "PHASE")
        for k in range(3)
    ],
    "planes": [frame(k) for k in range(3)]
    + [frame(k, [1, 0, 0, 0, 0, -1], [-5.0, STEP * k, 9.0]) for k in range(3)],
}


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_each_weighting_is_a_volume_of_its_own(tmp_path, name):
    path = enhanced(tmp_path / "a.dcm", WEIGHTINGS[name])
    volumes = find_volumes([path])
    assert [len(volume) for volume in volumes] == [3, 3]
    assert all(volume.spacing[0] == pytest.approx(STEP) for volume in volumes)
    assert sorted(index for found in frames_of(volumes) for index in found) == list(range(6))
    with pytest.raises(InputError, match="holds 2 volumes"):
        dicom_volume([path])


def test_dimensions_tell_apart_what_no_known_element_does(tmp_path):
    frames = [frame(k, dimensions=[at, k + 1]) for k in range(3) for at in (1, 2)]
    made = enhanced(tmp_path / "a.dcm", frames, ("NominalCardiacTriggerDelayTime", "InStackPositionNumber"))
    assert frames_of(find_volumes([made])) == [[0, 2, 4], [1, 3, 5]]
    same = [frame(k) for k in range(3) for _ in range(2)]
    with pytest.raises(
        InputError, match="frames 0 and 1 lie at the same place, and nothing says how they differ"
    ):
        find_volumes([enhanced(tmp_path / "b.dcm", same)])


def test_what_differs_from_slice_to_slice_makes_no_volumes(tmp_path):
    frames = [frame(k, groups=echo(10.0 + k)) for k in range(4)]
    assert frames_of(find_volumes([enhanced(tmp_path / "a.dcm", frames)])) == [[0, 1, 2, 3]]


def turned(angle):
    return [float(np.cos(angle)), float(np.sin(angle)), 0, -float(np.sin(angle)), float(np.cos(angle)), 0]


@pytest.mark.parametrize("angle", [5e-4, 0.0015, 0.4995, 0.0])
def test_frames_whose_directions_differ_by_rounding_are_one_volume(tmp_path, angle):
    """Written anew from other numbers, a direction differs in its last digits, on either side of any digit's half."""
    frames = [frame(k, turned(angle + 1e-6 * (-1) ** k)) for k in range(4)]
    assert frames_of(find_volumes([enhanced(tmp_path / "a.dcm", frames)])) == [[0, 1, 2, 3]]


def test_adjacent_slices_are_of_the_same_weighting(tmp_path):
    path = enhanced(tmp_path / "a.dcm", WEIGHTINGS["echoes, interleaved"])
    around = AdjacentSlices().around(ImageRef(path, frame=3), 1)
    assert [ref.frame for ref in around] == [1, 3, 5]
    assert [ref.frame for ref in AdjacentSlices().around(ImageRef(path, frame=0), 1)] == [0, 0, 2]
