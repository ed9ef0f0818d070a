"""RandAugment against Pillow, and what its strength means."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from modicum.errors import InputError
from modicum.transforms import POLICY_OPERATIONS, PRESETS, Augmentation, RandAugment
from modicum.transforms.policy import magnitude_values
from modicum.transforms.rand_augment import BINS, magnitudes


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def values(strength: int, raised: bool) -> dict[str, float]:
    kinds = torch.arange(len(POLICY_OPERATIONS))
    bins = magnitudes(kinds, strength, torch.full((len(kinds),), raised))
    return {
        name: float(magnitude_values(name, bins[index : index + 1], BINS))
        for index, name in enumerate(POLICY_OPERATIONS)
    }


def test_strength_zero_is_the_identity_of_every_operation_that_has_one():
    for raised in (True, False):
        found = values(0, raised)
        factors = [found[name] for name in ("contrast", "color", "brightness", "sharpness")]
        assert factors == pytest.approx([1.0] * 4)
        assert (found["solarize"], found["posterize"], found["cutout"]) == (256.0, 8.0, 0.0)


def test_the_strongest_is_the_end_of_the_search_space_of_aadg():
    assert values(9, True)["brightness"] == pytest.approx(1.9)
    assert values(9, False)["brightness"] == pytest.approx(0.1)
    found = values(9, True)
    assert (found["solarize"], found["posterize"], found["cutout"]) == (0.0, 4.0, 0.2)


@pytest.mark.parametrize("strength", range(10))
def test_factors_lie_equally_far_above_and_below_one(strength):
    above, below = values(strength, True)["contrast"], values(strength, False)["contrast"]
    assert above == pytest.approx(1 + 0.1 * strength)
    assert above + below == pytest.approx(2.0)


def test_each_operation_is_drawn_one_time_in_ten_and_half_of_the_factors_are_raised():
    drawn = RandAugment(length=2, strength=5).draw(20000, (3, 8, 8), seeded())
    kinds, bins = drawn["steps"].unbind(-1)
    share = torch.bincount(kinds.flatten(), minlength=10) / kinds.numel()
    assert (share - 0.1).abs().max() < 0.006  # four standard deviations
    brightness = bins[kinds == POLICY_OPERATIONS.index("brightness")]
    assert set(brightness.tolist()) == {4, 14}
    assert abs((brightness == 14).double().mean() - 0.5) < 0.035


def test_what_comes_out_is_what_pillow_makes_of_it():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
    image = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    operation = RandAugment(length=1, strength=7)
    drawn = operation.draw(64, (3, 16, 16), seeded(3))
    made = (operation.change(image, drawn) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    compared = 0
    for row, (kind, magnitude) in enumerate(drawn["steps"][:, 0].tolist()):
        if POLICY_OPERATIONS[kind] == "color":
            factor = 1 + 0.1 * (magnitude - 9)
            expected = ImageEnhance.Color(Image.fromarray(pixels[row])).enhance(factor)
            assert np.array_equal(made[row], np.asarray(expected))
            compared += 1
    assert compared > 2


def test_masks_stay_and_images_are_left_out_as_often_as_asked():
    batch = {"image": torch.rand(400, 3, 8, 8), "mask": torch.ones(400, 1, 8, 8)}
    changed = RandAugment(p=0.25)(batch, seeded())
    assert changed["mask"] is batch["mask"]
    same = (changed["image"] == batch["image"]).flatten(1).all(1).double().mean()
    assert 0.65 < same < 0.85


def test_it_is_known_by_name_and_in_the_preset():
    parsed = Augmentation([{"name": "randaugment", "length": 3, "strength": 4}])
    assert parsed.operations == (RandAugment(length=3, strength=4),)
    assert [operation.name for operation in PRESETS["randaugment"]] == ["randaugment", "random_scale_crop"]
    with pytest.raises(InputError, match="strength = 10"):
        Augmentation([{"name": "randaugment", "strength": 10}])
