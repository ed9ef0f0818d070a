"""Misaligned pairs: what moves, by how much, and what comes in from outside."""

import doctest
import math

import pytest
import torch
import torchvision.transforms.v2.functional as torchvision_functional
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torchvision.transforms import InterpolationMode

from modicum.errors import InputError
from modicum.transforms import misalignment
from modicum.transforms.misalignment import AffineMisalignment, ElasticMisalignment

SIZE = (40, 52)
KINDS = [AffineMisalignment(level=5), ElasticMisalignment(sigma=4)]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pair(count: int = 3, channels: int = 1, size: tuple[int, int] = SIZE) -> dict[str, torch.Tensor]:
    """Two different pictures in (-1, 1]: no pixel of theirs is background."""
    return {
        name: 0.9 - 1.8 * torch.rand((count, channels, *size), generator=seeded(number))
        for number, name in enumerate(("image", "target"))
    }


def angle_scale_shift(matrix: torch.Tensor, size: tuple[int, int]) -> tuple[torch.Tensor, ...]:
    """Degrees, magnification and shift in pixels of motions given as output-to-input matrices."""
    forward = torch.linalg.inv(matrix)
    degrees = torch.rad2deg(torch.atan2(forward[:, 0, 1], forward[:, 0, 0]))
    scale = torch.linalg.det(forward[:, :2, :2]).sqrt()
    centre = torch.tensor([(size[1] - 1) / 2, (size[0] - 1) / 2, 1.0], dtype=torch.float64)
    return degrees, scale, (forward @ centre)[:, :2] - centre[:2]


def test_docstring_examples_run():
    assert doctest.testmod(misalignment).failed == 0


def test_level_0_and_no_bending_return_the_images_unchanged():
    batch = pair()
    for still in (AffineMisalignment(level=0), ElasticMisalignment(sigma=0)):
        moved = still(batch, seeded())
        assert all(torch.equal(moved[name], batch[name]) for name in batch)


@pytest.mark.parametrize("level", [1, 3, 5])
def test_motions_fill_the_levels_limits_and_do_not_leave_them(level):
    stage = AffineMisalignment(level=level).draw(4000, SIZE, seeded())
    degrees, scale, shift = angle_scale_shift(stage.matrix, SIZE)
    found = {
        "degrees": degrees / level,
        "scale": (scale - 1) / (0.02 * level),
        "right": shift[:, 0] / (0.02 * level * SIZE[1]),
        "down": shift[:, 1] / (0.02 * level * SIZE[0]),
    }
    for values in found.values():
        assert values.abs().max() <= 1 + 1e-9
        assert values.max() > 0.99
        assert values.min() < -0.99
        assert values.mean().abs() < 0.05
        assert values.std().item() == pytest.approx(1 / math.sqrt(3), abs=0.02)  # uniform
    together = torch.corrcoef(torch.stack(list(found.values())))
    assert (together - torch.eye(4)).abs().max() < 0.05  # one does not tell of the other


def test_both_images_of_a_pair_are_moved_each_on_its_own():
    affine, generator = AffineMisalignment(level=5), seeded()
    drawn = [angle_scale_shift(affine.draw(2000, SIZE, generator).matrix, SIZE)[0] for _ in range(2)]
    assert torch.corrcoef(torch.stack(drawn))[0, 1].abs() < 0.05
    for kind in KINDS:
        same = pair()["image"]
        moved = kind({"image": same, "target": same}, seeded())
        assert not torch.equal(moved["image"], same)
        assert all((moved["image"][row] - moved["target"][row]).abs().max() > 0.1 for row in range(3))
        assert (moved["image"][0] - moved["image"][1] - (same[0] - same[1])).abs().max() > 0.1


def test_a_motion_is_torchvisions_affine_with_minus_1_outside():
    images = pair(channels=3)["image"]
    for interpolation, mode, most in (
        ("bilinear", InterpolationMode.BILINEAR, 3e-5),
        ("nearest", InterpolationMode.NEAREST, 0.0),
    ):
        kind = AffineMisalignment(level=5, interpolation=interpolation)
        stage = kind.draw(3, SIZE, seeded())
        degrees, scale, shift = (values.tolist() for values in angle_scale_shift(stage.matrix, SIZE))
        moved = kind.move(images, stage)
        for row in range(3):
            # torchvision turns clockwise. With a value outside it blends hard at the border; inside they agree.
            expected = (
                torchvision_functional.affine(
                    images[row] + 1, -degrees[row], shift[row], scale[row], [0.0, 0.0], mode
                )
                - 1
            )
            differs = (moved[row] - expected).abs() > max(most, 1e-6)
            # Nearest: a place half-way between two pixels may go either way.
            assert differs.float().mean() <= (0.005 if interpolation == "nearest" else 0)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("background", [-1.0, 0.25])
@pytest.mark.parametrize("kind", [AffineMisalignment, ElasticMisalignment])
def test_what_comes_in_from_outside_is_exactly_the_background(kind, background, interpolation):
    images = torch.full((6, 1, 64, 64), 0.75)
    images[:, :, :6], images[:, :, -6:] = background, background
    batch = {"image": images, "target": images.clone()}
    moved = kind(background=background, interpolation=interpolation)(batch, seeded())["image"]
    assert (moved == background).float().mean() > 0.1
    low, high = min(background, 0.75), max(background, 0.75)
    assert moved.min() >= low - 1e-6
    assert moved.max() <= high + 1e-6
    if interpolation == "nearest":
        assert set(moved.unique().tolist()) == {background, 0.75}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_generator_moves_the_same_way_and_another_another(kind):
    first, again, other = (kind(pair(), seeded(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["image"], other["image"])


@pytest.mark.parametrize("kind", KINDS)
def test_all_else_in_a_batch_passes_through_and_nothing_is_changed_in_place(kind):
    batch = pair() | {"row": torch.arange(3)}
    before = {name: value.clone() for name, value in batch.items()}
    moved = kind(batch, seeded())
    assert moved["row"] is batch["row"]
    assert all(torch.equal(batch[name], before[name]) for name in batch)
    assert moved["target"].dtype == torch.float32


def test_a_field_has_the_wanted_spread_at_its_control_points_at_every_size():
    for size in ((256, 256), (64, 128)):
        field = ElasticMisalignment(sigma=3, control_points=8).draw(200, size, seeded())
        corners = field[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
        for axis in range(2):
            expected = 3 * size[axis] / 256
            assert corners[:, axis].std().item() == pytest.approx(expected, rel=0.08)
        assert corners.mean().abs() < 0.3


@settings(deadline=None, max_examples=20)
@given(st.integers(-6, 6), st.integers(-6, 6))
def test_a_field_of_whole_pixels_shifts(down, right):
    images = pair()["image"]
    field = torch.tensor([float(down), float(right)]).view(1, 2, 1, 1).expand(3, 2, *SIZE)
    padded = torch.nn.functional.pad(images, (6, 6, 6, 6), value=-1.0)
    expected = padded[:, :, 6 + down : 46 + down, 6 + right : 58 + right]
    moved = ElasticMisalignment().move(images, field)
    torch.testing.assert_close(moved, expected, atol=3e-5, rtol=0)


def test_bad_settings_and_batches_are_refused():
    with pytest.raises(ValidationError):
        AffineMisalignment(level=-1)
    with pytest.raises(ValidationError):
        AffineMisalignment(levle=2)
    for kind in KINDS:
        with pytest.raises(InputError, match="no 'target'"):
            kind({"image": pair()["image"]}, seeded())
