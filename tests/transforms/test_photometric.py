"""Brightness, colour, blur and noise against torchvision on the same parameters, and their closed forms."""

import math

import pytest
import torch
import torchvision.transforms.v2.functional as torchvision_functional
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.errors import InputError
from modicum.transforms import (
    Brightness,
    ColorJitter,
    Contrast,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    Grayscale,
    Hue,
    RandomErasing,
    Saturation,
    photometric,
)

EVERY = [
    Brightness(factor=(0, 3)),
    Contrast(factor=(0, 3)),
    Saturation(factor=(0, 3)),
    Hue(shift=(-0.5, 0.5)),
    ColorJitter(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.4),
    Grayscale(p=1),
    GaussianBlur(p=1, sigma=(0.2, 3)),
    Gamma(gamma=(0.3, 3)),
    GaussianNoise(p=1, std=(0, 0.5)),
    RandomErasing(p=1),
]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int = 5, channels: int = 3, size: int = 24, seed: int = 0) -> torch.Tensor:
    return torch.rand((count, channels, size, size), generator=seeded(seed))


# Against torchvision


@pytest.mark.parametrize(
    ("ours", "theirs", "parameters"),
    [
        (photometric.adjust_brightness, torchvision_functional.adjust_brightness, [0.0, 0.4, 1.0, 1.7, 3.0]),
        (photometric.adjust_contrast, torchvision_functional.adjust_contrast, [0.0, 0.4, 1.0, 1.7, 3.0]),
        (photometric.adjust_saturation, torchvision_functional.adjust_saturation, [0.0, 0.4, 1.0, 1.7, 3.0]),
        (photometric.adjust_hue, torchvision_functional.adjust_hue, [-0.5, -0.13, 0.0, 0.21, 0.5]),
        (photometric.adjust_gamma, torchvision_functional.adjust_gamma, [0.3, 0.8, 1.0, 1.5, 3.0]),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_adjustment_is_torchvisions(ours, theirs, parameters, channels):
    image = noise(channels=channels)
    image[0, :, :4] = 0.5  # grey
    image[1, :, :4] = 0.0  # black
    image[2, :, :4] = 1.0  # white
    changed = ours(image, torch.tensor(parameters))
    for row, parameter in enumerate(parameters):
        torch.testing.assert_close(changed[row], theirs(image[row], parameter), atol=2e-6, rtol=0)


def test_grayscale_is_torchvisions():
    image = noise()
    expected = torchvision_functional.rgb_to_grayscale(image, num_output_channels=3)
    torch.testing.assert_close(photometric.to_grayscale(image), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kernel_size", [3, 7, 23])
def test_blur_is_torchvisions_for_each_image_its_own_width(kernel_size):
    image, sigmas = noise(3), [0.5, 1.3, 4.0]
    blurred = photometric.gaussian_blur(image, torch.tensor(sigmas), kernel_size)
    for row, sigma in enumerate(sigmas):
        expected = torchvision_functional.gaussian_blur(image[row], [kernel_size] * 2, [sigma] * 2)
        torch.testing.assert_close(blurred[row], expected, atol=2e-6, rtol=0)


def test_color_jitter_runs_torchvisions_steps_in_each_images_own_order():
    steps = [
        torchvision_functional.adjust_brightness,
        torchvision_functional.adjust_contrast,
        torchvision_functional.adjust_saturation,
        torchvision_functional.adjust_hue,
    ]
    image = noise(12)
    jitter = ColorJitter(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.2)
    drawn = jitter.draw(12, (3, 24, 24), seeded(5))
    changed = jitter.change(image, drawn)
    for row in range(12):
        expected = image[row]
        for step in drawn["order"][row].tolist():
            expected = steps[step](expected, float(drawn["factors"][row, step]))
        # Hue differs by a rounding error where two channels are nearly equal.
        torch.testing.assert_close(changed[row], expected, atol=1e-5, rtol=0)


# Closed forms and properties


@pytest.mark.parametrize("operation", EVERY, ids=lambda operation: operation.name)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_operation_keeps_shape_range_and_the_image_it_was_given(operation, channels):
    image = noise(channels=channels, size=32)
    before = image.clone()
    changed = operation({"image": image}, seeded(1))["image"]
    assert torch.equal(image, before)
    assert changed.shape == image.shape
    assert changed.dtype == torch.float32
    assert changed.min() >= 0
    assert changed.max() <= 1


@pytest.mark.parametrize("operation", EVERY[:-2], ids=lambda operation: operation.name)
def test_operations_that_have_no_place_treat_mirrored_images_alike(operation):
    # Or flips could not be carried past. Noise and erasing have a place, and are alike in distribution only.
    image = noise(size=32)
    there = operation({"image": image.flip(-1)}, seeded(1))["image"].flip(-1)
    torch.testing.assert_close(there, operation({"image": image}, seeded(1))["image"], atol=2e-6, rtol=0)


@settings(max_examples=60, deadline=None)
@given(red=st.floats(0, 1), green=st.floats(0, 1), blue=st.floats(0, 1), shift=st.floats(-0.5, 0.5))
def test_hue_is_pythons_own_hsv(red, green, blue, shift):
    import colorsys

    image = torch.tensor([red, green, blue], dtype=torch.float64).view(1, 3, 1, 1)
    turned = photometric.adjust_hue(image, torch.tensor([shift], dtype=torch.float64)).flatten()
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    expected = colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value)
    torch.testing.assert_close(turned, torch.tensor(expected, dtype=torch.float64), atol=1e-9, rtol=0)


def test_a_third_of_the_colour_circle_turns_red_to_green():
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    turned = photometric.adjust_hue(red, torch.tensor([1 / 3]))
    torch.testing.assert_close(turned.flatten(), torch.tensor([0.0, 1.0, 0.0]), atol=1e-6, rtol=0)


def test_colour_operations_refuse_images_that_have_no_colour_model():
    with pytest.raises(InputError, match="hue is for images of 1 or 3 channels, these have 4"):
        Hue()({"image": noise(channels=4)}, seeded())
    Brightness()({"image": noise(channels=4)}, seeded())
    Contrast()({"image": noise(channels=4)}, seeded())


def test_noise_has_the_asked_deviation_and_no_bias():
    grey = torch.full((400, 1, 16, 16), 0.5)
    operation = GaussianNoise(p=1, std=(0.05, 0.05))
    added = operation({"image": grey}, seeded())["image"] - 0.5
    assert added.std() == pytest.approx(0.05, rel=0.01)
    assert added.mean() == pytest.approx(0, abs=4 * 0.05 / math.sqrt(added.numel()))


def test_erasing_by_noise_is_normal_about_its_value_within_the_window_only():
    half = torch.full((32, 3, 64, 64), 0.5)
    erased = RandomErasing(p=1, area=(0.3, 0.3), value=0.5, noise=0.1)({"image": half}, seeded())["image"]
    changed = erased[erased != 0.5]
    assert changed.numel() == pytest.approx(0.3 * half.numel(), rel=0.05)
    assert changed.mean().item() == pytest.approx(0.5, abs=2e-3)
    assert changed.std().item() == pytest.approx(0.1, rel=0.02)
    plain = RandomErasing(p=1, area=(0.3, 0.3), value=0.25)({"image": half}, seeded())["image"]
    assert torch.equal(plain == 0.25, erased != 0.5)  # the same windows


def test_erasing_fills_one_window_of_the_asked_area():
    white = torch.ones(200, 3, 50, 60)
    erased = RandomErasing(p=1, area=(0.1, 0.2), aspect=(0.5, 2), value=0.25)({"image": white}, seeded())[
        "image"
    ]
    inside = erased == 0.25
    assert bool((inside | (erased == 1)).all())
    share = inside.float().mean((1, 2, 3))
    # Whole pixels: half a pixel on either side of windows of at least 17 pixels.
    assert share.min() >= 0.1 - 0.01
    assert share.max() <= 0.2 + 0.01
    rows, columns = inside[:, 0].any(2).sum(1), inside[:, 0].any(1).sum(1)
    assert torch.equal(rows * columns, inside[:, 0].sum((1, 2)))


def test_blur_wider_than_the_image_is_refused():
    with pytest.raises(
        InputError, match="kernel_size 51 is too large for images of 24 x 24; choose at most 47"
    ):
        GaussianBlur(p=1, kernel_size=51)({"image": noise()}, seeded())


# What is drawn


@pytest.mark.parametrize(
    ("operation", "parameter", "low", "high"),
    [
        (Brightness(factor=(0.7, 1.1)), "factor", 0.7, 1.1),
        (Contrast(factor=(0.5, 2.5)), "factor", 0.5, 2.5),
        (Saturation(factor=(0.0, 1.0)), "factor", 0.0, 1.0),
        (Hue(shift=(-0.1, 0.3)), "shift", -0.1, 0.3),
        (GaussianBlur(sigma=(0.1, 2.0)), "sigma", 0.1, 2.0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_parameters_are_uniform_in_their_range(operation, parameter, low, high):
    from scipy.stats import kstest

    drawn = operation.draw(20_000, (3, 8, 8), seeded())[parameter]
    assert kstest(drawn.numpy(), "uniform", args=(low, high - low)).pvalue > 1e-3


def test_gamma_is_as_often_darker_as_brighter():
    drawn = Gamma(gamma=(0.5, 2.0)).draw(20_000, (3, 8, 8), seeded())["gamma"]
    assert 0.5 <= drawn.min() < drawn.max() <= 2
    assert (drawn > 1).double().mean() == pytest.approx(0.5, abs=3 * 0.5 / math.sqrt(20_000))


def test_color_jitter_orders_are_equally_likely_and_leave_out_what_is_zero():
    drawn = ColorJitter(brightness=0.2, contrast=0.4, hue=0.1).draw(20_000, (3, 8, 8), seeded())
    orders, counts = drawn["order"].unique(dim=0, return_counts=True)
    assert sorted(map(tuple, orders.tolist())) == sorted(
        [(0, 1, 3), (0, 3, 1), (1, 0, 3), (1, 3, 0), (3, 0, 1), (3, 1, 0)]
    )
    assert ((counts / 20_000 - 1 / 6).abs() < 4 * math.sqrt(5 / 36 / 20_000)).all()
    limits = drawn["factors"].aminmax(dim=0)
    torch.testing.assert_close(limits.min, torch.tensor([0.8, 0.6, 1, -0.1]).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(limits.max, torch.tensor([1.2, 1.4, 1, 0.1]).double(), atol=1e-3, rtol=0)
