import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modicum.errors import InputError
from modicum.transforms import Augmentation, HorizontalFlip, Misalign, MisalignElastic, Rotate


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pair(side=32):
    image = torch.rand(3, 1, side, side, generator=seeded(1))
    return {"image": image, "target": image.clone()}


@pytest.mark.parametrize(
    "operation", [Misalign(level=0), MisalignElastic(sigma=0), Misalign(p=0), MisalignElastic(p=0)]
)
def test_no_misalignment_returns_the_pair_as_it_was(operation):
    moved = operation(pair(), seeded())
    for name in ("image", "target"):
        torch.testing.assert_close(moved[name], pair()[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("operation", [Misalign(level=5), MisalignElastic(sigma=5)])
def test_both_of_a_pair_are_moved_each_in_its_own_way(operation):
    moved = operation(pair(), seeded())
    assert (moved["image"] - pair()["image"]).abs().mean() > 0.05
    assert (moved["image"] - moved["target"]).abs().mean() > 0.05


def test_what_comes_in_from_outside_is_black():
    white = {"image": torch.ones(8, 1, 64, 64), "target": torch.ones(8, 1, 64, 64)}
    moved = Misalign(level=5, interpolation="nearest")(white, seeded())
    assert set(moved["image"].unique().tolist()) <= {0.0, 1.0}
    assert (moved["image"] == 0).any()


@given(st.integers(0, 2**16))
def test_a_plain_operation_moves_image_and_target_alike(seed):
    augment = Augmentation([HorizontalFlip(), Rotate(degrees=(-20, 20))], size=24)
    moved = augment(pair(24), seeded(seed))
    assert torch.equal(moved["image"], moved["target"])


def test_a_batch_without_target_is_refused_by_name():
    with pytest.raises(InputError, match="no 'target'"):
        Augmentation(["misalign"])({"image": torch.rand(1, 1, 8, 8)}, seeded())
