"""Comparisons from images to tables: what is trained, what is not trained again, and what the tables say."""

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from small_comparison import Tables, compare, files_of, markdown_rows

import modicum
from modicum.comparison.metrics import pme, ppe
from modicum.errors import InputError, InterruptedRunError


def metrics_of(comparison, cell):
    return json.loads((comparison.path / "cells" / cell / "metrics.json").read_text())


@pytest.fixture
def copied(done, tmp_path):
    """The comparison in a place of its own, to be changed."""
    shutil.copytree(done.path, tmp_path / done.path.name)
    return tmp_path


# --- the table ---------------------------------------------------------------------------------------------------


def test_score_is_the_mean_over_seeds_with_its_standard_deviation(done):
    scores = [
        metrics_of(done, f"full-seed{seed}")["evaluations"]["test"]["metrics"]["auroc"] for seed in (0, 1)
    ]
    row = done.table.set_index("method").loc["full"]
    values = [score["value"] for score in scores]
    assert row["score"] == pytest.approx(np.mean(values))
    assert row["score_std"] == pytest.approx(np.std(values, ddof=1))
    for bound in (
        "low",
        "high",
    ):  # four patients of a kind are too few for an interval, and then there is none
        bounds = [np.nan if score[bound] is None else score[bound] for score in scores]
        assert row[bound] == pytest.approx(np.mean(bounds), nan_ok=True)
    assert (row["metric"], row["split"], row["seeds"]) == ("auroc", "test", 2)


def test_prices_follow_from_the_runs(done):
    full, linear = (metrics_of(done, f"{method}-seed0") for method in ("full", "linear"))
    row = done.table.set_index("method").loc["linear"]
    assert row["learnable"] == 2 * (96 + 1)  # a linear layer on test_resnet's 96 features, two classes
    assert row["memory_mib"] == linear["memory"]["peak_bytes"] / 2**20
    share = linear["memory"]["peak_bytes"] / full["memory"]["peak_bytes"]
    assert row["memory_percent_of_full"] == pytest.approx(100 * share)
    assert row["full_memory"] == "measured"
    assert row["ppe"] == pytest.approx(ppe(100 * row["score"], 100 * 194 / linear["parameters"]["total"]))
    assert row["pme"] == pytest.approx(pme(100 * row["score"], share, 1.0))
    weights = done.path / "cells" / "linear-seed0" / "weights.safetensors"
    assert row["checkpoint_bytes"] == weights.stat().st_size
    assert done.table.set_index("method").loc["full", "memory_percent_of_full"] == 100


def test_csv_markdown_and_page_agree(done):
    table = pd.read_csv(done.path / "table.csv")
    markdown = markdown_rows((done.path / "table.md").read_text())
    page = Tables((done.path / "compare.html").read_text()).tables[0]
    assert page == markdown
    assert [row[0] for row in markdown[1:]] == list(table["method"]) == ["full", "linear"]
    heading = {title: place for place, title in enumerate(markdown[0])}
    for row, values in zip(markdown[1:], table.to_dict("records"), strict=True):
        score = row[heading["AUROC (test)"]].split(" ± ")
        assert float(score[0]) == pytest.approx(values["score"], abs=5e-4)
        assert float(score[1]) == pytest.approx(values["score_std"], abs=5e-4)
        assert float(row[heading["PPE"]]) == pytest.approx(values["ppe"], abs=5e-3)
        assert float(row[heading["PME"]]) == pytest.approx(values["pme"], abs=5e-3)
        assert int(row[heading["Learned"]].replace("\u202f", "")) == values["learnable"]
        assert float(row[heading["Memory MiB"]]) == pytest.approx(values["memory_mib"], rel=5e-3)


def test_the_page_asks_nothing_of_the_network_and_links_every_run(done):
    assert "…/" in (done.path / "compare.html").read_text(
        encoding="utf-8"
    )  # where the data are stays in compare.yaml
    assert str(done.path.parent) not in (done.path / "compare.html").read_text(encoding="utf-8")
    text = (done.path / "compare.html").read_text()
    assert Tables(text).fetched == []
    for cell in done.cells["cell"]:
        assert f'href="cells/{cell}/report.html"' in text
        assert (done.path / "cells" / cell / "report.html").is_file()


