"""Shares of patches by saliency: the numbers of SPMix's code, invariants, and what its release does otherwise."""

import pytest
import torch

from modicum.transforms import Augmentation, patch_ratio, patch_saliency

GRID = (14, 14)


def ramp(axis):
    line = torch.linspace(0, 1, 224)
    return (line[None, :] if axis == "x" else line[:, None]).expand(224, 224)[None, None].contiguous()


def gaussian(x, y, sigma):
    line = torch.arange(224.0)
    return torch.exp(-((line[None] - x) ** 2 + (line[:, None] - y) ** 2) / (2 * sigma**2))[None, None]


def test_two_ramps_have_the_shares_of_the_code():
    share = patch_ratio(ramp("x"), ramp("y"), GRID)[0]
    assert share.mean().item() == pytest.approx(0.762480, abs=1e-5)
    assert share.min().item() == pytest.approx(0.5, abs=1e-5)
    assert (share > 0.8 - 1e-6).float().mean().item() == pytest.approx(0.673469, abs=1e-5)
    first_row = [min(0.8, 0.5 + 0.5 * column / 13) for column in range(14)]
    assert share[:14].tolist() == pytest.approx(first_row, abs=1e-5)
    assert share[7] < 0.8 <= share[8] + 1e-6


def test_two_spots_have_the_shares_of_the_code():
    share = patch_ratio(gaussian(112, 112, 40), gaussian(60, 60, 30), GRID)[0]
    assert share.mean().item() == pytest.approx(0.620327, abs=1e-5)
    assert share.min().item() == pytest.approx(0.500041, abs=1e-5)
    assert (share > 0.8 - 1e-6).float().mean().item() == pytest.approx(0.188776, abs=1e-5)


def test_scale_and_offset_of_a_map_do_not_count():
    first, second = torch.rand(3, 1, 32, 32), torch.rand(3, 1, 32, 32)
    share = patch_ratio(first, second, (4, 4))
    assert torch.allclose(share, patch_ratio(7 * first + 2, 0.01 * second - 0.03, (4, 4)), atol=1e-4)


def test_it_is_symmetric_within_its_limits_and_rises_with_either_map():
    first, second = torch.rand(4, 1, 16, 16), torch.rand(4, 1, 16, 16)
    for maps in (first, second):  # the range's ends stay where they are
        maps[:, :, :4, :4], maps[:, :, 4:8, :4] = 0, 1
    share = patch_ratio(first, second, (4, 4))
    assert torch.equal(share, patch_ratio(second, first, (4, 4)))
    assert share.min() >= 0.5
    assert share.max() <= 0.8
    raised = first.clone()
    raised[:, :, 8:12, 8:12] = raised[:, :, 8:12, 8:12].clamp_min(0.9)
    change = patch_ratio(raised, second, (4, 4)) - share
    assert (change >= 0).all()
    assert change[:, 2 * 4 + 2].max() > 0


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_a_flat_map_has_half_everywhere(level):
    flat = torch.full((2, 1, 28, 28), level)
    assert torch.equal(patch_ratio(flat, flat, (7, 7)), torch.full((2, 49), 0.5))


def test_the_releases_noise_makes_a_flat_map_random_and_changes_no_map_in_place():
    """Defect 5 of the release: what min-max makes of noise on nothing. Here it has to be asked for."""
    torch.manual_seed(0)
    flat = torch.zeros(50, 1, 224, 224)
    one = patch_saliency(flat, GRID, noise=0.5)
    assert one.mean().item() == pytest.approx(0.749, abs=0.01)
    both = patch_ratio(flat, flat, GRID, noise=0.5)
    assert both.mean().item() == pytest.approx(0.771, abs=0.01)
    assert (both > 0.8 - 1e-6).float().mean().item() == pytest.approx(0.517, abs=0.02)
    assert (flat == 0).all()


def test_a_map_of_one_patch_raises_that_token_alone():
    saliency = torch.zeros(1, 1, 224, 224)
    saliency[:, :, 3 * 16 : 4 * 16, 10 * 16 : 11 * 16] = 1
    share = patch_ratio(saliency, torch.zeros_like(saliency), GRID)[0]
    assert torch.nonzero(share > 0.5 + 1e-6).flatten().tolist() == [52]
    assert share[52].item() == pytest.approx(0.8)


def test_the_foreground_alone_can_decide():
    first, second = torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8)
    alone = patch_ratio(first, None, (2, 2))
    assert (patch_ratio(first, second, (2, 2)) >= alone).all()
    assert torch.equal(alone, patch_saliency(first, (2, 2)).clamp_max(0.8))


def test_saliency_moves_with_the_lesion_and_is_nothing_outside_the_image():
    """Acceptance 4, and defect 6 of the release: its padding is bright in the saliency map, so it becomes lesion."""
    rows, columns = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    lesion = (((rows - 48) ** 2 + (columns - 40) ** 2) < 20**2).float().expand(8, 1, 96, 96).contiguous()
    image = torch.where(lesion > 0, 0.3, 0.8).expand(8, 3, 96, 96).contiguous()
    batch = {"image": image, "saliency": lesion, "mask": lesion.to(torch.uint8)}
    moves = ["rotate", {"name": "translate", "fraction": 0.3}, {"name": "horizontal_flip"}]
    moved = Augmentation(moves, 96)(batch, torch.Generator().manual_seed(1))
    found, true = moved["saliency"] > 0.5, moved["mask"] > 0
    assert (found & true).sum() / (found | true).sum() > 0.9
    padded = (moved["image"] == 0).all(1, keepdim=True)
    assert padded.any()
    assert (moved["saliency"][padded] == 0).all()


@pytest.mark.parametrize("preset", ["skin_query", "skin_key"])
def test_both_views_keep_saliency_a_map_of_its_image(preset):
    batch = {"image": torch.rand(4, 3, 32, 32), "saliency": torch.rand(4, 1, 32, 32)}
    batch |= {f"partner_{name}": value.clone() for name, value in batch.items()}
    seen = Augmentation(preset, 32)(batch, torch.Generator().manual_seed(0))
    assert {name: tuple(value.shape) for name, value in seen.items()} == {
        name: tuple(value.shape) for name, value in batch.items()
    }
    assert not torch.equal(seen["image"], seen["partner_image"])  # draws of their own
