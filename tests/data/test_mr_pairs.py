"""Made MR pairs: what is true of them must be seen in them."""

import numpy as np
import pytest
from scipy import ndimage

import modicum
from modicum.data.phantoms import write_phantoms
from modicum.data.phantoms.dataset import patient_seed
from modicum.data.phantoms.mr_pairs import CONTRASTS, TISSUES, mr_pair
from modicum.data.readers import read_image
from modicum.errors import InputError

SEEDS = range(4)


def pulled(image: np.ndarray, field: np.ndarray) -> np.ndarray:
    """The image read at displaced places, by SciPy."""
    places = np.indices(image.shape) + field
    return ndimage.map_coordinates(image, places, order=3, mode="nearest")


def inside(mask: np.ndarray, pixels: int) -> np.ndarray:
    return ndimage.binary_erosion(mask, iterations=pixels)


def test_a_seed_gives_the_same_pixels_again_and_another_another_head():
    first, again, other = mr_pair(5, 64), mr_pair(5, 64), mr_pair(6, 64)
    for name in ("source", "target", "misaligned", "field"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))
    rng = np.random.default_rng(0)
    assert mr_pair(rng, 32).seed != mr_pair(rng, 32).seed


@pytest.mark.parametrize("seed", SEEDS)
def test_the_background_is_exactly_minus_1_and_nothing_else_is(seed):
    pair = mr_pair(seed, 96)
    for picture in (pair.source, pair.target):
        assert picture.dtype == np.float32
        assert np.array_equal(picture == -1, ~pair.head)
        assert picture.max() <= 1
    assert (pair.misaligned == -1).mean() == pytest.approx((pair.target == -1).mean(), abs=0.05)
    assert not pair.head[[0, -1]].any()
    assert not pair.head[:, [0, -1]].any()
    assert ndimage.label(pair.head)[1] == 1
    assert 0.25 < pair.head.mean() < 0.6


@pytest.mark.parametrize("seed", SEEDS)
def test_tissues_share_every_pixel_of_the_head(seed):
    pair = mr_pair(seed, 96)
    assert pair.tissues.shape == (len(TISSUES), 96, 96)
    assert pair.tissues.min() >= 0
    np.testing.assert_allclose(pair.tissues.sum(0), pair.head, atol=1e-5)
    present = {name for name, share in zip(TISSUES, pair.tissues, strict=True) if share.max() > 0.9}
    assert present >= {"scalp", "csf", "grey", "white"}


def test_contrasts_are_those_of_mr():
    def mean_of(contrast: str) -> dict[str, float]:
        pair = mr_pair(3, 256, contrasts=(contrast, "pd"))
        return {
            name: float(pair.source[share > 0.98].mean())
            for name, share in zip(TISSUES, pair.tissues, strict=True)
            if (share > 0.98).any()
        }

    t1, t2 = mean_of("t1"), mean_of("t2")
    assert t1["scalp"] > t1["white"] > t1["grey"] > t1["csf"]
    assert t2["csf"] > t2["grey"] > t2["white"]
    assert min(t2, key=t2.__getitem__) == "skull"


def test_half_of_the_heads_have_a_lesion_that_is_bright_on_t2_and_dark_on_t1():
    index = TISSUES.index("lesion")
    sick = [pair for pair in (mr_pair(seed, 64) for seed in range(40)) if pair.tissues[index].max() > 0.9]
    assert 10 <= len(sick) <= 30
    for pair in sick:
        lesion, white = (pair.tissues[TISSUES.index(name)] > 0.95 for name in ("lesion", "white"))
        assert pair.target[lesion].mean() > pair.target[white].mean()
        assert pair.source[lesion].mean() < pair.source[white].mean()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("displacement", [2.0, 8.0])
def test_the_field_is_what_brings_the_target_onto_the_misaligned_one(seed, displacement):
    pair = mr_pair(seed, 256, displacement)
    brain = inside(pair.head, 12)
    before = np.abs(pair.target - pair.misaligned)[brain].mean()
    after = np.abs(pulled(pair.target, pair.field) - pair.misaligned)[brain].mean()
    wrong_way = np.abs(pulled(pair.target, -pair.field) - pair.misaligned)[brain].mean()
    transposed = np.abs(pulled(pair.target, pair.field[::-1]) - pair.misaligned)[brain].mean()
    assert after < 0.15 * before
    assert min(wrong_way, transposed) > 0.7 * before


@pytest.mark.parametrize("seed", SEEDS)
def test_the_field_is_smooth_of_the_stated_size_and_folds_nothing(seed):
    for size in (64, 256):
        field = mr_pair(seed, size, displacement=8.0).field
        assert np.linalg.norm(field, axis=0).max() == pytest.approx(8 * size / 256, rel=1e-5)
        (rows_down, rows_right), (columns_down, columns_right) = (np.gradient(part) for part in field)
        determinant = (1 + rows_down) * (1 + columns_right) - rows_right * columns_down
        assert determinant.min() > 0.2


def test_without_displacement_the_pair_is_aligned():
    pair = mr_pair(1, 64, displacement=0)
    assert np.array_equal(pair.misaligned, pair.target)
    assert not pair.field.any()


def test_a_head_looks_the_same_at_every_size():
    small, large = mr_pair(2, 64), mr_pair(2, 256)
    shrunk = large.source.reshape(64, 4, 64, 4).mean((1, 3))
    assert np.corrcoef(small.source.ravel(), shrunk.ravel())[0, 1] > 0.97
    np.testing.assert_allclose(4 * small.field, large.field[:, 2::4, 2::4], atol=0.3)


def test_what_cannot_be_made_is_refused():
    with pytest.raises(InputError, match="displacement 20"):
        mr_pair(0, 64, displacement=20)
    with pytest.raises(InputError, match="unknown contrast 'flair'"):
        mr_pair(0, 64, contrasts=("t1", "flair"))
    assert set(CONTRASTS) == {"t1", "t2", "pd"}


def test_a_data_set_of_pairs_is_misaligned_where_it_is_learned_from_only(tmp_path):
    manifest = modicum.load(write_phantoms("mr", tmp_path, 12, 64, seed=3))
    assert set(manifest.table["split"]) == {"train", "val", "test"}
    for split, moved in (("train", True), ("test", False)):
        part = manifest.part(split)
        patient = int(part.table["patient"].iloc[0].removeprefix("p"))
        pair = mr_pair(patient_seed(3, patient), 64, 8.0)
        second = read_image(part.refs("target")[0]).pixels[0]
        other = read_image(part.refs()[0]).pixels[0]
        np.testing.assert_allclose(2 * other - 1, pair.source, atol=1 / 255)
        np.testing.assert_allclose(2 * second - 1, pair.misaligned if moved else pair.target, atol=1 / 255)
        assert np.abs(pair.misaligned - pair.target).mean() > 0.01