def test_cells_csv_has_a_row_a_run(done):
    cells = pd.read_csv(done.path / "cells.csv")
    assert list(cells["cell"]) == ["full-seed0", "full-seed1", "linear-seed0", "linear-seed1"]
    assert set(cells["state"]) == {"finished"}
    expected = metrics_of(done, "linear-seed1")["evaluations"]["test"]["metrics"]["auroc"]["value"]
    assert cells.set_index("cell").loc["linear-seed1", "score"] == pytest.approx(expected)


def test_compare_yaml_holds_the_budget(done):
    request = yaml.safe_load((done.path / "compare.yaml").read_text())
    assert request["methods"] == ["full", "linear"]
    assert request["settings"]["epochs"] == 1
    assert request["settings"]["split_seed"] == 0


def test_without_full_fine_tuning_its_memory_is_predicted_as_it_would_be_measured(done, copied, images):
    found = compare(images, copied, "both", methods=["linear"])
    row, measured = found.table.loc[0], done.table.set_index("method").loc["linear"]
    assert row["full_memory"] == "predicted"
    assert row["memory_percent_of_full"] == pytest.approx(measured["memory_percent_of_full"], rel=0.02)
    assert any("of full fine-tuning is predicted" in caution for caution in found.cautions)
    assert "(predicted)" in (found.path / "table.md").read_text()


# --- what is trained ---------------------------------------------------------------------------------------------


def test_without_a_split_all_seeds_get_the_same_one(images, tmp_path):
    table = images.parent / "unsplit.csv"
    pd.read_csv(images, dtype=str).drop(columns="split").to_csv(table, index=False)
    found = compare(table, tmp_path, "unsplit", methods=["linear"])
    splits = [
        pd.read_csv(found.path / "cells" / f"linear-seed{seed}" / "manifest.csv").set_index("image")["split"]
        for seed in (0, 1)
    ]
    assert splits[0].equals(splits[1])
    assert set(splits[0]) == {"train", "val", "test"}
    # The seed still does what a seed is for: the random backbone is another one.
    digests = [
        json.loads((found.path / "cells" / f"linear-seed{seed}" / "model.json").read_text())[
            "frozen_backbone_sha256"
        ]
        for seed in (0, 1)
    ]
    assert digests[0] != digests[1]


def test_settings_of_one_method_reach_its_runs_alone(images, tmp_path):
    found = compare(images, tmp_path, "own", seeds=1, **{"dropout": 0.1, "full.dropout": 0.4})
    recipes = [
        yaml.safe_load((found.path / "cells" / f"{method}-seed0" / "recipe.yaml").read_text())
        for method in ("full", "linear")
    ]
    assert [recipe["config"]["dropout"] for recipe in recipes] == [0.4, 0.1]
    assert any("full.dropout=0.4" in caution for caution in found.cautions)
    assert any("one seed" in caution for caution in found.cautions)


def test_without_a_test_set_the_scores_are_called_too_good(images, tmp_path):
    table = images.parent / "no-test.csv"
    rows = pd.read_csv(images, dtype=str)
    rows[rows["split"] != "test"].to_csv(table, index=False)
    found = compare(table, tmp_path, "no-test", methods=["linear"], seeds=1)
    assert found.table.loc[0, "split"] == "val"
    assert "THERE IS NO TEST SET" in found.cautions[0]
    assert "THERE IS NO TEST SET" in (found.path / "compare.html").read_text()
    assert "THERE IS NO TEST SET" in (found.path / "table.md").read_text()


def test_several_learning_rates_are_tried_and_the_winner_serves_all_seeds(images, tmp_path):
    found = compare(images, tmp_path, "rates", methods=["linear"], lr=[1e-5, 1e-2])
    cells = found.cells.set_index("lr")
    trained = sorted(path.name for path in (found.path / "cells").iterdir() if path.is_dir())
    tried = ["linear-seed0-lr0.01", "linear-seed0-lr1e-05"]
    best = max((metrics_of(found, cell)["selection"]["value"], cell) for cell in reversed(tried))[1]
    other = best.replace("seed0", "seed1")
    assert trained == sorted([*tried, other])
    assert sorted(cells["use"]) == ["search", "seed", "seed"]
    assert set(found.cells.loc[found.cells["use"] == "seed", "cell"]) == {best, other}
    assert found.table.loc[0, "seeds"] == 2
    assert f"lr{found.table.loc[0, 'lr']:g}" in best


# --- going on ----------------------------------------------------------------------------------------------------


def test_finished_cells_are_not_touched_again(copied, images):
    before = files_of(copied / "both" / "cells")
    again = compare(images, copied, "both")
    assert files_of(copied / "both" / "cells") == before
    assert again.failed == []


