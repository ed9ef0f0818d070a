"""Runs on the same images in one page: values as another library counts them, paired differences, odd runs refused."""

import shutil

import numpy as np
import pandas as pd
import pytest
from made_run import MadeRun, make_run
from pages import Page
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from modicum.cli import app
from modicum.errors import InputError
from modicum.report.side_by_side import write_comparison
from modicum.report.side_by_side.page import metrics_of
from modicum.report.side_by_side.runs import members_of
from modicum.tasks.bootstrap import bootstrap
from modicum.tasks.group_difference import DIFFERENCE, group_and_others

MADE = MadeRun("binary", ("healthy", "glaucoma"), (("test", 90),), pictures=0, resamples=100)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A run, and a copy whose scores have noise in them."""
    home = tmp_path_factory.mktemp("runs")
    first, second = make_run(home / "good", MADE), home / "noisy"
    shutil.copytree(first, second)
    path = second / "evaluations" / "test" / "predictions.csv"
    table = pd.read_csv(path)
    noise = np.random.default_rng(1).normal(0, 0.6, len(table))
    table["p_glaucoma"] = np.clip(table["p_glaucoma"] + noise, 0, 1)
    table["p_healthy"] = 1 - table["p_glaucoma"]
    table["prediction"] = np.where(table["p_glaucoma"] >= 0.5, "glaucoma", "healthy")
    table.sample(frac=1, random_state=0).to_csv(path, index=False)  # in another order
    return first, second


def area(folder):
    table = pd.read_csv(folder / "evaluations" / "test" / "predictions.csv")
    return roc_auc_score(table["truth"] == "glaucoma", table["p_glaucoma"])


def test_page_has_each_value_and_the_paired_difference(folders, tmp_path):
    page = Page(write_comparison(folders, tmp_path / "compare.html").read_text())
    for folder in folders:
        assert f"{area(folder):.3f}" in page.text
    assert f"{area(folders[1]) - area(folders[0]):.3f}".replace("-", "−") in page.text
    assert "▼" in page.text
    labels = [a["aria-label"] for tag, a in page.tags if a.get("class") == "chart"]
    assert [label.split(" of ")[0] for label in labels] == ["ROC curves", "Precision and recall"]
    html = (tmp_path / "compare.html").read_text()
    assert str(folders[0].parent) not in html
    assert "http://" not in html


def test_pairing_narrows_the_interval_of_the_difference(folders):
    first, second = members_of(folders)
    everything = np.arange(90)
    parts = [member.measures.of(everything) for member in (second, first)]
    statistic = group_and_others(*parts, ["auroc"], 90)
    groups = first.measures.patients
    paired = bootstrap([statistic], 90, groups=groups, resamples=400)
    assert paired[DIFFERENCE + "auroc"].high < 0
    # A run against itself: no resample shows a difference.
    same = bootstrap([group_and_others(parts[1], parts[1], ["auroc"], 90)], 90, groups=groups, resamples=50)
    assert (same[DIFFERENCE + "auroc"].low, same[DIFFERENCE + "auroc"].high) == (0, 0)


def test_metrics_that_judge_nothing_are_left_out(folders):
    names = metrics_of(members_of(folders))
    assert names[:3] == ["auroc", "sensitivity", "specificity"]
    assert "majority_accuracy" not in names


def test_an_odd_run_is_named(folders, tmp_path):
    first, second = folders
    other = shutil.copytree(second, tmp_path / "fewer")
    path = other / "evaluations" / "test" / "predictions.csv"
    table = pd.read_csv(path)
    table.iloc[:-1].to_csv(path, index=False)
    with pytest.raises(
        InputError, match=r"'fewer' was evaluated on other images than 'good': 89 images and 90, 89"
    ):
        members_of([first, other])
    table.assign(truth="healthy").to_csv(path, index=False)
    with pytest.raises(InputError, match="'fewer' has other labels"):
        members_of([first, other])
    grades = make_run(tmp_path / "grades", MadeRun(images=(("test", 30),), pictures=0, resamples=0))
    with pytest.raises(InputError, match="'grades' has other classes than 'good'"):
        members_of([first, grades])
    with pytest.raises(InputError, match="given twice"):
        members_of([first, first])


def test_command_line_takes_several_runs(folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good, noisy = map(str, folders)
    done = CliRunner().invoke(app, ["report", "--compare", good, noisy])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "compare.html").is_file()
    for arguments in (["report", good, noisy], ["report", "--compare", good]):
        done = CliRunner().invoke(app, arguments)
        assert isinstance(done.exception, InputError), arguments
