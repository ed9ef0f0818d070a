"""Several findings an image, some unknown, in a data set with broken and missing files: nothing is lost or made up."""

import numpy as np
import pandas as pd
import pytest
from command_line import SMALL, modicum, read_json, read_table
from sklearn.metrics import average_precision_score, roc_auc_score

from modicum.data.phantoms import FINDINGS, write_chest_dataset

CUT, ABSENT = "images/p00003.png", "images/p00007.png"


@pytest.fixture(scope="module")
def chest(tmp_path_factory):
    """45 made radiographs; a fifth of the findings is unknown, one file is cut short, one is not there."""
    folder = tmp_path_factory.mktemp("chest")
    fractions = {"train": 0.5, "val": 0.2, "test": 0.3}
    path = write_chest_dataset(folder, 45, 32, seed=5, fractions=fractions, masks=False)
    table = pd.read_csv(path, dtype=str)
    generator = np.random.default_rng(0)
    for finding in FINDINGS:
        unknown = generator.random(len(table)) < 0.2
        table.loc[unknown, f"labels:{finding}"] = generator.choice(["", "-1"], unknown.sum())
    table.to_csv(path, index=False)
    (folder / CUT).write_bytes((folder / CUT).read_bytes()[:300])
    (folder / ABSENT).unlink()
    return folder


@pytest.fixture(scope="module")
def run(chest, runs):
    # Made chests of 32 pixels look alike enough for the leak check to doubt some.
    fit = ("fit", chest / "manifest.csv", *SMALL, "--epochs", 1, "--leaks", "allow")
    fit += ("--runs", runs, "--name", "findings")
    refused = modicum(*fit)
    assert refused.code == 2
    assert ABSENT in refused.err
    done = modicum(*fit, "--skip-broken")
    assert done.code == 0, done.err
    return runs / "findings"


def test_broken_images_are_set_aside_with_reasons(run):
    broken = read_table(run / "broken.csv")
    assert sorted(broken["image"]) == [CUT, ABSENT]
    assert (broken["reason"] != "").all()
    assert not set(read_table(run / "manifest.csv")["image"]) & {CUT, ABSENT}


def test_findings_are_scored_on_known_images_only(chest, run):
    own = read_table(chest / "manifest.csv").set_index("image").drop(index=[CUT, ABSENT])
    table = read_table(run / "evaluations/test/predictions.csv")
    assert sorted(table["image"]) == sorted(own.index[own["split"] == "test"])
    metrics = read_json(run / "evaluations/test/metrics.json")["metrics"]
    scores = []
    for finding in FINDINGS:
        given = own.loc[table["image"], f"labels:{finding}"].replace("-1", "")
        assert list(table[f"truth_{finding}"]) == list(given)
        known = (given != "").to_numpy()
        truth, chance = given[known].astype(int).to_numpy(), table.loc[known, f"p_{finding}"].astype(float)
        if len(set(truth)) == 2:
            scores.append(roc_auc_score(truth, chance))
            assert metrics[f"auroc/{finding}"]["value"] == pytest.approx(scores[-1], abs=1e-9)
            expected = average_precision_score(truth, chance)
            assert metrics[f"average_precision/{finding}"]["value"] == pytest.approx(expected, abs=1e-9)
        else:
            assert metrics[f"auroc/{finding}"]["value"] is None
    assert metrics["auroc"]["value"] == pytest.approx(np.mean(scores), abs=1e-9)


def test_a_table_is_predicted_row_by_row_with_its_broken_rows(chest, run, tmp_path):
    done = modicum("predict", run, chest / "manifest.csv", "-o", tmp_path / "p.csv")
    assert done.code == 3
    assert "43 images predicted, 2 broken" in done.out
    rows, own = read_table(tmp_path / "p.csv"), read_table(chest / "manifest.csv")
    assert list(rows["image"]) == list(own["image"])
    assert set(rows["image"][rows["error"] != ""]) == {CUT, ABSENT}
    chances = rows[[f"p_{finding}" for finding in FINDINGS]][rows["error"] == ""].astype(float)
    for row, prediction in zip(chances.to_numpy(), rows["prediction"][rows["error"] == ""], strict=True):
        likely = [finding for finding, chance in zip(FINDINGS, row, strict=True) if chance >= 0.5]
        assert prediction == "|".join(likely)


def test_evaluating_with_broken_images_names_them_or_sets_them_aside(chest, run):
    words = ("evaluate", run, chest / "manifest.csv", "--split", "all", "--name", "all", "--workers", 0)
    refused = modicum(*words)
    assert refused.code == 2
    assert ABSENT in refused.err
    done = modicum(*words, "--skip-broken")
    assert done.code == 0, done.err
    content = read_json(run / "evaluations/all/metrics.json")
    assert (content["images"], content["split"]) == (43, None)
    assert len(read_table(run / "evaluations/all/broken.csv")) == 2
