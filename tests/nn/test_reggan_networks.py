"""Generator, discriminator and registration network by their published counts; warping by closed forms."""

import doctest

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from modicum.errors import InputError
from modicum.nn import (
    PatchDiscriminator,
    RegistrationNetwork,
    ResnetGenerator,
    count_parameters,
    registration_depth,
    registration_network,
    spatial_transformer,
    warp,
)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) - 1


def size(module: nn.Module) -> int:
    return count_parameters(module)[0]


def constant_field(rows: float, columns: float, height: int, width: int) -> torch.Tensor:
    return torch.tensor([float(rows), float(columns)]).view(1, 2, 1, 1).expand(1, 2, height, width)


def test_docstring_examples_run():
    assert doctest.testmod(registration_network).failed == 0
    assert doctest.testmod(spatial_transformer).failed == 0


# --- counts -----------------------------------------------------------------------------------------------------


def test_parameter_counts_are_the_published_ones():
    assert size(ResnetGenerator()) == 11_365_633
    assert size(PatchDiscriminator()) == 2_762_689
    assert size(PatchDiscriminator(2)) == 2_763_713
    assert size(RegistrationNetwork()) == 2_058_018


def test_the_registration_networks_parts_have_the_published_counts():
    network = RegistrationNetwork()
    assert [size(part) for part in network.down] == [19_104, 92_352, *[110_784] * 5]
    assert [size(part) for part in network.up] == [27_680, *[73_792] * 6]
    into, blocks, out = network.bottom[:2], network.bottom[2:5], network.bottom[5:]
    assert [size(part) for part in (into, blocks, out)] == [8_320, 885_504, 8_256]
    assert (size(network.refine), size(network.displacement)) == (19_552, 578)


def test_the_registration_network_has_22_instance_norms_and_no_buffers():
    network = RegistrationNetwork()
    assert sum(isinstance(module, nn.InstanceNorm2d) for module in network.modules()) == 22
    assert not list(network.buffers())


def test_the_nets_that_learn_are_57_percent_of_cyclegans():
    registered = size(ResnetGenerator()) + size(PatchDiscriminator()) + size(RegistrationNetwork())
    cycle = 2 * size(ResnetGenerator()) + 2 * size(PatchDiscriminator())
    assert (registered / 1e6, cycle / 1e6) == (
        pytest.approx(16.19, abs=0.005),
        pytest.approx(28.26, abs=0.005),
    )
    assert registered / cycle == pytest.approx(0.573, abs=0.0005)


