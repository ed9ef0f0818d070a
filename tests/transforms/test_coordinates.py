"""Boxes and points against torchvision, against closed forms, and against the pixels that they are drawn around."""

import math

import pytest
import torch
import torchvision.transforms.v2.functional as F2
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.tv_tensors import BoundingBoxes

from modicum.transforms import (
    Augmentation,
    HorizontalFlip,
    RandomResizedCrop,
    RandomScaleCrop,
    Resize,
    Rotate,
    Translate,
    VerticalFlip,
    Zoom,
    geometry,
)
from modicum.transforms.batch_geometry import warp_batch
from modicum.transforms.coordinates import apply_stages_to_boxes, apply_stages_to_points

SIZE = (40, 56)
NAN = float("nan")
UPRIGHT = [
    HorizontalFlip(), VerticalFlip(), RandomResizedCrop(area=(0.2, 0.9)), RandomResizedCrop(size=(64, 30)),
    Resize(size=(35, 70)), RandomScaleCrop(size=(44, 44)), Zoom(factor=(0.6, 1.6)), Translate(fraction=0.3),
]  # fmt: skip
TURNED = [*UPRIGHT, Rotate()]
SEEDS = st.integers(0, 2**31)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def some_boxes(count=3, boxes=5, size=SIZE, seed=0, dtype=torch.float64):
    """Random boxes in whole pixels, at least two wide and high."""
    height, width = size
    low = torch.rand(count, boxes, 2, generator=seeded(seed)) * torch.tensor([width - 2, height - 2])
    extent = torch.rand(count, boxes, 2, generator=seeded(seed + 1)) * (
        torch.tensor([width, height]) - low - 2
    )
    return torch.cat((low.floor(), (low.floor() + 2 + extent.floor())), 2).to(dtype)


def torchvisions(boxes, size=SIZE):
    return BoundingBoxes(boxes, format="XYXY", canvas_size=size)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


# Against torchvision


def test_flips_move_boxes_as_torchvision_does():
    boxes, yes = some_boxes(), torch.ones(3, dtype=torch.bool)
    for stage, flip in (
        (geometry.flip_stage(yes, ~yes, SIZE), F2.horizontal_flip),
        (geometry.flip_stage(~yes, yes, SIZE), F2.vertical_flip),
    ):
        moved = apply_stages_to_boxes(boxes, [stage])
        for row in range(3):
            assert torch.equal(moved[row], flip(torchvisions(boxes[row])).as_subclass(torch.Tensor))


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 90), st.integers(1, 90))
def test_a_resize_moves_boxes_as_torchvision_does(seed, height, width):
    boxes = some_boxes(seed=seed)
    moved = apply_stages_to_boxes(boxes, [geometry.resize_stage(3, SIZE, (height, width))])
    for row in range(3):
        expected = F2.resize(torchvisions(boxes[row]), [height, width]).as_subclass(torch.Tensor)
        torch.testing.assert_close(moved[row], expected, rtol=0, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.tuples(st.integers(0, 30), st.integers(0, 20), st.integers(4, 26), st.integers(4, 20)))
def test_a_crop_moves_boxes_as_torchvision_does_and_drops_those_outside(seed, window):
    left, top, width, height = window
    boxes = some_boxes(seed=seed)
    stage = geometry.crop_stage(double(window).expand(3, 4), SIZE, (33, 47))
    moved = apply_stages_to_boxes(boxes, [stage])
    for row in range(3):
        expected = F2.resized_crop(torchvisions(boxes[row]), top, left, height, width, [33, 47]).as_subclass(
            torch.Tensor
        )
        gone = (expected[:, 2:] - expected[:, :2] <= 1e-4).any(1)
        assert torch.equal(moved[row].isnan().any(1), gone)
        torch.testing.assert_close(moved[row][~gone], expected[~gone], rtol=0, atol=1e-4)


# Closed forms


def test_a_quarter_turn_of_a_square():
    boxes = double(1, 2, 5, 8).view(1, 1, 4)
    turned = apply_stages_to_boxes(boxes, [geometry.rotation_stage(double(90), (20, 20))])
    torch.testing.assert_close(
        turned, double(2, 15, 8, 19).view(1, 1, 4)
    )  # counter-clockwise: (x, y) -> (y, 20 - x)
    points = apply_stages_to_points(
        double(1, 2).view(1, 1, 2), [geometry.rotation_stage(double(90), (20, 20))]
    )
    torch.testing.assert_close(points, double(2, 19).view(1, 1, 2))


def test_a_turned_box_is_as_wide_as_its_corners_lie_apart():
    boxes = double(40, 45, 60, 55).view(1, 1, 4)
    turned = apply_stages_to_boxes(boxes, [geometry.rotation_stage(double(30), (100, 100))])
    cos, sin = math.cos(math.pi / 6), math.sin(math.pi / 6)
    wide, high = 20 * cos + 10 * sin, 20 * sin + 10 * cos
    expected = double(50 - wide / 2, 50 - high / 2, 50 + wide / 2, 50 + high / 2)
    torch.testing.assert_close(turned[0, 0], expected)


def test_what_a_step_has_cut_away_does_not_come_back_with_the_next():
    crop = geometry.crop_stage(double(16, 16, 32, 32).view(1, 4), (64, 64), (64, 64))
    shrink = geometry.zoom_stage(double(0.5), (64, 64))
    whole = double(0, 0, 64, 64).view(1, 1, 4)
    torch.testing.assert_close(apply_stages_to_boxes(whole, [crop, shrink])[0, 0], double(16, 16, 48, 48))
    outside = double(2, 32, 20, 32).view(1, 2, 2)
    found = apply_stages_to_points(outside, [crop, shrink])
    assert found[0, 0].isnan().all()
    torch.testing.assert_close(found[0, 1], double(20, 32))


