"""Mixup of images with their masks."""

import pytest
import torch

from modicum.errors import InputError
from modicum.transforms import mixup


def batch(count=6):
    """Images of one grey level each, and masks of the same level."""
    level = torch.arange(count).view(count, 1, 1, 1) / count
    whole = level.expand(count, 1, 4, 4).clone()
    return {"image": whole.expand(-1, 3, -1, -1).clone(), "mask": whole, "row": torch.arange(count)}


def test_image_and_mask_are_blended_in_the_same_share_with_the_same_other():
    torch.manual_seed(1)
    mixed = mixup(batch(), 0.4)
    assert torch.allclose(mixed["image"][:, :1], mixed["mask"])
    assert torch.equal(mixed["row"], torch.arange(6))
    assert not torch.equal(mixed["image"], batch()["image"])


def test_the_mean_of_the_batch_stays():
    for seed in range(20):
        torch.manual_seed(seed)
        mean = float(mixup(batch(), 1.0)["image"].mean())
        assert mean == pytest.approx(float(batch()["image"].mean()), abs=1e-6)


def test_shares_have_the_moments_of_the_beta_distribution():
    images = {"image": torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), "mask": torch.zeros(2, 1, 1, 1)}
    alpha, found = 0.4, []
    torch.manual_seed(0)
    while len(found) < 2000:
        mixed = mixup(images, alpha)["image"].flatten()
        if (mixed != images["image"].flatten()).any():  # mixed with itself half of the time
            found.append(float(mixed[1]))
    shares = torch.tensor(found)
    assert abs(shares.mean() - 0.5) < 0.04
    assert abs(shares.var() - 1 / (4 * (2 * alpha + 1))) < 0.01


def test_a_pixel_counts_where_it_does_in_both():
    inside = torch.zeros(6, 1, 4, 4, dtype=torch.bool)
    inside[0] = True
    inside[:, :, 0] = True
    torch.manual_seed(0)
    mixed = mixup({**batch(), "fov": inside}, 0.4)["fov"]
    assert mixed[:, :, 0].all()
    assert mixed[:, :, 1:].sum() in (0, 12)  # the first image with another one, or with itself


def test_masks_of_codes_cannot_be_blended():
    with pytest.raises(InputError, match="uint8"):
        mixup({**batch(), "mask": torch.zeros(6, 1, 4, 4, dtype=torch.uint8)}, 0.4)
