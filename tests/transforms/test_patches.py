"""Patches around boxes: they contain the box, and by the recommended rule lie inside the image."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modicum.transforms.patches import cut_patches, patch_corners

SIZE, SIDE = 512, 128


def draws(count, seed=0):
    return torch.rand(count, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def corners_of(box, count=4000, placement="published"):
    boxes = torch.tensor([box], dtype=torch.float64).expand(count, 4)
    return patch_corners(boxes, (SIZE, SIZE), SIDE, draws(count), placement)


def contains(corners, boxes):
    return (corners <= boxes[:, :2]).all() and (corners + SIDE >= boxes[:, 2:]).all()


@pytest.mark.parametrize("placement", ["inside", "published"])
def test_ten_thousand_boxes_are_contained(placement):
    generator = torch.Generator().manual_seed(3)
    count = 10_000
    extent = 1 + torch.rand(count, 2, generator=generator, dtype=torch.float64) * (SIDE - 1)
    extent[::4] = extent[::4].round()
    begin = torch.rand(count, 2, generator=generator, dtype=torch.float64) * (SIZE - extent)
    begin[::2] = begin[::2].floor()
    boxes = torch.cat([begin, begin + extent], 1)
    fits = (boxes[:, 2:].ceil() - boxes[:, :2].floor() <= SIDE).all(
        1
    )  # a box between pixels may need 129 of them
    boxes = boxes[fits]
    corners = patch_corners(boxes, (SIZE, SIZE), SIDE, draws(len(boxes)), placement)
    if placement == "inside":
        assert contains(corners, boxes)
        assert corners.min() >= 0
        assert corners.max() <= SIZE - SIDE
    else:
        whole = (boxes == boxes.round()).all(1)
        assert contains(corners[whole], boxes[whole])


def test_the_published_rule_has_the_published_figures():
    left = corners_of((200, 200, 220, 230))[:, 0]
    assert (left.min(), left.max(), len(left.unique())) == (93, 200, 108)
    assert left.double().mean().item() == pytest.approx(146.3, abs=1.5)
    left = corners_of((10, 10, 40, 40))[:, 0]
    assert (left.min(), left.max(), len(left.unique())) == (1, 10, 10)
    assert len(corners_of((192, 192, 320, 320)).unique(dim=0)) == 1


@pytest.mark.parametrize(
    ("box", "share"),
    [
        ((470, 470, 500, 500), 0.016),
        ((495, 300, 505, 310), 0.058),
        ((500, 20, 507, 30), 0.042),
        ((20, 20, 50, 50), 1),
    ],
)
def test_the_published_rule_leaves_the_image_at_right_and_below_and_the_recommended_one_does_not(box, share):
    def inside(corners):
        return ((corners >= 0) & (corners + SIDE <= SIZE)).all(1).double().mean().item()

    assert inside(corners_of(box)) == pytest.approx(share, abs=0.012)
    assert inside(corners_of(box, placement="inside")) == 1


def test_the_recommended_rule_draws_all_places_alike():
    left, counts = corners_of((200, 200, 220, 230), 40_000, "inside")[:, 0].unique(return_counts=True)
    assert (left.min(), left.max()) == (92, 200)
    assert counts.min() > 0.75 * 40_000 / 109


@given(st.integers(-140, 520), st.integers(-140, 520))
def test_a_patch_is_the_part_of_the_image_black_outside(left, top):
    image = torch.arange(1, 1 + 48 * 64, dtype=torch.float32).view(1, 1, 48, 64)
    patch = cut_patches(image, torch.tensor([[left, top]]), 16)[0, 0]
    for row, column in ((0, 0), (7, 11), (15, 15)):
        y, x = top + row, left + column
        inside = 0 <= y < 48 and 0 <= x < 64
        assert patch[row, column] == (image[0, 0, y, x] if inside else 0)


@pytest.mark.parametrize(
    ("width", "height", "mean", "least"), [(20, 30, 0.391, 0.03), (4, 4, 0.326, 0.0), (120, 120, 0.923, 0.81)]
)
def test_two_views_of_a_small_box_share_less_than_those_of_a_large_one(width, height, mean, least):
    box = (200, 200, 200 + width, 200 + height)
    first, second = (
        corners_of(box),
        patch_corners(
            torch.tensor([box], dtype=torch.float64).expand(4000, 4),
            (SIZE, SIZE),
            SIDE,
            draws(4000, 1),
            "published",
        ),
    )
    shared = (SIDE - (first - second).abs()).clamp_min(0).prod(1).double()
    overlap = shared / (2 * SIDE**2 - shared)
    assert overlap.mean().item() == pytest.approx(mean, abs=0.02)
    assert overlap.min() >= least - 0.02
