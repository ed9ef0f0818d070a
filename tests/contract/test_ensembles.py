"""The mean of several runs is a run: it predicts, evaluates, reports and exports like any other."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logit, softmax
from toy_data import fit, write_toy_data

import modicum
from modicum.errors import InputError
from modicum.report.files import read_run
from modicum.report.review.facts import facts_of
from modicum.tasks import Classification


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    return write_toy_data(tmp_path_factory.mktemp("eyes"))


@pytest.fixture(scope="module")
def runs(eyes, tmp_path_factory):
    """Two seeds of a plain classifier, and a probe of a frozen backbone."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        fit(eyes, "full", folder, "first", seed=0),
        fit(eyes, "full", folder, "second", seed=1),
        fit(eyes, "linear", folder, "probe", seed=0, augment="none"),
    ]


@pytest.fixture(scope="module")
def joined(runs):
    return modicum.ensemble([run.path for run in runs], name="three", workers=0)


def table(run, split="test") -> pd.DataFrame:
    return pd.read_csv(run.path / "evaluations" / split / "predictions.csv").set_index("image")


def test_its_probabilities_are_the_mean_of_its_members(runs, joined):
    columns = [name for name in table(joined) if name.startswith("p_")]
    mean = sum(table(run)[columns] for run in runs) / len(runs)
    np.testing.assert_allclose(table(joined)[columns], mean, atol=1e-5)


def test_it_predicts_files_as_it_evaluates_and_evaluates_again(eyes, joined, tmp_path):
    summary = joined.predict(eyes, tmp_path / "found.csv")
    assert summary.broken == 0
    found = pd.read_csv(tmp_path / "found.csv").set_index("image")
    own = table(joined)
    columns = [name for name in own if name.startswith("p_")]
    np.testing.assert_allclose(found.loc[own.index, columns], own[columns], atol=1e-6)
    again = joined.evaluate(eyes, split="test", name="again", workers=0, write_report=False)
    assert again["metrics"]["auroc"] == joined.metrics["evaluations"]["test"]["metrics"]["auroc"]


def test_it_is_reported_and_exported_and_stands_alone(runs, joined, tmp_path):
    page = joined.report().read_text()
    assert "three" in page
    assert facts_of(read_run(joined.path))["ensemble"].text == "the mean of the predictions of 3 runs"
    file = joined.export(tmp_path / "three.safetensors")
    network = modicum.load_exported(file)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        outputs = network(images)
        mean = sum(run.method().predictor().eval()(images).softmax(1) for run in runs) / len(runs)
    torch.testing.assert_close(outputs.softmax(1), mean, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Two runs that decide over both eyes of a patient."""
    folder = tmp_path_factory.mktemp("pairs")
    data = write_toy_data(folder / "data")
    given = {"both_eyes.epochs": 1, "one_eye.epochs": 1}
    return [fit(data, "toy_eyes", folder / "runs", f"seed{seed}", seed=seed, **given) for seed in (0, 1)]


def test_members_decide_over_both_eyes_before_the_mean(pairs):
    made = modicum.ensemble([run.path for run in pairs], name="both", workers=0, write_report=False)
    columns = [name for name in table(made) if name.startswith("p_")]
    mean = sum(table(run)[columns] for run in pairs) / 2
    np.testing.assert_allclose(table(made)[columns], mean, atol=1e-5)
    assert table(made)["fellow_missing"].equals(table(pairs[0])["fellow_missing"])


def test_one_is_none_and_twice_the_same_is_refused(runs):
    for paths, words in (([runs[0].path], "ensemble of 1 run"), ([runs[0].path] * 2, "named twice")):
        with pytest.raises(InputError, match=words):
            modicum.ensemble(paths, name="no")


def test_runs_that_do_not_go_together_are_named_with_what_differs(eyes, runs, tmp_path):
    other = fit(eyes, "full", tmp_path, "large", image_size=48, epochs=1)
    with pytest.raises(InputError, match="prepare images differently: size is \\(32, 32\\) and \\(48, 48\\)"):
        modicum.ensemble([runs[0].path, other.path], name="no")
    sides = fit(eyes, "full", tmp_path, "sides", epochs=1, label="eye", columns={"eye": "label"})
    with pytest.raises(InputError, match="differ in classes"):
        modicum.ensemble([runs[0].path, sides.path], name="no")


def test_a_run_that_learned_from_anothers_test_images_is_refused(eyes, runs, tmp_path):
    swapped = pd.read_csv(eyes, dtype=str)
    swapped["split"] = swapped["split"].replace({"train": "test", "test": "train"})
    swapped = swapped[["image", "label", "split", "patient", "eye"]]
    swapped["image"] = [str(eyes.parent / name) for name in swapped["image"]]
    swapped.to_csv(tmp_path / "swapped.csv", index=False)
    other = fit(tmp_path / "swapped.csv", "full", tmp_path, "swapped", epochs=1, allow_outside=True)
    with pytest.raises(
        InputError, match=r"'swapped' learned from .* images on which 'first' is validated or tested"
    ):
        modicum.ensemble([runs[0].path, other.path], name="no")


def test_settings_that_are_not_an_ensembles_own_are_refused(runs, tmp_path):
    with pytest.raises(InputError, match=r"setting 'fusion_overlap' of an ensemble of task 'classification'"):
        modicum.ensemble([run.path for run in runs], name="no", folder=tmp_path, fusion_overlap=0.6)
    assert not (tmp_path / "no").exists()


def test_it_is_not_trained(eyes, tmp_path):
    with pytest.raises(InputError, match=r"method 'ensemble' is not trained; .*modicum ensemble RUN RUN"):
        fit(eyes, "ensemble", tmp_path)


def test_the_mean_of_outputs_is_of_what_they_mean():
    generator = np.random.default_rng(0)
    logits = torch.from_numpy(generator.normal(size=(3, 5, 4)))
    classes = Classification("multi-class", ("a", "b", "c", "d"))
    mean = softmax(logits.numpy(), -1).mean(0)
    np.testing.assert_allclose(classes.averaged(logits).softmax(-1), mean, atol=1e-12)
    findings = Classification("multi-label", ("a", "b", "c", "d"))
    np.testing.assert_allclose(findings.averaged(logits), logit(logits.sigmoid().numpy().mean(0)), atol=1e-9)
    score = Classification("multi-class", ("0", "1", "2"), ordered=True, output="score")
    assert torch.equal(score.averaged(logits[..., :1]), logits[..., :1].mean(0))
