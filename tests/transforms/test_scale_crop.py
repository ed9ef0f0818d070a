"""Random scale and crop: sizes, places, what opens, and masks that stay on their pixels."""

import pytest
import torch

from modicum.transforms import Augmentation, RandomScaleCrop, resize


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_scaling_it_is_a_plain_crop_at_any_place():
    image = torch.arange(64.0).expand(200, 1, 64, 64)
    made = RandomScaleCrop(p=0, size=24)({"image": image}, seeded())["image"]
    left = made[:, 0, 0, 0]
    assert torch.equal(made[:, 0, 0], left[:, None] + torch.arange(24.0))
    assert left.min() == 0
    assert left.max() == 40


def test_of_the_image_itself_without_scaling_nothing_changes():
    image = torch.rand(4, 3, 32, 32)
    assert torch.equal(RandomScaleCrop(p=0)({"image": image}, seeded())["image"], image)


def test_at_a_fixed_scale_it_is_a_window_of_the_resized_image():
    image = torch.rand(1, 3, 20, 20)
    made = RandomScaleCrop(p=1, factor=(2, 2), size=40)({"image": image}, seeded())["image"]
    torch.testing.assert_close(made[..., 1:-1, 1:-1], resize(image, (40, 40))[..., 1:-1, 1:-1])


def test_a_scaled_image_that_is_too_small_lies_whole_in_black():
    image = torch.ones(100, 1, 40, 40)
    made = RandomScaleCrop(p=1, factor=(0.5, 0.5))({"image": image, "mask": image}, seeded())
    for key in ("image", "mask"):
        area = (made[key] > 0.5).sum((1, 2, 3))
        assert area.float().mean().item() == pytest.approx(400, rel=0.03)
        assert made[key].amax((1, 2, 3)).min() == 1
    first_column = (made["mask"][:, 0].amax(1) > 0).float().argmax(1)
    assert first_column.min() <= 1
    assert first_column.max() >= 18


def test_width_and_height_have_factors_of_their_own_and_a_fifth_has_none():
    drawn = RandomScaleCrop(factor=(0.5, 2)).draw(5000, (3, 64, 64), seeded())["factor"]
    assert drawn.mean(0).tolist() == pytest.approx([1.25, 1.25], abs=0.03)
    assert abs(torch.corrcoef(drawn.T)[0, 1]) < 0.05
    image = torch.rand(1, 1, 64, 64).expand(400, 1, 64, 64)
    made = RandomScaleCrop(factor=(1.5, 2))({"image": image}, seeded())["image"]
    unchanged = (made == image).flatten(1).all(1).sum().item()
    assert 50 < unchanged < 110


def test_masks_stay_on_their_pixels():
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    disc = (((y - 34) ** 2 + (x - 28) ** 2) < 250).float()
    batch = {"image": disc.expand(16, 3, 64, 64), "mask": disc.expand(16, 1, 64, 64)}
    out = Augmentation([RandomScaleCrop(size=40)])(batch, seeded())
    assert out["mask"].shape == (16, 1, 40, 40)
    assert ((out["image"][:, :1] > 0.5) != (out["mask"] > 0.5)).float().mean() < 0.01


def spans(made: torch.Tensor, dim: int) -> torch.Tensor:
    """First and last + 1 column (dim 3) or row (dim 2) that is not black, of each image: [images, 2]."""
    seen = made.amax((1, 5 - dim)) > 0.5
    first = seen.double().argmax(1)
    return torch.stack((first, first + seen.sum(1)), 1)


# What AADG's release does with Pillow: `(window - image) // 2 + 5` of black on all sides, then a crop.
@pytest.mark.parametrize(
    ("sides", "window", "factor"), [((32, 32), 32, 0.5), ((40, 40), 64, 1.0), ((30, 50), 60, 0.4)]
)
def test_as_the_release_places_them_small_images_stay_within_5_pixels_of_the_centre(sides, window, factor):
    image = torch.ones(400, 1, *sides)
    crop = RandomScaleCrop(p=1, factor=(factor, factor), size=window, placement="release")
    made = crop({"image": image, "mask": image}, seeded())
    assert torch.equal(made["mask"] > 0, made["image"] > 0.5)
    smaller = min((2, 3), key=lambda dim: sides[dim - 2])
    centre = (window - int(sides[smaller - 2] * factor)) // 2
    first = spans(made["image"], smaller)[:, 0]
    assert (first.min(), first.max()) == (centre - 5, centre + 5)
    anywhere = crop.model_copy(update={"placement": "anywhere"})({"image": image}, seeded())["image"]
    assert spans(anywhere, smaller)[:, 0].min() < centre - 5


def test_as_the_release_a_small_width_lets_the_window_reach_beyond_the_height():
    """80 x 40 in a window of 60: 10 + 5 pixels of black on all sides, also above and below."""
    image = torch.ones(600, 1, 80, 40)
    made = RandomScaleCrop(p=0, size=60, placement="release")({"image": image}, seeded())["image"]
    rows = spans(made, 2)
    assert set(rows[:, 0].tolist()) == set(range(16))
    assert rows[:, 1].min() == 45
    assert made.amax((1, 2))[:, :5].max() == 0


@pytest.mark.parametrize(("sides", "factor"), [((48, 48), 1.5), ((40, 70), 1.0)])
def test_images_that_fill_the_window_are_cut_alike_wherever_small_ones_go(sides, factor):
    image = torch.rand(20, 3, *sides, generator=seeded())
    made = [
        RandomScaleCrop(factor=(factor, factor), size=40, placement=placement)({"image": image}, seeded())
        for placement in ("anywhere", "release")
    ]
    assert torch.equal(made[0]["image"], made[1]["image"])
