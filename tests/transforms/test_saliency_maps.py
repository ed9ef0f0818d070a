"""Saliency without training: against sums over windows, one at a time, and on images with a known answer."""

import numpy as np
import pytest
import torch

from modicum.errors import InputError
from modicum.transforms import fine_grained_saliency, spectral_residual_saliency
from modicum.transforms.saliency import half_sizes_at


def spot(size=64, radius=6, dark=0.2):
    rows, columns = np.mgrid[:size, :size]
    inside = (rows - 20) ** 2 + (columns - 40) ** 2 < radius**2
    image = np.where(inside, dark, 0.8).astype(np.float32)
    return torch.from_numpy(image).expand(1, 3, size, size).contiguous(), torch.from_numpy(inside)


def test_fine_grained_saliency_is_that_of_windows_one_at_a_time():
    generator = np.random.default_rng(0)
    image = generator.random((3, 9, 11)).astype(np.float32)
    grey = (image * np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]).sum(0).astype(np.float64)
    total = np.zeros_like(grey)
    for half in (1, 3, 20):
        for row, column in np.ndindex(grey.shape):
            window = grey[max(0, row - half) : row + half + 1, max(0, column - half) : column + half + 1]
            difference = grey[row, column] - window.mean()
            total[row, column] += max(0, difference) + max(0, -difference)
    expected = (total - total.min()) / (total.max() - total.min())
    found = fine_grained_saliency(torch.from_numpy(image)[None], (1, 3, 20))[0, 0]
    assert np.allclose(found.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("detector", [fine_grained_saliency, spectral_residual_saliency])
def test_a_dark_spot_is_salient_and_brightness_and_contrast_do_not_count(detector):
    image, inside = spot()
    found = detector(image)
    assert found.shape == (1, 1, 64, 64)
    assert found.min() == 0
    assert found.max() == 1
    assert found[0, 0][inside].mean() > 2 * found[0, 0][~inside].mean()
    if detector is fine_grained_saliency:
        assert torch.allclose(detector(0.5 * image + 0.1), found, atol=1e-4)


@pytest.mark.parametrize("detector", [fine_grained_saliency, spectral_residual_saliency])
def test_a_flat_image_and_one_channel(detector):
    flat = detector(torch.full((2, 1, 20, 24), 0.7))
    assert flat.shape == (2, 1, 20, 24)
    assert (flat == 0).all()
    with pytest.raises(InputError, match="1 or 3 channels, these have 5"):
        detector(torch.rand(1, 5, 16, 16))


def test_surroundings_are_those_of_the_paper_at_224_pixels_and_scale_with_the_image():
    assert half_sizes_at((224, 300)) == (12, 24, 28, 48, 56, 112)
    assert half_sizes_at((448, 448)) == (24, 48, 56, 96, 112, 224)
    assert min(half_sizes_at((8, 8))) == 1


def test_images_of_a_batch_do_not_see_each_other():
    images = torch.rand(3, 3, 24, 24)
    alone = torch.cat([fine_grained_saliency(images[i : i + 1]) for i in range(3)])
    assert torch.equal(fine_grained_saliency(images), alone)
