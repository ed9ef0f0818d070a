"""The ten operations of a policy: level for level what Pillow makes of the same 8-bit image."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from modicum.errors import InputError
from modicum.transforms import policy_operations as operations
from modicum.transforms.policy import MAGNITUDE_LIMITS, magnitude_values

HEIGHT, WIDTH = 47, 53


def pictures() -> list[np.ndarray]:
    """RGB images whose histograms are full, narrow, flat, two-valued, lumpy and gradual."""
    random = np.random.default_rng(0)
    shape = (HEIGHT, WIDTH, 3)
    blocks = np.kron(random.integers(0, 256, (6, 6, 3)), np.ones((8, 9, 1)))[:HEIGHT, :WIDTH]
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return [
        random.integers(0, 256, shape, dtype=np.uint8),
        random.integers(90, 130, shape, dtype=np.uint8),
        np.full(shape, 77, np.uint8),
        random.integers(0, 2, shape).astype(np.uint8) * 255,
        blocks.astype(np.uint8),
        np.stack([x * 4, y * 5, x + y], -1).astype(np.uint8),
        np.where(random.random(shape) < 0.01, 200, 10).astype(np.uint8),  # nothing to equalize by: step 0
    ]


def batch_of(images: list[np.ndarray]) -> torch.Tensor:
    stacked = torch.from_numpy(np.stack([image if image.ndim == 3 else image[..., None] for image in images]))
    return stacked.permute(0, 3, 1, 2).contiguous()


PILLOW = {
    "autocontrast": lambda image, value: ImageOps.autocontrast(image),
    "invert": lambda image, value: ImageOps.invert(image),
    "equalize": lambda image, value: ImageOps.equalize(image),
    "solarize": lambda image, value: ImageOps.solarize(image, value),
    "posterize": lambda image, value: ImageOps.posterize(image, int(value)),
    "contrast": lambda image, value: ImageEnhance.Contrast(image).enhance(value),
    "color": lambda image, value: ImageEnhance.Color(image).enhance(value),
    "brightness": lambda image, value: ImageEnhance.Brightness(image).enhance(value),
    "sharpness": lambda image, value: ImageEnhance.Sharpness(image).enhance(value),
}


def change(name: str, levels: torch.Tensor, magnitudes: torch.Tensor) -> torch.Tensor:
    function = getattr(operations, name)
    return (
        function(levels)
        if MAGNITUDE_LIMITS[name] is None
        else function(levels, magnitude_values(name, magnitudes))
    )


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("name", sorted(PILLOW))
def test_an_operation_gives_the_levels_that_pillow_gives_at_every_magnitude(name, grey):
    images = [image[..., 1] if grey else image for image in pictures()]
    lowest, highest = MAGNITUDE_LIMITS[name] or (0, 0)
    for magnitude in range(10):
        value = lowest + magnitude / 9 * (highest - lowest)
        made = change(name, batch_of(images), torch.full((len(images),), magnitude))
        for number, image in enumerate(images):
            expected = np.asarray(PILLOW[name](Image.fromarray(image), value))
            found = made[number].permute(1, 2, 0).numpy().squeeze()
            np.testing.assert_array_equal(found, expected, err_msg=f"{name} {magnitude}, picture {number}")


def test_autocontrast_is_pillows_for_every_range_of_levels():
    lows, highs = np.triu_indices(256, 1)
    ends = np.stack([lows, highs], 1).astype(
        np.uint8
    )  # pictures of two pixels; below, some with all levels between
    found = operations.autocontrast(torch.from_numpy(ends).reshape(-1, 1, 1, 2)).flatten(1).numpy()
    expected = [np.asarray(ImageOps.autocontrast(Image.fromarray(picture[None])))[0] for picture in ends]
    np.testing.assert_array_equal(found, np.stack(expected))
    for low in range(0, 256, 5):
        for high in range(low + 1, 256, 3):
            ramp = np.arange(low, high + 1, dtype=np.uint8)[None]
            found = operations.autocontrast(torch.from_numpy(ramp)[None, None])[0, 0].numpy()
            np.testing.assert_array_equal(found, np.asarray(ImageOps.autocontrast(Image.fromarray(ramp))))


def test_each_image_of_a_batch_has_its_own_magnitude():
    levels = batch_of(pictures()[:1]).expand(10, -1, -1, -1).contiguous()
    for name in ("solarize", "posterize", "contrast", "color", "brightness", "sharpness"):
        together = change(name, levels, torch.arange(10))
        alone = [change(name, levels[:1], torch.tensor([magnitude])) for magnitude in range(10)]
        assert torch.equal(together, torch.cat(alone))
        assert len(together.flatten(1).unique(dim=0)) >= 5


def test_values_of_a_small_image_worked_out_by_hand():
    # The specification's image and pixel (row 3, column 5), measured on the release.
    y, x = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    red = 16 * y + x
    image = torch.stack([red, 255 - red, (7 * x + 13 * y) % 200 + 20]).to(torch.uint8)[None]
    expected = {
        ("invert", 0): (202, 53, 161),
        ("solarize", 3): (53, 53, 161),
        ("posterize", 0): (48, 192, 80),
        ("posterize", 3): (48, 200, 88),
        ("contrast", 0): (118, 133, 122),
        ("contrast", 9): (0, 255, 65),
        ("color", 0): (135, 150, 139),
        ("brightness", 0): (5, 20, 9),
        ("brightness", 9): (100, 255, 178),
        ("autocontrast", 0): (53, 202, 94),
    }
    for (name, magnitude), levels in expected.items():
        made = change(name, image, torch.tensor([magnitude]))
        assert tuple(made[0, :, 3, 5].tolist()) == levels, (name, magnitude)
    means = {
        ("brightness", 9): (187.418, 187.418, 190.008),
        ("solarize", 3): (70.391, 70.391, 86.152),
        ("sharpness", 9): (127.5, 127.5, 118.312),
    }
    for (name, magnitude), mean in means.items():
        made = change(name, image, torch.tensor([magnitude])).double().mean((0, 2, 3))
        assert made.tolist() == pytest.approx(mean, abs=6e-4), (name, magnitude)


def test_bins_mean_what_the_table_of_the_search_space_says():
    bins = torch.arange(10)
    assert magnitude_values("posterize", bins).int().tolist() == [4, 4, 4, 5, 5, 6, 6, 7, 7, 8]
    assert magnitude_values("contrast", bins).tolist() == pytest.approx([0.1 + 0.2 * m for m in range(10)])
    assert magnitude_values("solarize", bins)[[0, 9]].tolist() == [0, 256]
    assert magnitude_values("cutout", bins)[9].item() == pytest.approx(0.2)


def test_solarize_inverts_everything_at_the_lowest_bin_and_nothing_at_the_highest():
    levels = batch_of(pictures())
    count = len(levels)
    assert torch.equal(change("solarize", levels, torch.zeros(count).long()), operations.invert(levels))
    assert torch.equal(change("solarize", levels, torch.full((count,), 9)), levels)
    assert torch.equal(change("posterize", levels, torch.full((count,), 9)), levels)


# Cutout


def boxes(count: int, share: float, size: tuple[int, int], seed: int = 0) -> torch.Tensor:
    centre = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return operations.cutout_boxes(centre, torch.full((count,), share, dtype=torch.float64), size)


def test_cutout_covers_the_pixels_of_the_rectangle_that_pillow_draws():
    height, width, share = 60, 80, 0.2
    centre = torch.rand(50, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    shares = torch.full((50,), share, dtype=torch.float64)
    levels = torch.zeros(50, 3, height, width, dtype=torch.uint8)
    made = operations.cutout(levels, operations.cutout_boxes(centre, shares, (height, width)))
    for number, (x, y) in enumerate((centre * torch.tensor([width, height])).tolist()):
        side = share * width
        left, top = int(max(0, x - side / 2)), int(max(0, y - side / 2))
        image = Image.new("RGB", (width, height))
        corners = (left, top, min(width, left + side), min(height, top + side))
        ImageDraw.Draw(image).rectangle(corners, (127, 127, 127))
        np.testing.assert_array_equal(made[number].permute(1, 2, 0).numpy(), np.asarray(image))


def test_cutout_at_its_largest_covers_the_area_measured_on_the_release():
    covered = operations.inside_boxes(boxes(3000, 0.2, (256, 256)), (256, 256), torch.device("cpu"))
    area = covered.sum((1, 2, 3)).double()
    assert area.max() == 2704  # 52 x 52: the end of the square is drawn too
    assert area.mean().item() == pytest.approx(2558.7, rel=0.02)


def test_cutout_of_no_size_covers_nothing():
    assert not operations.inside_boxes(boxes(20, 0.0, (32, 32)), (32, 32), torch.device("cpu")).any()


# Images in [0, 1]


def test_whole_levels_survive_the_way_from_and_to_floats():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(operations.to_levels(levels.float() / 255), levels)


def test_images_of_two_channels_are_refused():
    with pytest.raises(InputError, match=r"images of 1 or 3 channels, these have 2"):
        operations.to_levels(torch.rand(1, 2, 8, 8))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", sorted(PILLOW))
def test_a_gpu_gives_the_same_levels_as_the_cpu(name):
    levels = batch_of(pictures())
    for magnitude in range(10):
        bins = torch.full((len(levels),), magnitude)
        assert torch.equal(change(name, levels.cuda(), bins).cpu(), change(name, levels, bins))
