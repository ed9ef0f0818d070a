"""Flips, turns, shifts and crops against torchvision on the same parameters, and against closed forms."""

import math

import pytest
import torch
import torchvision.transforms.v2.functional as torchvision_functional
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import InterpolationMode

from modicum.transforms import (
    HorizontalFlip,
    RandomResizedCrop,
    Resize,
    Rotate,
    Translate,
    VerticalFlip,
    Zoom,
    geometry,
    resize,
)

BILINEAR = InterpolationMode.BILINEAR


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int = 4, height: int = 40, width: int = 52, seed: int = 0) -> torch.Tensor:
    return torch.rand((count, 3, height, width), generator=seeded(seed))


def smooth(height: int, width: int) -> torch.Tensor:
    """A slow wave, on which interpolating twice instead of once changes little."""
    y = torch.linspace(0, math.pi, height).view(1, 1, -1, 1)
    x = torch.linspace(0, math.pi, width).view(1, 1, 1, -1)
    return 0.5 + 0.25 * torch.sin(2 * x) * torch.cos(y) + 0.2 * torch.sin(y)


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# Against torchvision


def test_flips_are_torchvisions_exactly():
    image = noise()
    horizontal = HorizontalFlip(p=1)({"image": image}, seeded())["image"]
    vertical = VerticalFlip(p=1)({"image": image}, seeded())["image"]
    assert torch.equal(horizontal, torchvision_functional.horizontal_flip(image))
    assert torch.equal(vertical, torchvision_functional.vertical_flip(image))


def test_rotation_is_torchvisions_for_each_image_its_own_angle():
    image, angles = noise(6), double(0.5, -33, 90, 178.2, -120, 45)
    turned = geometry.apply_stages(image, [geometry.rotation_stage(angles, (40, 52))])
    for row, angle in enumerate(angles.tolist()):
        expected = torchvision_functional.rotate(image[row], angle, interpolation=BILINEAR)
        torch.testing.assert_close(turned[row], expected, atol=3e-5, rtol=0)


def test_translation_and_zoom_are_torchvisions_affine():
    image = noise(3)
    right, down, factor = double(5, -7, 0), double(-3, 0, 11), double(1.3, 0.8, 1.05)
    shifted = geometry.apply_stages(image, [geometry.translation_stage(right, down, (40, 52))])
    zoomed = geometry.apply_stages(image, [geometry.zoom_stage(factor, (40, 52))])
    for row in range(3):
        offset = [int(right[row]), int(down[row])]
        expected = torchvision_functional.affine(image[row], 0.0, offset, 1.0, [0.0, 0.0])
        torch.testing.assert_close(shifted[row], expected, atol=3e-5, rtol=0)
        scale = float(factor[row])
        expected = torchvision_functional.affine(image[row], 0.0, [0, 0], scale, [0.0, 0.0], BILINEAR)
        torch.testing.assert_close(zoomed[row], expected, atol=3e-5, rtol=0)


def test_enlarging_crop_is_torchvisions_up_to_its_border():
    image = noise(3)
    windows = torch.tensor([[3, 5, 30, 20], [0, 0, 52, 40], [22, 10, 30, 30]], dtype=torch.float64)
    cropped = geometry.apply_stages(image, [geometry.crop_stage(windows, (40, 52), (64, 80))])
    for row, (left, top, width, height) in enumerate(windows.int().tolist()):
        expected = torchvision_functional.resized_crop(
            image[row], top, left, height, width, [64, 80], BILINEAR, antialias=True
        )
        torch.testing.assert_close(cropped[row], expected, atol=3e-5, rtol=0)


