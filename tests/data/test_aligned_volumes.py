"""Masks on other grids, and DICOM segmentations: brought onto the images by where they lie, or refused."""

import re

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, SegmentationStorage

from modicum.data.image import ImageRef
from modicum.data.layouts import load_manifest
from modicum.data.plane import Grid, Plane
from modicum.data.readers import read_image
from modicum.data.same_place import PlacedImage, check_same_place
from modicum.errors import BrokenImageError, InputError

SIDE, DEPTH = 16, 5
LPS = np.diag([-1.0, -1, 2, 1])
DIRECTIONS, SPACING, STEP = [1, 0, 0, 0, 1, 0], [0.5, 0.5], 2.5


def ball(affine, shape, centre=(-7.0, -8.0, 4.0), radius=4.0):
    """1 at the voxels whose centres (RAS, mm) are within a ball."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    millimetres = index @ affine[:3, :3].T + affine[:3, 3]
    return (np.linalg.norm(millimetres - centre, axis=-1) <= radius).astype(np.uint8)


def nifti(path, affine, values):
    nib.save(nib.Nifti1Image(values, affine), path)
    return path.name


def table(folder, *rows, head="image,mask"):
    (folder / "data.csv").write_text("\n".join([head, *rows]) + "\n")
    return folder / "data.csv"


OTHER_GRIDS = {
    "identity affine": np.array([[1.0, 0, 0, -20], [0, 1, 0, -20], [0, 0, 1, -3], [0, 0, 0, 1]]),
    "half the spacing": np.array([[0.5, 0, 0, -18], [0, 0.5, 0, -18], [0, 0, 0.5, -3], [0, 0, 0, 1]]),
    "axes in another order": np.array([[0, 0, 1.0, -20], [1, 0, 0, -20], [0, 1, 0, -3], [0, 0, 0, 1]]),
    "oblique": np.array([[0.8, -0.6, 0, -10], [0.6, 0.8, 0, -25], [0, 0, 1, -3], [0, 0, 0, 1]]),
}


@pytest.mark.parametrize("name", OTHER_GRIDS)
def test_a_mask_of_another_grid_is_resampled_on_request(tmp_path, name):
    """The ball lies where it lies, whatever grid its mask was drawn on; without the request it is refused."""
    affine = OTHER_GRIDS[name]
    shape = (72, 72, 40) if name == "half the spacing" else (40, 40, 40)
    image = nifti(tmp_path / "i.nii.gz", LPS, np.ones((SIDE, SIDE, DEPTH), np.int16))
    mask = nifti(tmp_path / "m.nii.gz", affine, ball(affine, shape))
    path = table(tmp_path, f"{image},{mask}")
    with pytest.raises(InputError, match="its mask has"):
        load_manifest(path, slices="all")
    made = load_manifest(path, slices="all", align_geometry="resample")
    assert any("5 files beside images resampled" in note for note in made.notes)
    expected = ball(LPS, (SIDE, SIDE, DEPTH))
    whole = np.stack([read_image(ref).values()[0] for ref in made.refs("mask")], -1)
    # Rows of the upright picture run from front to back, columns from the patient's right to left: here y and x.
    truth = expected.transpose(1, 0, 2)
    assert truth.sum() > 100
    overlap = 2 * (whole * truth).sum() / (whole.sum() + truth.sum())
    assert overlap > (0.999 if name in ("identity affine", "axes in another order") else 0.9)
    for image_ref, ref in zip(made.refs(), made.refs("mask"), strict=True):
        places = [PlacedImage.of_image(read_image(one)) for one in (image_ref, ref)]
        check_same_place(*places, "row 2: its mask")
    labelled = load_manifest(path, slices="labelled", align_geometry="resample")
    assert [ref.index for ref in labelled.refs()] == np.flatnonzero(whole.any((0, 1))).tolist()


def test_targets_are_interpolated_and_labels_are_not(tmp_path):
    affine = np.diag([-1.0, -1, 2, 1])
    ramp = np.broadcast_to(np.arange(0, 160, 10.0)[:, None, None], (SIDE, SIDE, DEPTH)).astype(np.float32)
    image = nifti(tmp_path / "i.nii", affine, ramp)
    moved = affine.copy()
    moved[0, 3] = 0.5  # half a voxel
    other = nifti(tmp_path / "t.nii", moved, ramp)
    path = table(tmp_path, f"{image},{other},{other}", head="image,target,mask")
    made = load_manifest(path, align_geometry="resample")
    target, mask = (read_image(made.refs(column)[0]).values()[0] for column in ("target", "mask"))
    np.testing.assert_allclose(target[0, 1:15], np.arange(1, 15) * 10 + 5, atol=0.01)
    assert set(np.unique(mask).round(3)) <= {*np.arange(0, 160, 10.0)}


def test_what_lies_there_stays_as_it_is(tmp_path):
    image = nifti(tmp_path / "i.nii", LPS, np.ones((SIDE, SIDE, DEPTH), np.int16))
    mask = nifti(tmp_path / "m.nii", LPS, ball(LPS, (SIDE, SIDE, DEPTH)))
    path = table(tmp_path, f"{image},{mask}")
    made = load_manifest(path, align_geometry="resample")
    assert [str(ref) for ref in made.refs("mask")] == [mask]
    with pytest.raises(InputError, match="--align-geometry 'resampel' is unknown"):
        load_manifest(path, align_geometry="resampel")


def test_references_with_a_grid_read_back(tmp_path):
    grid = Grid(Plane((1.5, -2.0, 1e-7), (0.0, 0.5, 0.0), (0.25, 0.0, 0.0)), 5, 7, labels=False)
    ref = ImageRef(tmp_path / "m.nii", frame=2, onto=str(grid))
    assert ImageRef.parse(str(ref)) == ref
    assert Grid.of_text(ref.onto) == grid
    assert ImageRef.parse("a#onto=5x7,nearest,1").path.name == "a#onto=5x7,nearest,1"


def ct(path, index):
    """One slice of a series, at 2.5 mm a slice."""
    ds = dataset(path, CTImageStorage)
    ds.ImagePositionPatient = [-4.0, -4.0, STEP * index]
    ds.ImageOrientationPatient, ds.PixelSpacing = DIRECTIONS, SPACING
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit = 15
    ds.PixelData = np.full((SIDE, SIDE), 100 + index, "<u2").tobytes()
    ds.save_as(path, enforce_file_format=True)
    return path.name


def dataset(path, kind):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = kind
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    ds.Rows = ds.Columns = SIDE
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    return ds


def item(**elements):
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def segmentation(
    path, frames, kind="BINARY", offset=(0.0, 0.0, 0.0), spacing=SPACING, labels=None, largest=None
):
    """A segmentation: frames of (segment, slice, region), as C.8.20 has them; a bit a pixel unless it is fractional."""
    ds = dataset(path, SegmentationStorage)
    ds.BitsAllocated = ds.BitsStored = 8 if largest else 1
    ds.HighBit = ds.BitsStored - 1
    ds.SegmentationType = kind
    if largest:
        ds.MaximumFractionalValue = largest
    ds.SegmentSequence = Sequence(
        [item(SegmentNumber=number, SegmentLabel=label) for number, label in (labels or {}).items()]
    )
    ds.Rows, ds.Columns = frames[0][2].shape
    ds.NumberOfFrames = len(frames)
    ds.SharedFunctionalGroupsSequence = Sequence(
        [
            item(
                PlaneOrientationSequence=Sequence([item(ImageOrientationPatient=DIRECTIONS)]),
                PixelMeasuresSequence=Sequence([item(PixelSpacing=list(spacing), SliceThickness=STEP)]),
            )
        ]
    )
    ds.PerFrameFunctionalGroupsSequence = Sequence(
        [
            item(
                SegmentIdentificationSequence=Sequence([item(ReferencedSegmentNumber=segment)]),
                PlanePositionSequence=Sequence(
                    [item(ImagePositionPatient=[-4 + offset[0], -4 + offset[1], STEP * index + offset[2]])]
                ),
            )
            for segment, index, _ in frames
        ]
    )
    values = np.concatenate([region.astype(np.uint8).ravel() for *_, region in frames])
    ds.PixelData = (values if largest else np.packbits(values, bitorder="little")).tobytes()
    ds.save_as(path, enforce_file_format=True)
    return path.name


def region(top, left, side=4):
    pixels = np.zeros((SIDE, SIDE), bool)
    pixels[top : top + side, left : left + side] = True
    return pixels


FRAMES = [(1, 1, region(1, 2)), (2, 1, region(9, 9)), (1, 3, region(4, 4)), (2, 2, region(0, 0))]


def read_masks(folder, frames=FRAMES, **changes):
    images = [ct(folder / f"{index}.dcm", index) for index in range(DEPTH)]
    seg = segmentation(folder / "seg.dcm", frames, **changes)
    made = load_manifest(table(folder, *(f"{image},{seg}" for image in images)))
    return made, [read_image(ref).values()[0] for ref in made.refs("mask")]


def test_frames_of_a_segmentation_go_to_the_images_in_whose_plane_they_lie(tmp_path):
    made, masks = read_masks(tmp_path)
    for index in range(DEPTH):
        expected = np.zeros((SIDE, SIDE))
        for segment, at, pixels in FRAMES:
            expected[pixels & (at == index)] = segment
        assert np.array_equal(masks[index], expected), index
    assert any("5 images matched with frames of DICOM segmentations" in note for note in made.notes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"offset": (3.0, 0, 0)}, r"lies up to 3 mm beside the image's pixels"),
        ({"spacing": (0.6, 0.6)}, "beside the image's pixels"),
        ({"offset": (0, 0, 1.0)}, r"nearest frame lies 1 mm from the image's plane"),
    ],
)
def test_segmentations_that_do_not_fit_are_refused(tmp_path, changes, said):
    with pytest.raises(BrokenImageError, match=said):
        read_masks(tmp_path, **changes)


def test_a_segmentation_beside_a_picture_without_place_is_refused_by_row(tmp_path):
    seg = segmentation(tmp_path / "seg.dcm", FRAMES)
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    with pytest.raises(
        InputError, match="row 2: its mask is a DICOM segmentation, and the image does not say"
    ):
        load_manifest(table(tmp_path, f"p.png,{seg}"))
    made = load_manifest(table(tmp_path, f"p.png,{seg}#frame=2"))
    assert np.array_equal(read_image(made.refs("mask")[0]).values()[0] > 0, FRAMES[2][2])


def test_a_segmentation_that_another_library_wrote(tmp_path):
    """highdicom writes what we read: the same regions at the same images."""
    pytest.importorskip("highdicom", reason="needs the extra 'dicom'")
    from modicum.data.writers.segmentation_object import SegmentationObject

    images = [tmp_path / ct(tmp_path / f"{index}.dcm", index) for index in range(DEPTH)]
    made = SegmentationObject(("a", "b"), "model", "NOBODY")
    regions = np.random.default_rng(0).random((DEPTH, SIDE, SIDE)) < 0.3
    regions[2] = False
    for image, one in zip(images, regions, strict=True):
        ds = pydicom.dcmread(image)
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.5", "1.2.6", "1.2.7"
        ds.save_as(image)
        assert made.add(ImageRef(image), np.stack([np.zeros_like(one), one]))
    made.write(tmp_path / "seg.dcm")
    manifest = load_manifest(table(tmp_path, *(f"{image.name},seg.dcm" for image in images)))
    for ref, one in zip(manifest.refs("mask"), regions, strict=True):
        assert np.array_equal(read_image(ref).values()[0], 2.0 * one)


TURNED = [0.8, 0.6, 0, -0.6, 0.8, 0]
OTHER_STACKS = {
    "half a slice off": {"step": 2.5, "first": [-4.0, -4.0, 1.25]},
    "thinner slices": {"step": 1.25, "count": 9},
    "pixels of another size": {"step": 2.5, "spacing": [0.25, 1.0], "first": [-8.0, -2.0, 0.0]},
    "turned in its plane": {"step": 2.5, "directions": TURNED},
    "from head to foot": {"step": -2.5, "first": [-4.0, -4.0, 10.0]},
    "a tilted stack": {"step": 2.0, "tilt": 0.5, "count": 6},
}


def mask_series(
    folder, step, count=5, first=(-4.0, -4.0, 0.0), spacing=SPACING, directions=DIRECTIONS, tilt=0.0
):
    """A ball as slices of a series, each in a file of its own; the file's value says whether its voxel is in it."""
    series = pydicom.uid.generate_uid()
    along_rows, along_columns = np.array(directions, float).reshape(2, 3)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for at in range(count):
        position = np.array(first) + np.array([0, tilt * at, step * at])
        points = (
            position
            + rows[..., None] * along_columns * spacing[0]
            + columns[..., None] * along_rows * spacing[1]
        )
        ds = dataset(folder / f"m{at}.dcm", CTImageStorage)
        ds.SeriesInstanceUID = series
        ds.ImagePositionPatient, ds.ImageOrientationPatient = position.tolist(), list(directions)
        ds.PixelSpacing, ds.SliceThickness = list(spacing), abs(step)
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit = 15
        inside = np.linalg.norm(points - BALL[0], axis=-1) <= BALL[1]
        ds.PixelData = inside.astype("<u2").tobytes()
        ds.save_as(ds.filename, enforce_file_format=True)


