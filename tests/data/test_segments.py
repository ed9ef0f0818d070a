"""DICOM segmentations that overlap, hold fractions, or lie on another grid than the images."""

import numpy as np
import pandas as pd
import pytest
from test_aligned_volumes import DEPTH, FRAMES, SIDE, STEP, ct, dataset, item, region, segmentation, table

from modicum.data.image import ImageRef
from modicum.data.layouts import load_manifest
from modicum.data.readers import read_image, segments_of
from modicum.errors import BrokenImageError, InputError

LABELS = {1: "lesion", 2: "organ"}
OVERLAPPING = [(1, 1, region(1, 1)), (2, 1, region(2, 2)), (2, 3, region(8, 8))]


def loaded(folder, frames, head="image,mask", part="", images=None, more=None, **changes):
    images = images or [ct(folder / f"{index}.dcm", index) for index in range(DEPTH)]
    seg = segmentation(folder / "seg.dcm", frames, labels=LABELS, **changes)
    return load_manifest(
        table(folder, *(f"{image},{seg}{part}" for image in images), head=head), **(more or {})
    )


def pictures(manifest, column):
    return [
        read_image(ImageRef.parse(text, manifest.root)).values()[0] if isinstance(text, str) else None
        for text in manifest.table[column]
    ]


def expected(frames, segment, index):
    found = np.zeros((SIDE, SIDE), bool)
    for number, at, pixels in frames:
        if (number, at) == (segment, index):
            found |= pixels
    return found


def test_segments_that_overlap_become_a_mask_each(tmp_path):
    manifest = loaded(tmp_path, OVERLAPPING)
    assert "mask" not in manifest.table
    for number, label in LABELS.items():
        for index, picture in enumerate(pictures(manifest, f"masks:{label}")):
            assert np.array_equal(picture > 0, expected(OVERLAPPING, number, index)), (label, index)
    assert any(
        "segments of 1 DICOM segmentation overlap: a mask each (masks:lesion, masks:organ)" in note
        for note in manifest.notes
    )


def test_segments_that_do_not_overlap_stay_codes(tmp_path):
    manifest = loaded(tmp_path, FRAMES)
    assert "mask" in manifest.table
    assert segments_of(ImageRef(tmp_path / "seg.dcm")).overlap is False
    assert segments_of(ImageRef(tmp_path / "0.dcm")) is None


def test_a_segment_is_named_in_a_column_of_its_own(tmp_path):
    manifest = loaded(tmp_path, OVERLAPPING, head="image,masks:organ", part="#segment=2")
    found = pictures(manifest, "masks:organ")
    assert [int(picture.sum()) for picture in found] == [0, 16, 0, 16, 0]
    assert set(np.unique(np.stack(found))) == {0.0, 1.0}


def test_an_overlapping_object_whose_segment_is_not_named_beside_other_masks_is_refused(tmp_path):
    images = [ct(tmp_path / f"{index}.dcm", index) for index in range(2)]
    seg = segmentation(tmp_path / "seg.dcm", OVERLAPPING, labels=LABELS)
    other = segmentation(tmp_path / "other.dcm", FRAMES, labels=LABELS)
    rows = [f"{image},{seg},{other}" for image in images]
    manifest = load_manifest(table(tmp_path, *rows, head="image,mask,masks:more"))
    with pytest.raises(BrokenImageError, match="whose segments overlap; name one"):
        read_image(manifest.refs("mask")[1])


@pytest.mark.parametrize("file", ["0.dcm", "seg.dcm#frame=0"])
def test_a_segment_of_what_has_none_is_refused(tmp_path, file):
    ct(tmp_path / "0.dcm", 0)
    segmentation(tmp_path / "seg.dcm", FRAMES)
    name, _, part = file.partition("#")
    with pytest.raises(BrokenImageError, match="'segment=' in its reference does not apply"):
        read_image(f"{tmp_path / name}#{part + '&' if part else ''}segment=1")


@pytest.mark.parametrize(("largest", "lowest"), [(255, 128), (100, 50), (1, 1)])
def test_fractions_count_from_half_of_their_largest_value(tmp_path, largest, lowest):
    """C.8.20.2.3: values run from 0 to MaximumFractionalValue, which stands for 1."""
    values = np.linspace(0, largest, SIDE * SIDE).round().astype(np.uint8).reshape(SIDE, SIDE)
    manifest = loaded(tmp_path, [(1, 1, values)], kind="FRACTIONAL", largest=largest)
    assert np.array_equal(pictures(manifest, "mask")[1] == 1, values >= lowest)
    assert any("1 DICOM segmentation with fractions" in note for note in manifest.notes)


def test_two_fractions_of_a_half_overlap(tmp_path):
    half = np.full((SIDE, SIDE), 50, np.uint8)
    manifest = loaded(tmp_path, [(1, 1, half), (2, 1, half)], kind="FRACTIONAL", largest=100)
    assert {"masks:lesion", "masks:organ"} <= set(manifest.table)


def square(height, width, top, left, side):
    pixels = np.zeros((height, width), bool)
    pixels[top : top + side, left : left + side] = True
    return pixels