@pytest.mark.parametrize("size", [(64, 64), (20, 31), (7, 90)])
def test_resize_is_torchvisions_antialiased_resize(size):
    image = noise()
    expected = torchvision_functional.resize(image, list(size), BILINEAR, antialias=True)
    torch.testing.assert_close(resize(image, size), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(Resize(size=size)({"image": image}, seeded())["image"], expected)


def test_a_chain_in_one_grid_is_torchvisions_steps_one_by_one():
    image = smooth(96, 120)
    window, angle, shift = torch.tensor([[10, 6, 90, 80]], dtype=torch.float64), 27.0, (-9, 14)
    stages = [
        geometry.flip_stage(torch.tensor([True]), torch.tensor([False]), (96, 120)),
        geometry.crop_stage(window, (96, 120), (100, 100)),
        geometry.rotation_stage(double(angle), (100, 100)),
        geometry.translation_stage(double(shift[0]), double(shift[1]), (100, 100)),
    ]
    expected = torchvision_functional.horizontal_flip(image)
    expected = torchvision_functional.resized_crop(expected, 6, 10, 80, 90, [100, 100], BILINEAR)
    expected = torchvision_functional.rotate(expected, angle, BILINEAR)
    expected = torchvision_functional.affine(expected, 0.0, list(shift), 1.0, [0.0, 0.0])
    # Three interpolations against one: equal but for a little blur, and black in the same places.
    difference = (geometry.apply_stages(image, stages) - expected).abs()
    assert difference.max() < 0.01
    black = expected == 0
    assert 0.1 < black.float().mean() < 0.5
    assert difference[black].max() < 1e-6


def test_one_interpolation_keeps_more_detail_than_three():
    image, back = noise(1, 64, 64), [geometry.rotation_stage(double(a), (64, 64)) for a in (30, -50, 20)]
    composed = geometry.apply_stages(image, back)
    stepwise = image
    for stage in back:
        stepwise = geometry.apply_stages(stepwise, [stage])
    centre = (..., slice(24, 40), slice(24, 40))
    # The turns add up to nothing, so the middle comes back, if it is not blurred on the way.
    torch.testing.assert_close(composed[centre], image[centre], atol=1e-4, rtol=0)
    assert (stepwise[centre] - image[centre]).abs().mean() > 0.05


# Closed forms and properties


@pytest.mark.parametrize("flip", [HorizontalFlip(p=1), VerticalFlip(p=1)])
def test_flipping_twice_is_the_identity(flip):
    batch = {"image": noise()}
    assert torch.equal(flip(flip(batch, seeded()), seeded())["image"], batch["image"])


def test_parameters_that_mean_nothing_change_nothing():
    batch = {"image": noise()}
    still = [
        Rotate(degrees=(0, 0)),
        Translate(fraction=0),
        Zoom(factor=(1, 1)),
        RandomResizedCrop(area=(1, 1), aspect=(52 / 40, 52 / 40)),
        Rotate(p=0),
        RandomResizedCrop(p=0),
    ]
    for operation in still:
        assert torch.equal(operation(batch, seeded())["image"], batch["image"]), operation
    # Nearly nothing goes through the interpolation, and is nearly the identity too.
    turned = Rotate(degrees=(1e-7, 1e-7))(batch, seeded())["image"]
    torch.testing.assert_close(turned, batch["image"], atol=2e-5, rtol=0)


def test_quarter_turns_of_a_square_are_torch_rot90():
    image = noise(3, 33, 33)
    turned = geometry.apply_stages(image, [geometry.rotation_stage(double(90, 180, -90), (33, 33))])
    for row, quarters in enumerate((1, 2, -1)):
        expected = torch.rot90(image[row], quarters, (-2, -1))
        torch.testing.assert_close(turned[row], expected, atol=2e-5, rtol=0)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    output=st.integers(1, 40),
)
def test_any_chain_keeps_shape_and_range(seed, height, width, output):
    generator = seeded(seed)
    size = (height, width)
    stages = []
    for operation in (
        Rotate(),
        RandomResizedCrop(size=output),
        Zoom(factor=(0.3, 3)),
        Translate(fraction=0.4),
    ):
        stages.append(operation.stage(3, (2, *size), generator, None))
        size = stages[-1].target
    image = torch.rand((3, 2, height, width), generator=generator)
    moved = geometry.apply_stages(image, stages)
    assert moved.shape == (3, 2, output, output)
    assert moved.min() >= 0
    assert moved.max() <= 1 + 1e-6
    assert bool(moved.isfinite().all())


def test_what_one_step_cuts_away_later_steps_do_not_bring_back():
    image = torch.ones(1, 1, 20, 20)
    there_and_back = [geometry.translation_stage(double(x), double(0), (20, 20)) for x in (6, -6)]
    moved = geometry.apply_stages(image, there_and_back)[0, 0]
    assert torch.equal(moved[:, :14], torch.ones(20, 14))
    assert torch.equal(moved[:, 14:], torch.zeros(20, 6))