BALL = np.array([-0.5, 0.0, 5.0]), 2.2


@pytest.mark.parametrize("name", OTHER_STACKS)
def test_a_series_of_files_is_resampled_as_one_stack(tmp_path, name):
    """Whichever of its files a row names, its pixels are those that lie nearest, of any file of the series."""
    images = [ct(tmp_path / f"{index}.dcm", index) for index in range(DEPTH)]
    (tmp_path / "masks").mkdir()
    mask_series(tmp_path / "masks", **OTHER_STACKS[name])
    path = table(tmp_path, *(f"{image},masks/m{at}.dcm" for at, image in enumerate(images)))
    made = load_manifest(path, align_geometry="resample")
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for at, ref in enumerate(made.refs("mask")):
        points = np.stack([-4 + 0.5 * columns, -4 + 0.5 * rows, np.full(rows.shape, STEP * at)], -1)
        depth = np.linalg.norm(points - BALL[0], axis=-1) - BALL[1]
        marked = read_image(ref, empty=True).values()[0] > 0
        slack = 1.6  # half a slice and half a pixel, in any direction
        assert marked[depth < -slack].all()
        assert not marked[depth > slack].any()
    # What lies where its image does is taken as it is: the first slice of some stacks, the middle one of another.
    assert any(re.search(r"[45] files beside images resampled", note) for note in made.notes)


def test_slices_of_other_series_in_the_folder_are_not_of_the_stack(tmp_path):
    images = [ct(tmp_path / f"{index}.dcm", index) for index in range(DEPTH)]
    mask_series(tmp_path, 2.5, first=(-4.0, -4.0, 0.5))
    alone = pydicom.dcmread(tmp_path / "m0.dcm")
    alone.SeriesInstanceUID, alone.PixelData = "9.9", np.full((SIDE, SIDE), 7, "<u2").tobytes()
    alone.save_as(tmp_path / "alone.dcm")
    (tmp_path / "broken.dcm").write_bytes((tmp_path / "m1.dcm").read_bytes()[:300])
    path = table(tmp_path, *(f"{image},m{at}.dcm" for at, image in enumerate(images)))
    masks = [
        read_image(ref, empty=True).values()
        for ref in load_manifest(path, align_geometry="resample").refs("mask")
    ]
    assert max(mask.max() for mask in masks) == 1
    path = table(tmp_path, f"{images[4]},alone.dcm")
    (ref,) = load_manifest(path, align_geometry="resample").refs("mask")
    with pytest.raises(BrokenImageError, match=r"is one plane 9\.5 mm from the image's"):
        read_image(ref)
