"""Classical degradation of fundus photographs (arXiv 2005.05594): replayed from its parameters, scaled with the image."""

import pytest
import torch

from modicum.data.phantoms import fundus
from modicum.errors import InputError
from modicum.transforms.degradation_parameters import COMBINATIONS, ColourChange, Degradation, Spot, odd_width
from modicum.transforms.fundus_degradation import degrade, draw_degradation, visible_field


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def photograph():
    """A phantom eye of 256 x 256 pixels, and its field of view."""
    made = fundus(3, 256)
    pixels = torch.from_numpy(made.image.copy())
    image = pixels.permute(2, 0, 1) / 255 if pixels.shape[-1] == 3 else pixels / 255
    return image.float(), visible_field(image[None].float())[0]


def sharpness(image, mask):
    """Variance of the Laplacian inside a mask."""
    grey = image.mean(0)
    laplacian = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    return float(laplacian[mask[1:-1, 1:-1]].var())


@pytest.mark.parametrize("kind", COMBINATIONS)
def test_each_kind_changes_the_inside_and_leaves_exact_zero_outside(photograph, kind):
    image, mask = photograph
    parameters = draw_degradation(generator(1), kind)
    worse = degrade(image, parameters, mask)
    assert parameters.kind == kind
    assert worse.shape == image.shape
    assert worse.dtype == image.dtype
    assert not torch.allclose(worse[:, mask], image[:, mask], atol=1e-3)
    assert (worse[:, ~mask] == 0).all()
    assert worse.min() >= 0
    assert worse.max() <= 1


def test_the_same_parameters_give_the_same_image_also_through_json(photograph):
    image, mask = photograph
    parameters = draw_degradation(generator(2), "111")
    again = Degradation.model_validate_json(parameters.model_dump_json())
    assert again == parameters
    assert torch.equal(degrade(image, again, mask), degrade(image, parameters, mask))
    assert draw_degradation(generator(2), "111") == parameters
    assert draw_degradation(generator(3), "111") != parameters


def test_blur_lowers_the_laplacian(photograph):
    image, mask = photograph
    worse = degrade(image, draw_degradation(generator(4), "100"), mask)
    assert sharpness(worse, mask) < sharpness(image, mask)


@pytest.mark.parametrize("seed", range(5))
def test_blur_always_has_more_than_one_tap(seed):
    blur = draw_degradation(generator(seed), "100").blur
    assert max(blur.kernel) >= 3
    assert all(width % 2 == 1 and width <= 9 for width in blur.kernel)


@pytest.mark.parametrize("side", [32, 256, 1024])
def test_spots_never_darken(side):
    # The release divides sizes by 25, whatever the image's size, so that large spots of large images darken.
    image = torch.full((3, side, side), 0.4)
    worse = degrade(image, draw_degradation(generator(5), "010"))
    assert (worse - image).min() >= -1 / 255
    assert (worse - image).max() > 0


def test_a_dark_area_never_brightens_and_dark_images_get_none(photograph):
    image, mask = photograph
    hole = draw_degradation(generator(6), "001").hole
    worse = degrade(image, Degradation(hole=hole), mask)
    assert (worse <= image * mask + 1e-6).all()
    assert (worse < image * mask - 0.05).any()
    dark = image * 0.3
    assert torch.equal(degrade(dark, Degradation(hole=hole), mask), dark * mask)


def test_a_dark_area_takes_off_what_the_paper_says():
    image = torch.full((3, 128, 128), 0.6)
    hole = draw_degradation(generator(7), "001").hole
    worse = degrade(image, Degradation(hole=hole))
    deepest = hole.depth - hole.slope * 0.6
    middle = [int(share * 128) for share in hole.centre]
    assert -0.262 - 0.06 * 0.6 <= deepest <= -0.26 - 0.05 * 0.6
    assert float(worse[0, middle[1], middle[0]]) - 0.6 == pytest.approx(deepest, abs=0.02)


def test_the_level_of_the_largest_spots_is_that_of_a_size_of_25_at_512_pixels():
    # k (1 - t) with k = 14/25 + 1 - 1, t = exp(-1.5 * 0.3)
    spot = Spot(centre=(0.5, 0.5), size=1.0, kernel=(0.01, 0.01))
    worse = degrade(
        torch.zeros(1, 512, 512), Degradation(spots=(spot,)), torch.ones(512, 512, dtype=torch.bool)
    )
    assert float(worse.max()) == pytest.approx(14 / 25 * (1 - 2.718281828 ** (-0.45)), abs=1e-4)


def test_colour_changes_are_torchvisions():
    v2 = pytest.importorskip("torchvision.transforms.v2.functional")
    image = torch.rand(3, 24, 24, generator=generator())
    change = ColourChange(brightness=0.8, contrast=1.3, saturation=0.7)
    expected = v2.adjust_saturation(v2.adjust_contrast(v2.adjust_brightness(image, 0.8), 1.3), 0.7)
    found = degrade(image, Degradation(colour=change), torch.ones(24, 24, dtype=torch.bool))
    assert torch.allclose(found, expected, atol=1e-5)


def test_halos_may_be_white_only_if_that_is_asked_for():
    # In the release a brightness factor above 0.7 is compared with 0.2, so that white never comes.
    white = (251 / 255, 249 / 255, 246 / 255)
    drawn = {draw_degradation(generator(seed), "001").halo.colour for seed in range(40)}
    asked = {draw_degradation(generator(seed), "001", white_halo=True).halo.colour for seed in range(40)}
    assert len(drawn) == 2
    assert white not in drawn
    assert white in asked


@pytest.mark.parametrize("side", [256, 1024])
def test_parameters_scale_with_the_image(side):
    # The same scene at two sizes is degraded alike.
    grid = torch.linspace(0, 6, side)
    scene = (0.5 + 0.2 * torch.sin(grid)[:, None] * torch.cos(grid)[None]).expand(3, side, side)
    smooth = torch.nn.functional.interpolate(scene[None], (128, 128), mode="area")[0]
    parameters = draw_degradation(generator(8), "011")
    large = torch.nn.functional.interpolate(degrade(scene, parameters)[None], (128, 128), mode="area")[0]
    assert (large - degrade(smooth, parameters)).abs().mean() < 0.02


def test_grey_images_are_degraded_too():
    assert degrade(torch.rand(1, 32, 32), draw_degradation(generator(), "111")).shape == (1, 32, 32)


def test_widths_are_odd_whole_numbers():
    assert [odd_width(width) for width in (0.2, 1.9, 2.0, 4.7, 7)] == [1, 1, 3, 5, 7]


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="unknown kind of degradation '12'"):
        draw_degradation(generator(), "12")
    with pytest.raises(InputError, match="the mask has"):
        degrade(torch.rand(3, 16, 16), Degradation(), torch.ones(8, 8, dtype=torch.bool))
