"""Boxes in the pixels that a store keeps, against torchvision's, and against rectangles drawn into images."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as tv

from modicum.data.boxes import (
    Boxes,
    BoxOptions,
    BoxSource,
    checked_boxes,
    large_enough,
    pack_boxes,
    stored_boxes,
)
from modicum.data.boxes.boxes import turned_boxes
from modicum.data.boxes.column import with_checked_cells
from modicum.data.boxes.stored import selected
from modicum.data.checks.scan import scan
from modicum.data.image import ImageRef
from modicum.data.layouts import load_manifest
from modicum.data.manifest import Manifest
from modicum.data.placement import Placement, placed
from modicum.data.prepared import StoreSettings, read_prepared
from modicum.data.resize import FITS
from modicum.errors import InputError

RNG = np.random.default_rng(0)


def torchvisions(boxes: np.ndarray, size: tuple[int, int]) -> tv_tensors.BoundingBoxes:
    return tv_tensors.BoundingBoxes(torch.from_numpy(boxes), format="XYXY", canvas_size=size)


@settings(max_examples=60, deadline=None)
@given(*[st.integers(8, 400)] * 4, st.integers(0, 2**32 - 1))
def test_stretching_is_torchvisions_resize_of_bounding_boxes(height, width, to_height, to_width, seed):
    corners = np.random.default_rng(seed).uniform(0, [width, height], (5, 2, 2))
    boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1).astype(np.float32)
    expected = tv.resize(torchvisions(boxes, (height, width)), [to_height, to_width])
    found = stored_boxes(boxes, Placement.of((height, width), (to_height, to_width)))
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-4)


def test_padding_and_cutting_are_torchvisions_resize_pad_and_crop():
    boxes = np.array([[10, 20, 50, 60], [0, 0, 200, 100], [90, 10, 120, 95]], np.float32)
    # 200 x 100 into a square of 64: resized to 64 x 32, with 16 rows of black above and below.
    padded = tv.pad(tv.resize(torchvisions(boxes, (100, 200)), [32, 64]), [0, 16])
    found = stored_boxes(boxes, Placement.of((100, 200), (64, 64), "pad"))
    np.testing.assert_allclose(found, padded.numpy(), atol=1e-4)
    # The middle square of 100 is cut out at column 50, and resized.
    cut = tv.resize(tv.crop(torchvisions(boxes, (100, 200)), 0, 50, 100, 100), [64, 64])
    found = stored_boxes(boxes, Placement.of((100, 200), (64, 64), "crop"))
    np.testing.assert_allclose(found, cut.numpy(), atol=1e-4)
    assert found[0].tolist() == [0, np.float32(12.8), 0, np.float32(38.4)]  # cut off: no area is left
    assert large_enough(found, 0).tolist() == [False, True, True]


def test_the_box_of_a_whole_image_is_the_whole_stored_image():
    for fit in ("stretch", "crop"):
        found = stored_boxes(np.array([[0, 0, 31, 17]], np.float32), Placement.of((17, 31), (8, 12), fit))
        assert found.tolist() == [[0, 0, 12, 8]]


# Drawn rectangles -------------------------------------------------------------------------------------------------


def drawn(height: int, width: int, box: tuple[int, int, int, int], field: bool) -> np.ndarray:
    """Red as far as the light reaches (a disc on black with ``field``), and blue in the box."""
    picture = np.zeros((height, width, 3), np.uint8)
    rows, columns = np.mgrid[:height, :width]
    centre = 0.5 * height, 0.45 * width
    lit = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < (0.48 * height) ** 2 if field else rows >= 0
    picture[lit] = (200, 0, 0)
    x0, y0, x1, y1 = box
    picture[y0:y1, x0:x1] = (200, 0, 255)
    return picture


def blue_part(record: np.ndarray) -> list[int]:
    """Edges of what is more than half blue."""
    inside = record[..., 2] > 127
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def assert_encloses(path: Path, box, options: StoreSettings) -> bool:
    """The stored box lies around the blue pixels of the stored image, to within a pixel; False where it is too small."""
    image, record = read_prepared(ImageRef(path), options)
    place = placed(image, options)
    found = stored_boxes(np.array([box], np.float32), place)
    if not large_enough(found, 3)[0]:
        return False
    np.testing.assert_allclose(found[0], blue_part(record), atol=1)
    return True


@settings(max_examples=40, deadline=None)
@given(
    st.integers(20, 160), st.integers(20, 160), st.integers(16, 120), st.integers(16, 120),
    st.sampled_from(FITS), st.sampled_from(["area", "bilinear", "lanczos"]), st.data(),
)  # fmt: skip
def test_a_drawn_rectangle_is_enclosed_after_resizing(
    tmp_path_factory, height, width, to_height, to_width, fit, filter, data
):
    x0, y0 = data.draw(st.integers(0, width - 2)), data.draw(st.integers(0, height - 2))
    box = x0, y0, data.draw(st.integers(x0 + 1, width)), data.draw(st.integers(y0 + 1, height))
    path = tmp_path_factory.mktemp("drawn") / "a.png"
    Image.fromarray(drawn(height, width, box, field=False)).save(path)
    assume(assert_encloses(path, box, StoreSettings(to_height, to_width, resize=fit, filter=filter)))


@settings(max_examples=30, deadline=None)
@given(
    st.integers(60, 200), st.floats(1.25, 2.2), st.integers(32, 120), st.integers(32, 120),
    st.sampled_from(FITS), st.data(),
)  # fmt: skip
def test_a_drawn_rectangle_is_enclosed_after_the_fundus_crop(
    tmp_path_factory, height, ratio, to_height, to_width, fit, data
):
    """The box lies in the square within the lit disc."""
    width = round(height * ratio)
    reach = round(0.3 * height)
    left, top = round(0.45 * width) - reach, round(0.5 * height) - reach
    x0, y0 = (data.draw(st.integers(0, 2 * reach - 4)) for _ in range(2))
    x1, y1 = (data.draw(st.integers(first + 3, 2 * reach)) for first in (x0, y0))
    box = left + x0, top + y0, left + x1, top + y1
    path = tmp_path_factory.mktemp("drawn") / "a.png"
    Image.fromarray(drawn(height, width, box, field=True)).save(path)
    assume(assert_encloses(path, box, StoreSettings(to_height, to_width, resize=fit, crop="fundus")))


@pytest.mark.parametrize("crop", ["none", "fundus"])
@pytest.mark.parametrize("fit", FITS)
def test_a_rectangle_in_a_large_jpeg_that_is_decoded_at_a_reduced_scale(tmp_path, crop, fit):
    box = (801, 517, 1103, 902)
    Image.fromarray(drawn(1301, 1903, box, field=True)).save(tmp_path / "a.jpg", quality=95, subsampling=0)
    assert assert_encloses(tmp_path / "a.jpg", box, StoreSettings(160, 224, resize=fit, crop=crop))


# EXIF orientations ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_as_pillow_turns_their_image(orientation):
    lying = np.zeros((20, 30), np.uint8)
    box = np.array([[4, 5, 11, 8]], np.float32)
    lying[5:8, 4:11] = 255
    image = Image.fromarray(lying)
    image.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(image))
    rows, columns = np.flatnonzero(upright.any(1)), np.flatnonzero(upright.any(0))
    expected = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert turned_boxes(box, orientation, upright.shape).tolist() == [expected]


def turned_image(folder: Path, orientation: int, box=(4, 5, 21, 18), size=(40, 60)) -> Path:
    """An image with a blue box, lying in its file as the orientation says."""
    image = Image.fromarray(drawn(*size, box, field=False))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(folder / "a.png", exif=exif)
    (folder / "labels.csv").write_text("image\na.png\n")
    return folder / "labels.csv"


def facts_of(table: Path):
    return scan(load_manifest(table).refs()).facts


def checked(table: Path, boxes, **options):
    manifest = load_manifest(table, columns={"boxes": boxes}, box_options=options)
    return checked_boxes(manifest, scan(manifest.refs()).facts, BoxOptions.of(options))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_drawn_on_the_pixels_of_the_file_are_turned_with_exif_ignored(tmp_path, orientation):
    box = (4, 5, 21, 18)
    table = turned_image(tmp_path, orientation, box)
    shares = [box[0] / 60, box[1] / 40, box[2] / 60, box[3] / 40]
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    for boxes in ({"a": [box]}, {"a": [shares]}):
        found = checked(table, boxes, exif="ignored")
        np.testing.assert_allclose(found.rows[0].xyxy[0], blue_part(upright), atol=1e-4)
        said = [note for note in found.notes if "EXIF" in note]
        again = checked_boxes(
            with_checked_cells(load_manifest(table), found.rows), facts_of(table), BoxOptions()
        )
        np.testing.assert_allclose(again.rows[0].xyxy, found.rows[0].xyxy, atol=1e-4)
        assert again.notes == []  # what was decided once is not decided again
        assert said == ([] if orientation == 1 else [
            "boxes of 1 image with an EXIF orientation are taken as drawn on the pixels as they lie in the file, and "
            "were turned with the image"
        ])  # fmt: skip
    found = checked(table, {"a": [blue_part(upright)]})
    assert found.rows[0].xyxy[0].tolist() == blue_part(upright)
    assert any("pass --box-options exif=ignored" in note for note in found.notes) == (orientation > 1)


@pytest.mark.parametrize(("width", "height"), [(60, 40), (40, 60)])
def test_the_size_that_coco_says_tells_how_a_turned_image_was_seen(tmp_path, width, height):
    """Orientation 6: the file has 60 x 40 pixels, the upright image 40 x 60."""
    box = (4, 5, 21, 18)
    table = turned_image(tmp_path, 6, box)
    upright = blue_part(np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png"))))
    x0, y0, x1, y1 = box if width == 60 else map(int, upright)
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "width": width, "height": height}],
        "annotations": [{"id": 1, "image_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0]}],
        "categories": [],
    }
    for exif in ("applied", "ignored"):  # the size goes before what is said
        found = checked(table, coco, exif=exif)
        assert found.rows[0].xyxy[0].tolist() == upright
        assert any("were turned with the image" in note for note in found.notes) == (width == 60)


# What lies outside ------------------------------------------------------------------------------------------------


def plain(folder: Path) -> Path:
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(folder / "a.png")
    (folder / "labels.csv").write_text("image\na.png\n")
    return folder / "labels.csv"


def test_a_box_partly_outside_is_clipped_and_counted(tmp_path):
    found = checked(plain(tmp_path), {"a": [[-3, 5, 10, 10], [5, 5, 40.01, 30], [30, 20, 50, 99]]})
    assert found.rows[0].xyxy.tolist() == [[0, 5, 10, 10], [5, 5, 40, 30], [30, 20, 40, 30]]
    # A hundredth of a pixel is how numbers are rounded.
    assert found.notes == ["2 boxes reached over the edge of the image and were clipped"]


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        (
            "40,5,50,10",
            r"the box x0=40, y0=5, x1=50, y1=10 lies outside its image of 40 x 30 pixels \(width x height\)",
        ),
        ("-9,5,0,10", r"the box x0=-9, y0=5, x1=0, y1=10 lies outside its image"),
        ("5,31,9,40", r"the box x0=5, y0=31, x1=9, y1=40 lies outside its image"),
        ("20,5,10,10", r"the box x0=20, y0=5, x1=10, y1=10 is inverted"),
        ("5,5,5,10", r"the box x0=5, y0=5, x1=5, y1=10 has no area"),
        ("5,5,,10", r"the box x0=5, y0=5, x1=nan, y1=10 has an edge that is no number"),
    ],
)
def test_a_box_wholly_outside_inverted_without_area_or_number_is_refused_or_counted(tmp_path, box, reason):
    (tmp_path / "b.csv").write_text(f"image,x0,y0,x1,y1,class\na,1,2,30,4,keep\na,{box},drop\n")
    boxes = str(tmp_path / "b.csv")
    with pytest.raises(InputError, match=rf"^b.csv row 3: {reason}.*; .*--box-options outside=drop"):
        checked(plain(tmp_path), boxes)
    found = checked(plain(tmp_path), boxes, outside="drop")
    assert (found.rows[0].xyxy.tolist(), found.rows[0].class_names) == ([[1, 2, 30, 4]], ("keep",))
    assert found.notes == [
        "left out: 1 box outside the image, without area or not numbers (first: b.csv row 3)"
    ]
    assert (found.count, found.images, found.classes()) == (1, 1, {"keep": 1})


def test_all_boxes_that_are_refused_are_counted(tmp_path):
    with pytest.raises(InputError, match=r"^boxes: image 'a' box 1: .* \(2 boxes of the kind in all\);"):
        checked(plain(tmp_path), {"a": [[90, 1, 99, 2], [1, 90, 2, 99], [1, 1, 5, 5]]})


def test_a_turned_image_is_said_to_be_where_a_box_lies_outside(tmp_path):
    table = turned_image(tmp_path, 6)
    with pytest.raises(
        InputError, match=r"outside its image of 40 x 60 pixels \(width x height, of EXIF orientation 6"
    ):
        checked(table, {"a": [[45, 5, 58, 18]]})


@pytest.mark.parametrize("ref", ["v.nii", "v.nii#axis=2&index=1"])
def test_boxes_beside_a_volume_say_what_they_are_taken_for(tmp_path, ref):
    nib.save(nib.Nifti1Image(np.ones((20, 30, 4), np.uint8), np.eye(4)), tmp_path / "v.nii")
    (tmp_path / "data.csv").write_text(f'image,boxes\n{ref},"[[1, 2, 5, 6]]"\n')
    manifest = load_manifest(tmp_path / "data.csv")
    notes = " ".join(checked_boxes(manifest, scan(manifest.refs()).facts).notes)
    assert "boxes of 1 NIfTI slice are taken as columns and rows of the upright picture" in notes
    assert ("1 image with several slices" in notes) == (ref == "v.nii")
    if ref == "v.nii":
        with pytest.raises(InputError, match="its boxes do not say of which of 4 slices they are"):
            load_manifest(tmp_path / "data.csv", slices="all")


def test_classes_of_some_boxes_only_are_refused(tmp_path):
    plain(tmp_path)
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(tmp_path / "b.png")
    (tmp_path / "labels.csv").write_text("image\na.png\nb.png\n")
    boxes = {"a": {"boxes": [[1, 2, 3, 4]], "classes": ["x"]}, "b": [[1, 2, 3, 4]]}
    with pytest.raises(
        InputError, match=r"labels.csv row 3: its boxes have not a class, as those of labels.csv row 2"
    ):
        checked(tmp_path / "labels.csv", boxes)
    boxes["b"] = []  # an image without boxes has none without a class either
    assert checked(tmp_path / "labels.csv", boxes).count == 1


def test_a_manifest_without_boxes_has_none():
    found = checked_boxes(Manifest(pd.DataFrame({"image": ["a.png"]}), Path("root")), [None])
    assert (found.rows, found.notes, found.count) == ([None], [], 0)


# In a batch -------------------------------------------------------------------------------------------------------


def test_a_batch_is_padded_to_its_own_largest_count():
    boxes = [
        np.array([[0, 1, 2, 3]], np.float32),
        np.zeros((0, 4), np.float32),
        RNG.random((3, 4), np.float32),
    ]
    classes = [np.array([4]), np.zeros(0, np.int64), np.array([0, 1, 2])]
    packed, numbers = pack_boxes(boxes, classes)
    assert (packed.shape, packed.dtype, numbers.dtype) == ((3, 3, 4), np.float32, np.int64)
    assert np.isnan(packed).all(2).tolist() == [[False, True, True], [True] * 3, [False] * 3]
    assert numbers.tolist() == [[4, -1, -1], [-1, -1, -1], [0, 1, 2]]
    np.testing.assert_array_equal(packed[2], boxes[2])
    assert pack_boxes(boxes[1:2], classes[1:2])[0].shape == (1, 0, 4)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=1, max_size=8), st.booleans(), st.data())
def test_a_source_gives_each_row_its_own_boxes(counts, with_scores, data):
    names = ["1", "10", "2"]
    rows = [
        None if count is None else Boxes(
            RNG.random((count, 4), np.float32),
            tuple(RNG.choice(names, count).tolist()),
            RNG.random(count, np.float32) if with_scores else None,
        )
        for count in counts
    ]  # fmt: skip
    source = BoxSource.of_rows(rows)
    asked = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=6)))
    kept = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    assert source.counts.tolist() == [count or 0 for count in counts]
    for found, some in ((source.of(asked), [rows[row] for row in asked]), (
        source.subset(kept).of(np.arange(kept.sum())), [row for row, is_kept in zip(rows, kept, strict=True) if is_kept],
    )):  # fmt: skip
        assert found["boxes"].shape[:2] == found["box_classes"].shape
        for index, boxes in enumerate(some):
            count = 0 if boxes is None else len(boxes)
            assert np.isnan(found["boxes"][index, count:]).all()
            assert (found["box_classes"][index, count:] == -1).all()
            if boxes is not None:
                np.testing.assert_array_equal(found["boxes"][index, :count], boxes.xyxy)
                classes = [source.class_names[number] for number in found["box_classes"][index, :count]]
                assert tuple(classes) == boxes.class_names
                if "box_scores" in found:
                    np.testing.assert_array_equal(found["box_scores"][index, :count], boxes.scores)
    assert ("box_scores" in source.of(asked)) == (with_scores and source.counts.any())
    assert list(source.class_names) == sorted(source.class_names, key=int)  # by number, as classes are


def test_boxes_without_classes_are_all_of_class_0():
    source = BoxSource.of_rows([Boxes(RNG.random((2, 4), np.float32)), None])
    assert source.class_names == ()
    assert source.of(np.array([1, 0]))["box_classes"].tolist() == [[-1, -1], [0, 0]]


# Which boxes are learned from -------------------------------------------------------------------------------------


def kept(box, score=0.9, **rules) -> bool:
    found = selected(
        np.array([box], np.float32), np.array([score], np.float32), Placement.of((512, 512), (512, 512)),
        BoxOptions.of(rules),
    )  # fmt: skip
    return all(mask[0] for mask in found.values())


PUBLISHED = {"max_side": 128, "border": 5, "above_score": 0.8}


@pytest.mark.parametrize(
    ("box", "score", "expected"),
    [
        ((100, 100, 228, 228), 0.9, True),
        ((100, 100, 228.01, 228), 0.9, False),
        ((100, 100, 228, 228.01), 0.9, False),
        ((100, 100, 120, 120), 0.8, False),
        ((100, 100, 120, 120), 0.8001, True),
        ((5, 100, 20, 120), 0.9, False),
        ((5.01, 5.01, 20, 120), 0.9, True),
        ((100, 5, 120, 20), 0.9, False),
        ((490, 100, 507, 120), 0.9, False),
        ((490, 490, 506.99, 506.99), 0.9, True),
        ((100, 490, 120, 507), 0.9, False),
    ],
)
def test_the_published_rules_hold_at_every_boundary(box, score, expected):
    assert kept(box, np.float32(score) if score != 0.8 else 0.8, **PUBLISHED) == expected


def test_rules_are_of_the_stored_image_whatever_the_files_shape():
    """The release's export swaps width and height of images that are not square."""
    placement = Placement.of((300, 600), (512, 512))
    box = np.array(
        [[3, 10, 153, 85]], np.float32
    )  # 150 x 75 pixels of the file: 128 x 128 of the stored image
    xyxy = stored_boxes(box, placement)
    np.testing.assert_allclose(xyxy, [[2.56, 17.0667, 130.56, 145.0667]], rtol=1e-5)
    found = selected(xyxy, None, placement, BoxOptions(max_side=128.001, border=5, above_score=0.8))
    assert {rule: mask[0] for rule, mask in found.items()} == {"max_side": True, "border": False}


def test_no_rule_is_applied_unless_it_is_asked_for():
    assert kept((0, 0, 512, 512), 0.0)
    with pytest.raises(InputError, match="box option border is -1"):
        BoxOptions(border=-1)
    assert BoxOptions.parse("border=5,above_score=0.5") == {"border": 5, "above_score": 0.5}
