"""Windows that augmentation cuts from training images."""

import pytest
import torch

from modicum.transforms import Augmentation


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def places(count=4, height=40, width=56):
    """Images whose pixels say where they are: row + 1 in the first channel and column + 1 in the second, in 64ths."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    image = torch.stack((rows + 1, columns + 1, rows)).float().div(64)
    return {"image": image.repeat(count, 1, 1, 1), "mask": torch.ones(count, 1, height, width)}


@pytest.mark.parametrize("operations", ["none", [{"name": "random_scale_crop", "p": 0.0}]])
def test_a_patch_is_a_window_of_the_image_pixel_by_pixel(operations):
    cut = Augmentation(operations, (40, 56), patch=(16, 24))(places(), seeded())
    assert cut["image"].shape == (4, 3, 16, 24)
    assert cut["mask"].shape == (4, 1, 16, 24)
    rows, columns = (cut["image"][:, channel] * 64 for channel in (0, 1))
    assert torch.allclose(rows[:, 1:] - rows[:, :-1], torch.ones(4, 15, 24), atol=1e-3)
    assert torch.allclose(columns[:, :, 1:] - columns[:, :, :-1], torch.ones(4, 16, 23), atol=1e-3)
    assert torch.allclose(rows, rows.round(), atol=1e-3)  # nothing between pixels


def test_patches_reach_every_place_of_the_image():
    cut = Augmentation("none", (40, 56), patch=16)(places(400), seeded())
    corners = (cut["image"][:, :2, 0, 0] * 64).round().long() - 1
    assert corners.min(0).values.tolist() == [0, 0]
    assert corners.max(0).values.tolist() == [40 - 16, 56 - 16]


def test_an_image_that_is_squeezed_comes_to_the_working_size_before_it_is_cut():
    whole = places(8, 80, 112)
    cut = Augmentation(["resize"], (40, 56), patch=16)(whole, seeded())
    rows = cut["image"][:, 0] * 64
    assert torch.allclose(rows[:, 1:] - rows[:, :-1], torch.full((8, 15, 16), 2.0), atol=1e-2)


def test_beyond_a_smaller_image_there_is_black_that_is_in_no_mask():
    batch = places(2, 24, 24) | {"fov": torch.ones(2, 1, 24, 24, dtype=torch.bool)}
    cut = Augmentation("none", 24, patch=32)(batch, seeded())
    assert cut["image"].shape == (2, 3, 32, 32)
    assert cut["fov"].dtype == torch.bool
    assert cut["fov"].sum((1, 2, 3)).tolist() == [24 * 24] * 2
    assert torch.equal(cut["image"][:, 1:2] > 0, cut["fov"])


def test_without_a_patch_nothing_has_changed():
    batch = places()
    assert Augmentation("none", (40, 56))(batch, seeded())["image"] is batch["image"]
    assert Augmentation("segmentation", 32)(batch, seeded())["image"].shape == (4, 3, 32, 32)