def test_a_seed_more_trains_only_that_one(copied, images):
    before = files_of(copied / "both" / "cells")
    more = compare(images, copied, "both", methods=["linear"], seeds=3)
    after = files_of(copied / "both" / "cells")
    assert {path: after[path] for path in before} == before
    new = {path.relative_to(copied / "both" / "cells").parts[0] for path in set(after) - set(before)}
    assert new == {"linear-seed2"}
    assert more.table.loc[0, "seeds"] == 3


def test_stopped_between_cells_the_same_call_goes_on_to_the_same_table(done, images, tmp_path, monkeypatch):
    ended = []

    def stopping(job):
        if len(ended) == 2:
            raise KeyboardInterrupt
        ended.append(job.name)
        return run_cell(job)

    from modicum.comparison.run_cell import run_cell

    with monkeypatch.context() as patch:
        patch.setattr("modicum.comparison.executors.here.run_cell", stopping)
        with pytest.raises(
            InterruptedRunError, match="2 of 4 cells have ended; resume it with the same command"
        ):
            compare(images, tmp_path, "stopped")
    partial = pd.read_csv(tmp_path / "stopped" / "table.csv")
    assert list(partial["seeds"]) == [2, 0]
    before = files_of(tmp_path / "stopped" / "cells")
    whole = compare(images, tmp_path, "stopped")
    after = files_of(tmp_path / "stopped" / "cells")
    assert {path: after[path] for path in before} == before
    same = ["method", "seeds", "score", "score_std", "low", "high", "learnable", "memory_mib", "ppe", "pme"]
    pd.testing.assert_frame_equal(whole.table[same], done.table[same])


def test_a_run_stopped_in_the_middle_stops_the_comparison(images, tmp_path, monkeypatch):
    def fit(*args, **settings):
        raise InterruptedRunError("stopped", "go on with --resume --name full-seed0")

    monkeypatch.setattr("modicum.api.fit", fit)
    with pytest.raises(InterruptedRunError, match="0 of 4 cells have ended; resume it with the same command"):
        compare(images, tmp_path, "middle")


def test_a_failed_cell_is_a_row_and_is_tried_again(copied, images, monkeypatch, capsys):
    fitted = modicum.api.fit

    def fit(data, method, **given):
        if method == "linear":
            raise InputError("the probe is\nbroken", "mend it")
        return fitted(data, method, **given)

    shutil.rmtree(copied / "both" / "cells" / "linear-seed1")
    with monkeypatch.context() as patch:
        patch.setattr("modicum.api.fit", fit)
        failed = compare(images, copied, "both")
    assert failed.failed == ["linear-seed1"]
    assert failed.errors == ["linear-seed1: the probe is broken; mend it"]
    row = failed.table.set_index("method").loc["linear"]
    assert (row["seeds"], row["failed"], row["error"]) == (1, 1, "the probe is broken; mend it")
    assert "1, 1 failed" in (copied / "both" / "table.md").read_text()
    assert "the probe is broken; mend it" in (copied / "both" / "compare.html").read_text()
    assert "cell linear-seed1 failed: the probe is broken; mend it" in capsys.readouterr().err
    mended = compare(images, copied, "both")
    assert mended.failed == []
    assert list(mended.table["seeds"]) == [2, 2]


def test_an_unknown_error_goes_into_files_without_what_it_quotes(images, tmp_path, monkeypatch, capsys):
    def fit(*args, **settings):
        raise RuntimeError("cannot read Jane_Doe.png")

    monkeypatch.setattr("modicum.api.fit", fit)
    found = compare(images, tmp_path, "unknown", methods=["linear"], seeds=1)
    assert found.errors == ["linear-seed0: internal error: RuntimeError"]
    for name in ("cells.csv", "table.csv", "table.md", "compare.html"):
        assert "Jane" not in (found.path / name).read_text()
    assert "Jane_Doe" in capsys.readouterr().err
    assert math.isnan(found.table.loc[0, "score"])


def test_data_that_were_changed_in_between_are_noticed(copied, images):
    manifest = copied / "both" / "cells" / "linear-seed1" / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("test", "train", 1))
    found = compare(images, copied, "both")
    assert any("do not have the same images and split" in caution for caution in found.cautions)


def test_a_run_folder_is_no_comparison(done, images):
    with pytest.raises(InputError, match=r"full-seed0' is a run, not a comparison"):
        compare(images, done.path / "cells", "full-seed0")