def test_a_turned_box_of_which_no_corner_of_the_image_shows_anything_is_gone():
    """The upright box around what is turned out of the picture would still reach into it."""
    boxes = double(0, 0, 12, 12).view(1, 1, 4)
    turned = apply_stages_to_boxes(boxes, [geometry.rotation_stage(double(45), (100, 100))])
    assert turned.isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_boxes_that_are_not_there_stay_so_and_the_type_stays(dtype):
    boxes = some_boxes(dtype=dtype)
    boxes[1, 2:] = NAN
    points = boxes[..., :2].clone()
    for stages in ([], [geometry.rotation_stage(double(5, -5, 0), SIZE)]):
        moved, moved_points = apply_stages_to_boxes(boxes, stages), apply_stages_to_points(points, stages)
        assert moved.dtype == moved_points.dtype == dtype
        assert moved[1, 2:].isnan().all()
        assert moved_points[1, 2:].isnan().all()
    assert apply_stages_to_boxes(boxes[:, :0], [geometry.resize_stage(3, SIZE, (5, 5))]).shape == (3, 0, 4)


def test_nothing_moves_where_no_step_does():
    boxes = some_boxes()
    assert torch.equal(apply_stages_to_boxes(boxes, [geometry.rotation_stage(double(0, 0, 0), SIZE)]), boxes)


# Against the pixels


def drawn(boxes, size=SIZE):
    """A picture of each first box, white on black, and the same as a mask."""
    image = torch.zeros(len(boxes), 1, *size)
    for row, (left, top, right, bottom) in enumerate(boxes[:, 0].int().tolist()):
        image[row, :, top:bottom, left:right] = 1
    return {
        "image": image,
        "mask": image.bool(),
        "boxes": boxes,
        "box_classes": torch.zeros(len(boxes), 1).long(),
    }


def extent(lit):
    """First and last lit pixel's centres: left, top, right, bottom."""
    rows, columns = lit.any(1).nonzero(), lit.any(0).nonzero()
    return double(columns.min(), rows.min(), columns.max(), rows.max()) + 0.5


def moved_by(chain, batch, seed):
    """The batch after a chain of operations, and how far its picture may lie from where it should, in its pixels.

    A crop repeats the pixels at its window's border: where an edge of a box lies between such a pixel's centre and the
    border, the picture has it up to half a pixel off, which all steps from there on magnify.
    """
    generator, size, stages, slack, whole = seeded(seed), SIZE, [], 0.0, True
    for operation in chain:
        stages.append(operation.stage(len(batch["image"]), (1, *size), generator, None))
        size = stages[-1].target
        scale = torch.linalg.matrix_norm(torch.linalg.inv(stages[-1].matrix[:, :2, :2]), 2).max()
        slack = scale * (slack + (0.5 if stages[-1].edge == "clamp" and not whole else 0))
        whole &= stages[-1].edge == "exact"
    return warp_batch(batch, stages), float(slack)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.lists(st.sampled_from(UPRIGHT), min_size=1, max_size=4))
def test_a_box_lies_within_a_pixel_of_what_it_was_drawn_around(seed, chain):
    moved, slack = moved_by(chain, drawn(some_boxes(4, 1, seed=seed)), seed)
    for mask, box, kind in zip(moved["mask"], moved["boxes"][:, 0], moved["box_classes"][:, 0], strict=True):
        assert bool(box.isnan().any()) == (int(kind) == -1)
        if box.isnan().any() or ((box[2:] - box[:2]) < 1 + 2 * slack).any():
            continue  # less than a pixel may be between two pixels
        away = (extent(mask[0]) - box) * double(1, 1, -1, -1)
        assert away.min() > -slack - 1e-3  # no centre outside
        assert away.max() < 1 + slack + 1e-3


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.lists(st.sampled_from(TURNED), min_size=1, max_size=5))
def test_a_box_contains_what_it_was_drawn_around_however_it_is_turned(seed, chain):
    moved, slack = moved_by(chain, drawn(some_boxes(4, 1, seed=seed)), seed)
    for mask, image, box in zip(moved["mask"], moved["image"], moved["boxes"][:, 0], strict=True):
        for lit, nearly in ((mask[0], 0.0), (image[0] > 0.5, 1.0)):
            if lit.any() and not (slack and box.isnan().any()):
                away = (extent(lit) - box) * double(1, 1, -1, -1)
                assert away.min() > -slack - nearly - 1e-3
    height, width = moved["image"].shape[2:]
    inside = moved["boxes"][~moved["boxes"].isnan()].view(-1, 4)
    assert (inside >= 0).all()
    assert (inside <= double(width, height, width, height)).all()


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_a_point_lies_on_the_pixel_that_it_lay_on(seed):
    rows, columns = torch.meshgrid(torch.arange(40.0) + 0.5, torch.arange(56.0) + 0.5, indexing="ij")
    points = torch.rand(4, 6, 2, generator=seeded(seed)) * torch.tensor([56.0, 40.0])
    places = torch.stack((columns / 64, rows / 64, torch.ones_like(rows)))
    batch = {"image": places.expand(4, 3, 40, 56), "points": points}
    moved = Augmentation([HorizontalFlip(), Rotate(), Translate(fraction=0.2), VerticalFlip()])(
        batch, seeded(seed)
    )
    for image, before, after in zip(moved["image"], points, moved["points"], strict=True):
        for (x, y), point in zip(after.tolist(), before, strict=True):
            if not math.isnan(x):
                *read, inside = image[:, min(int(y), 39), min(int(x), 55)].tolist()
                if inside > 0.999:  # not at a border that opened
                    assert (64 * torch.tensor(read) - point).norm() < 0.75  # half a pixel's diagonal