def test_a_segmentation_of_half_the_pixel_size_is_resampled_on_request(tmp_path):
    """Pixels of 0.25 mm, the first of which has its centre an eighth of a millimetre before the image's."""
    fine = [(1, 1, square(2 * SIDE, 2 * SIDE, 4, 6, 10)), (2, 3, square(2 * SIDE, 2 * SIDE, 20, 20, 4))]
    changes = {"spacing": (0.25, 0.25), "offset": (-0.125, -0.125, 0.0)}
    with pytest.raises(BrokenImageError, match="is a segmentation of 32 x 32 pixels, the image has 16 x 16"):
        pictures(loaded(tmp_path, fine, **changes), "mask")
    manifest = loaded(tmp_path, fine, more={"align_geometry": "resample"}, **changes)
    found = pictures(manifest, "mask")
    assert np.array_equal(found[1], square(SIDE, SIDE, 2, 3, 5) * 1.0)
    assert np.array_equal(found[3], square(SIDE, SIDE, 10, 10, 2) * 2.0)
    assert not any(found[index].any() for index in (0, 2, 4))


@pytest.mark.parametrize("between", [0.5, 1.0, 1.2])
def test_the_nearest_frame_is_taken_on_request(tmp_path, between):
    """Frames at 2.5 mm, moved by less than half of that; those that were left out as empty stay empty."""
    frames = [(1, 1, region(1, 1)), (1, 2, region(5, 5)), (1, 4, region(9, 9))]
    manifest = loaded(tmp_path, frames, more={"align_geometry": "resample"}, offset=(0, 0, between))
    found = pictures(manifest, "mask")
    for index in range(DEPTH):
        assert np.array_equal(found[index] > 0, expected(frames, 1, index)), index


def grey(path, values, position, spacing, thickness=None, frames=None):
    """A DICOM file of one plane, or of several at steps of ``STEP``."""
    from pydicom.sequence import Sequence
    from pydicom.uid import MRImageStorage

    ds = dataset(path, MRImageStorage)
    ds.Rows, ds.Columns = values.shape[-2:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.ImageOrientationPatient, ds.PixelSpacing = [1, 0, 0, 0, 1, 0], list(spacing)
    if thickness is not None:
        ds.SliceThickness = thickness
    if values.ndim == 3:
        ds.NumberOfFrames = len(values)
        ds.PerFrameFunctionalGroupsSequence = Sequence(
            [
                item(
                    PlanePositionSequence=Sequence(
                        [item(ImagePositionPatient=[*position[:2], position[2] + STEP * at])]
                    )
                )
                for at in (frames or range(len(values)))
            ]
        )
    else:
        ds.ImagePositionPatient = list(position)
    ds.PixelData = values.astype("<u2").tobytes()
    ds.save_as(path, enforce_file_format=True)
    return path.name


def resampled(folder, beside, column="mask", index=1):
    image = ct(folder / "i.dcm", index)
    return load_manifest(
        table(folder, f"{image},{beside}", head=f"image,{column}"), align_geometry="resample"
    )


def test_a_plane_of_another_pixel_size_is_resampled(tmp_path):
    fine = square(2 * SIDE, 2 * SIDE, 4, 6, 10)
    name = grey(tmp_path / "m.dcm", fine * 3, (-4.125, -4.125, STEP), (0.25, 0.25), thickness=STEP)
    manifest = resampled(tmp_path, name)
    assert np.array_equal(pictures(manifest, "mask")[0], square(SIDE, SIDE, 2, 3, 5) * 3.0)
    assert any("1 file beside images resampled" in note for note in manifest.notes)


def test_targets_of_several_frames_are_interpolated_in_all_directions(tmp_path):
    level, row, column = np.mgrid[:4, :20, :20]
    ramp = 1000 * level + 100 * row + 10 * column
    name = grey(tmp_path / "t.dcm", ramp, (-4.25, -4.5, STEP * 0.5), (0.5, 0.5))
    found = pictures(resampled(tmp_path, name, "target"), "target")[0]
    rows, columns = np.mgrid[:SIDE, :SIDE]
    # The image's first pixel lies half a frame, one row and half a column inside.
    np.testing.assert_allclose(found, 500 + 100 * (rows + 1) + 10 * (columns + 0.5), atol=0.5)


def test_a_plane_that_lies_elsewhere_and_frames_with_gaps_are_refused(tmp_path):
    name = grey(tmp_path / "m.dcm", region(1, 1), (-4, -4, 0.0), (0.5, 0.5), thickness=STEP)
    manifest = resampled(tmp_path, name)
    with pytest.raises(
        BrokenImageError,
        match=r"is one plane 2.5 mm from the image's, more than half of its thickness \(2.5 mm\)",
    ):
        read_image(manifest.refs("mask")[0])
    values = np.zeros((3, SIDE, SIDE))
    name = grey(tmp_path / "g.dcm", values, (-4, -4, 0.3), (0.5, 0.5), frames=[0, 1, 4])
    with pytest.raises(BrokenImageError, match="frames at uneven distances"):
        read_image(resampled(tmp_path, name).refs("mask")[0])


def test_without_the_request_a_plane_elsewhere_is_refused_with_both_places(tmp_path):
    from modicum.data.same_place import PlacedImage, check_same_place

    image = ct(tmp_path / "i.dcm", 1)
    name = grey(tmp_path / "m.dcm", region(1, 1), (-4, -4, 0.0), (0.5, 0.5))
    manifest = load_manifest(table(tmp_path, f"{image},{name}"))
    places = [PlacedImage.of_image(read_image(manifest.refs(column)[0])) for column in ("image", "mask")]
    with pytest.raises(InputError, match=r"lies up to 2\.5 mm from the image"):
        check_same_place(*places, "row 2: its mask")


def test_other_masks_are_not_opened(tmp_path, monkeypatch):
    from modicum.data import segments

    monkeypatch.setattr(segments, "segments_of", lambda ref: pytest.fail("opened"))
    from PIL import Image

    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    manifest = load_manifest(table(tmp_path, "a.png,a.png"))
    assert pd.notna(manifest.table["mask"].iloc[0])
