"""PaDiM, PatchCore and reconstruction from files to files: what they find, what deceives them, what they refuse."""

import numpy as np
import pandas as pd
import pytest
import torch
from octa_phantoms import drawn, write

import modicum
from modicum.errors import InputError
from modicum.nn.one_class.pixels import PixelReconstruction, blur_ratio

SMALL = {
    "weights": "random",
    "image_size": 32,
    "device": "cpu",
    "workers": 0,
    "resamples": 0,
    "leaks": "allow",
    "batch_size": 8,
    "normal": "outstanding",
}
COUNTS = {
    "train": {"outstanding": 24},
    "val": {"outstanding": 10},
    "test": {"outstanding": 10, "blurred": 10},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("one_class")


@pytest.fixture(scope="module")
def data(place):
    return write(place / "data", COUNTS)


@pytest.fixture(scope="module")
def patchcore(place, data):
    return modicum.fit(
        data, "patchcore", name="patchcore", runs=place / "runs", backbone="test_resnet", **SMALL
    )


def test_a_memory_keeps_a_tenth_of_the_patches_and_says_its_size(patchcore):
    found = patchcore.metrics["findings"]
    patches = 24 * 4 * 4  # stride 8 of 32 pixels
    assert found["fit"]["patches"] == round(0.1 * patches)
    channels = found["fit"]["bank_bytes"] / 4 / found["fit"]["patches"]
    assert channels == int(channels) > 0
    assert "blurred_copies_score_higher" in found["scale"]


def test_predictions_have_scores_decisions_and_maps(patchcore, place, data):
    patchcore.predict(data, place / "p.csv", split="test", maps=place / "maps")
    table = pd.read_csv(place / "p.csv")
    assert {"prediction", "score", "map"} <= set(table.columns)
    assert (table["score"] > 0).all()
    assert all((place / "maps" / name).is_file() for name in table["map"])
    alone = modicum.Run.open(patchcore.path)
    alone.predict(place / "data" / table["image"][3], place / "one.csv")
    assert pd.read_csv(place / "one.csv")["score"][0] == pytest.approx(table["score"][3], abs=1e-5)


def test_the_threshold_comes_from_held_out_normals(patchcore):
    metrics = patchcore.metrics["evaluations"]
    assert set(metrics) == {"val", "test"}
    assert patchcore.metrics["classes"] == ["outstanding", "blurred"]


def test_reconstruction_is_the_wrong_way_round_on_blurred_images_and_says_so(place, data, capfd):
    run = modicum.fit(
        data,
        "reconstruction",
        name="reconstruction",
        runs=place / "runs",
        width=8,
        steps=3,
        epochs=20,
        write_report=False,
        **SMALL,
    )
    assert run.metrics["evaluations"]["test"]["metrics"]["auroc"]["value"] < 0.2
    assert run.metrics["findings"]["scale"]["blurred_copies_score_higher"] < 0.2
    said = capfd.readouterr()
    assert "score lower when they are blurred" in said.out + said.err


def test_a_single_normal_image_is_too_few_for_a_covariance(place):
    table = write(
        place / "single", {"train": {"outstanding": 1}, "val": {"outstanding": 1}, "test": {"blurred": 2}}
    )
    with pytest.raises(InputError, match="PaDiM was given one image"):
        modicum.fit(table, "padim", name="single", runs=place / "runs", backbone="test_resnet", **SMALL)


def test_without_normal_training_images_nothing_is_learned(place):
    counts = {"train": {"blurred": 3}, "val": {"outstanding": 2}, "test": {"outstanding": 2, "blurred": 2}}
    table = write(place / "none", counts)
    with pytest.raises(InputError, match="none of the 3 training images is normal"):
        modicum.fit(table, "padim", name="none", runs=place / "runs", backbone="test_resnet", **SMALL)


def test_the_share_of_blurred_copies_counts_ties_by_half():
    scores = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert blur_ratio(scores, torch.tensor([2.0, 2.0, 1.0, 5.0])) == pytest.approx(0.625)


@pytest.mark.parametrize("side", [32, 37])
def test_pixels_come_back_in_their_size(side):
    torch.manual_seed(0)
    scorer = PixelReconstruction(3, width=4, steps=3, code=4).eval()
    images = torch.rand(2, 3, side, side)
    with torch.no_grad():
        found = scorer([images], (side, side))
        made = scorer.reconstructed(images)
    assert made.shape == images.shape
    expected = ((made - images) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(found.score, expected, rtol=1e-5)
    assert found.map.shape == (2, side, side)


def test_drawn_images_of_a_seed_are_always_the_same():
    assert np.array_equal(drawn("outstanding", 2, 5), drawn("outstanding", 2, 5))