@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_a_crop_that_shrinks_averages_instead_of_skipping_pixels(shrink):
    checkerboard = ((torch.arange(128).view(-1, 1) + torch.arange(128)) % 2).float().expand(1, 1, 128, 128)
    whole = double(0, 0, 128, 128).view(1, 4)
    small = geometry.crop_stage(whole, (128, 128), (128 // shrink, 128 // shrink))
    still = geometry.zoom_stage(double(1), small.target)
    reduced = geometry.apply_stages(checkerboard, [small, still])
    torch.testing.assert_close(reduced, torch.full_like(reduced, 0.5), atol=1e-5, rtol=0)


def test_averaging_before_shrinking_does_not_shift_the_image():
    image = smooth(150, 134)
    stages = [geometry.resize_stage(1, (150, 134), (60, 50)), geometry.zoom_stage(double(1), (60, 50))]
    expected = torchvision_functional.resize(image, [60, 50], BILINEAR, antialias=True)
    difference = (geometry.apply_stages(image, stages) - expected)[..., 1:-1, 1:-1].abs()
    # Half a pixel's shift would show as 0.006.
    assert difference.max() < 1e-3


# Masks


def test_masks_follow_and_get_no_new_values():
    mask = (noise(4, 40, 52, seed=3)[:, 0] > 0.5).long() * 7
    image = (mask / 7).unsqueeze(1).expand(4, 3, 40, 52)
    batch = {"image": image, "mask": mask, "label": torch.arange(4)}
    moved = RandomResizedCrop(size=(30, 44))(Rotate()(batch, seeded(1)), seeded(2))
    assert moved["mask"].shape == (4, 30, 44)
    assert moved["mask"].dtype == torch.int64
    assert set(moved["mask"].unique().tolist()) <= {0, 7}
    assert torch.equal(moved["label"], batch["label"])


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
def test_masks_of_any_type_flip_with_their_images(dtype):
    mask = (noise(4) > 0.5).to(dtype)
    flipped = HorizontalFlip(p=0.5)({"image": mask.float(), "mask": mask}, seeded(4))
    assert flipped["mask"].dtype == dtype
    assert torch.equal(flipped["mask"].float(), flipped["image"])


def test_a_quarter_turn_of_a_mask_is_exact():
    mask = torch.arange(33 * 33).view(1, 33, 33)
    stage = geometry.rotation_stage(double(90), (33, 33))
    assert torch.equal(geometry.apply_stages_to_mask(mask, [stage]), torch.rot90(mask, 1, (-2, -1)))


# What is drawn


def test_drawn_parameters_lie_in_their_ranges_with_the_right_moments():
    count, shape = 20_000, (3, 100, 200)
    degrees = Rotate(degrees=(-30, 10)).draw(count, shape, seeded())["degrees"]
    assert degrees.min() >= -30
    assert degrees.max() <= 10
    assert degrees.mean() == pytest.approx(-10, abs=3 * 40 / math.sqrt(12 * count))
    factor = Zoom(factor=(0.5, 2)).draw(count, shape, seeded())["factor"]
    assert factor.min() >= 0.5
    assert factor.max() <= 2
    # Log-uniform: as often enlarged as reduced.
    assert (factor > 1).double().mean() == pytest.approx(0.5, abs=3 * 0.5 / math.sqrt(count))
    shift = Translate(fraction=0.2).draw(count, shape, seeded())
    assert shift["right"].abs().max() == 40
    assert shift["down"].abs().max() == 20
    assert torch.equal(shift["right"], shift["right"].round())
    assert shift["right"].double().mean() == pytest.approx(0, abs=3 * 40 / math.sqrt(3 * count))
    assert len(shift["right"].unique()) == 81


def test_probability_is_the_share_of_changed_images():
    changed = HorizontalFlip(p=0.3).stage(20_000, (3, 8, 8), seeded(), None).matrix[:, 0, 0] < 0
    assert changed.double().mean() == pytest.approx(0.3, abs=3 * math.sqrt(0.21 / 20_000))


@pytest.mark.parametrize(
    ("area", "aspect", "size", "fallback", "kept"),
    [
        # The grading recipe: "~33 % fall through to the full image; mean kept area 94.2 %, minimum 86.8 %".
        ((0.87, 1.15), (0.7, 1.3), 512, 0.33, 0.942),
        # The lesion recipe's crop: "3.9 % fall back to the full patch; mean kept area .874".
        ((0.8, 1.2), (0.8, 1.2), 128, 0.039, 0.874),
    ],
)
def test_crops_around_the_whole_image_keep_what_the_papers_code_keeps(area, aspect, size, fallback, kept):
    crop = RandomResizedCrop(area=area, aspect=aspect)
    drawn = crop.draw(20_000, (3, size, size), seeded())
    left, top, width, height = drawn["window"].unbind(1)
    share = width * height / size**2
    assert drawn["fell_back"].double().mean() == pytest.approx(fallback, abs=0.01)
    assert share.mean() == pytest.approx(kept, abs=0.002)
    assert share.min() == pytest.approx(area[0], abs=0.01)
    assert (width / height).min() >= area[0] - 0.02
    assert min(left.min(), top.min()) >= 0
    assert (left + width).max() <= size
    assert (top + height).max() <= size


def test_crops_have_torchvisions_distribution():
    from torchvision.transforms import v2

    crop = RandomResizedCrop(area=(0.3, 1.0), aspect=(0.5, 2.0))
    ours = crop.draw(4000, (3, 60, 90), seeded())["window"]
    torch.manual_seed(0)
    theirs_crop = v2.RandomResizedCrop(32, scale=(0.3, 1.0), ratio=(0.5, 2.0))
    drawn = [theirs_crop.make_params([torch.zeros(3, 60, 90)]) for _ in range(4000)]
    theirs = torch.tensor(
        [[d["left"], d["top"], d["width"], d["height"]] for d in drawn], dtype=torch.float64
    )
    tolerance = 4 * theirs.std(0) * math.sqrt(2 / 4000)
    assert ((ours.mean(0) - theirs.mean(0)).abs() < tolerance).all()
    torch.testing.assert_close(ours.std(0), theirs.std(0), rtol=0.06, atol=0)


@pytest.mark.parametrize("size", [(100, 300), (300, 100)])
def test_where_no_window_fits_the_largest_allowed_one_is_taken_from_the_middle(size):
    drawn = RandomResizedCrop(area=(0.99, 1.0), aspect=(0.9, 1.1)).draw(50, (3, *size), seeded())
    assert bool(drawn["fell_back"].all())
    # Three times as long as wide: the long side is cut to 1.1 times the short one, 110 pixels.
    expected = [95.0, 0.0, 110.0, 100.0] if size == (100, 300) else [0.0, 94.0, 100.0, 111.0]
    assert drawn["window"][0].tolist() == expected