# --- shapes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(256, 256), (320, 320), (192, 320)])
def test_published_shapes(height, width):
    with torch.device("meta"):
        image = torch.empty(2, 1, height, width)
        assert ResnetGenerator()(image).shape == image.shape
        assert PatchDiscriminator()(image).shape == (2, 1)
        assert PatchDiscriminator().patches(image).shape == (2, 1, height // 8 - 2, width // 8 - 2)
        depth = registration_depth((height, width))
        assert RegistrationNetwork(depth=depth)(image, image).shape == (2, 2, height, width)


def test_the_generator_rounds_sides_up_to_multiples_of_4():
    assert ResnetGenerator(width=2, blocks=1)(noise(1, 1, 250, 24)).shape == (1, 1, 252, 24)


def test_the_generator_stays_inside_its_scale_and_is_the_same_in_evaluation():
    generator = ResnetGenerator(3, 2, width=4, blocks=2)
    made = generator(noise(2, 3, 32, 40))
    assert made.shape == (2, 2, 32, 40)
    assert made.abs().max() < 1
    assert torch.equal(generator.eval()(noise(2, 3, 32, 40)), made)


def test_the_generators_halves_are_the_whole():
    generator, images = ResnetGenerator(width=4, blocks=2), noise(2, 1, 32, 40)
    code = generator.encode(images)
    assert code.shape == (2, 16, 8, 10)
    assert torch.equal(generator.generate(code), generator(images))


def test_a_score_is_the_mean_of_the_patch_map():
    discriminator, images = PatchDiscriminator(width=4), noise(3, 1, 64, 64)
    expected = torch.stack([patches.mean() for patches in discriminator.patches(images)])
    torch.testing.assert_close(discriminator(images).squeeze(1), expected)


def test_a_patch_sees_70_pixels():
    """Without norms, which spread over the whole image, the middle patch depends on 70x70 pixels."""
    body = nn.Sequential(
        *(module for module in PatchDiscriminator(width=2).body if not isinstance(module, nn.InstanceNorm2d))
    )
    image = noise(1, 1, 256, 256).requires_grad_()
    body(image)[0, 0, 15, 15].backward()
    rows, columns = image.grad[0, 0].nonzero(as_tuple=True)
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (70, 70)


@pytest.mark.parametrize("side", [64, 40, 24])
def test_registration_works_on_small_images_with_automatic_depth(side):
    image = noise(1, 1, side, side + 7)
    network = RegistrationNetwork(depth=registration_depth((side, side + 7)), width=4)
    assert network(image, image).shape == (1, 2, side, side + 7)


@given(st.integers(4, 5000), st.integers(4, 5000))
def test_automatic_depth_is_the_deepest_that_leaves_two_pixels(height, width):
    depth = registration_depth((height, width))
    smallest = min(height, width)
    assert smallest >> depth >= 2
    assert depth == 7 or smallest >> (depth + 1) < 2


def test_too_small_images_are_told_the_size_that_would_do():
    image = noise(1, 1, 128, 200)
    with pytest.raises(InputError, match=r"128x200 .* depth 7; use at least 256x256 pixels, or depth 6"):
        RegistrationNetwork(width=2)(image, image)
    with pytest.raises(InputError, match="at least 4x4"):
        registration_depth((3, 90))
    with pytest.raises(InputError, match="at least 24x24"):
        PatchDiscriminator(width=2)(noise(1, 1, 23, 64))
    with pytest.raises(InputError, match="at least 8x8"):
        ResnetGenerator(width=2, blocks=1)(noise(1, 1, 7, 64))
    assert PatchDiscriminator(width=2)(noise(1, 1, 24, 24)).shape == (1, 1)
    assert ResnetGenerator(width=2, blocks=1)(noise(1, 1, 8, 8)).shape == (1, 1, 8, 8)


def test_an_untrained_registration_moves_next_to_nothing_but_not_nothing():
    torch.manual_seed(0)
    first, second = noise(1, 1, 256, 256), noise(1, 1, 256, 256, seed=1)
    with torch.no_grad():
        field = RegistrationNetwork()(first, second)
    # Measured on the official network: at most 1.5e-3 pixels, a deviation of 2.5e-4.
    assert 5e-5 < field.std() < 1e-3
    assert 1e-4 < field.abs().max() < 0.01
    assert (warp(first, field) - first).abs().max() < 0.01


# --- warping ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(256, 256), (192, 320)])
def test_a_zero_field_moves_nothing(height, width):
    for dtype, most in ((torch.float32, 3e-5), (torch.float64, 1e-12)):
        image = noise(1, 2, height, width, dtype=dtype)
        still = warp(image, torch.zeros(1, 2, height, width, dtype=dtype))
        assert (still - image).abs().max() < most


@settings(deadline=None, max_examples=25)
@given(st.integers(-9, 9), st.integers(-9, 9))
def test_whole_pixels_shift_and_repeat_the_border(down, right):
    image = noise(1, 2, 12, 21)
    rows = (torch.arange(12) + down).clamp(0, 11)
    columns = (torch.arange(21) + right).clamp(0, 20)
    moved = warp(image, constant_field(down, right, 12, 21))
    torch.testing.assert_close(moved, image[:, :, rows][:, :, :, columns], atol=3e-5, rtol=0)


def test_a_positive_row_displacement_moves_the_picture_up():
    picture = torch.zeros(1, 1, 20, 30)
    picture[0, 0, 10, 7] = 1
    moved = warp(picture, constant_field(3, 0, 20, 30))
    assert moved[0, 0].argmax() == 7 * 30 + 7
    assert moved.sum() == pytest.approx(1, abs=1e-4)


def test_half_a_pixel_is_the_mean_of_neighbours():
    image = noise(1, 1, 9, 14)
    down = warp(image, constant_field(0.5, 0, 9, 14))[:, :, :-1]
    right = warp(image, constant_field(0, 0.5, 9, 14))[..., :-1]
    torch.testing.assert_close(down, (image[:, :, 1:] + image[:, :, :-1]) / 2, atol=1e-5, rtol=0)
    torch.testing.assert_close(right, (image[..., 1:] + image[..., :-1]) / 2, atol=1e-5, rtol=0)


def test_gradients_of_image_and_field_are_right():
    image = noise(2, 2, 5, 7, dtype=torch.float64).requires_grad_()
    # Away from whole pixels, where bilinear reading has a kink, and from the border.
    field = (0.2 + 0.1 * noise(2, 2, 5, 7, seed=1, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(warp, (image, field))


def test_warping_keeps_single_precision_under_autocast():
    image, field = noise(1, 1, 64, 200), 5 * noise(1, 2, 64, 200, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        moved = warp(image, field)
    assert moved.dtype == torch.float32
    assert torch.equal(moved, warp(image, field))
