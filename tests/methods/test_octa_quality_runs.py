"""The quality method from files to files, and the gate that its run is for other runs."""

import cv2
import numpy as np
import pandas as pd
import pytest
from octa_phantoms import drawn, write

import modicum
from modicum.errors import InputError
from modicum.nn.one_class import FeatureTaps

SMALL = {
    "backbone": "test_resnet",
    "weights": "random",
    "image_size": 64,
    "device": "cpu",
    "workers": 0,
    "resamples": 0,
    "leaks": "allow",
    "batch_size": 16,
}
COUNTS = {
    "train": {"outstanding": 20, "gradable": 8, "ungradable": 8},
    "val": {"outstanding": 10, "gradable": 3, "ungradable": 3},
    "test": {"outstanding": 8, "gradable": 8, "ungradable": 8},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("quality")


@pytest.fixture(scope="module")
def data(place):
    return write(place / "data", COUNTS)


@pytest.fixture(scope="module")
def run(place, data):
    return modicum.fit(
        data,
        "octa_quality",
        name="quality",
        runs=place / "runs",
        scorers=["pooled", "padim"],
        padim_channels=8,
        **SMALL,
    )


@pytest.fixture(scope="module")
def predicted(run, place, data):
    run.predict(data, place / "p.csv", split="test", maps=place / "maps")
    return pd.read_csv(place / "p.csv", keep_default_na=False)


def test_the_table_has_grade_score_threshold_cluster_margin_and_rule(predicted, place):
    expected = {
        "prediction",
        "score",
        "tau",
        "outstanding",
        "prior",
        "cluster",
        "margin",
        "grade",
        "quality",
        "rule",
        "map",
    }
    assert expected <= set(predicted.columns)
    assert len(predicted) == 24
    assert predicted["tau"].nunique() == 1
    assert ((predicted["score"] <= predicted["tau"]) == predicted["outstanding"]).all()
    assert ((predicted["grade"] == 2) == predicted["outstanding"]).all()
    words = predicted["grade"].map({0: "ungradable", 1: "gradable", 2: "outstanding"})
    assert (words == predicted["quality"]).all()
    assert (words == predicted["prediction"]).all()
    assert (predicted.loc[predicted["outstanding"], "cluster"] == -1).all()
    assert all((place / "maps" / name).is_file() for name in predicted["map"])


def test_bad_images_are_told_from_outstanding_ones(predicted):
    outstanding = predicted["image"].str.contains("outstanding")
    assert predicted.loc[~outstanding, "score"].median() > predicted.loc[outstanding, "score"].max() * 0.99
    assert predicted.loc[outstanding, "outstanding"].mean() >= 0.75
    assert (~predicted.loc[~outstanding, "outstanding"]).mean() >= 0.9


def test_one_pass_of_the_encoder_serves_scores_and_clusters(run, place, data, predicted, monkeypatch):
    seen, look = [], FeatureTaps.forward

    def counted(self, images):
        seen.append(len(images))
        return look(self, images)

    monkeypatch.setattr(FeatureTaps, "forward", counted)
    run.predict(data, place / "counted.csv", split="test")
    assert sum(seen) == len(predicted)
    again = pd.read_csv(place / "counted.csv", keep_default_na=False)
    assert (again["cluster"] >= 0).any()
    assert again["grade"].equals(predicted["grade"])


def test_the_threshold_is_the_quantile_of_held_out_scores(run):
    found = run.metrics["findings"]["held_out"]
    assert found["held_out_images"] == 10
    assert found["tau"] == pytest.approx(np.quantile(found["held_out_scores"], 0.95), rel=1e-5)
    assert found["supervised"] is False


def test_grades_do_not_depend_on_the_order_of_files_and_reopened_runs_repeat_them(run, place, predicted):
    files = [place / "data" / name for name in predicted["image"]]
    modicum.Run.open(run.path).predict(files[::-1], place / "reversed.csv")
    again = pd.read_csv(place / "reversed.csv")
    again.index = [name.rpartition("/")[2] for name in again["image"]]
    again = again.loc[predicted["image"]]
    assert again["grade"].tolist() == predicted["grade"].tolist()
    np.testing.assert_allclose(again["score"], predicted["score"], atol=1e-5)


def test_one_image_gets_a_grade_by_clusters_that_were_kept_or_by_the_prior(run, place, predicted):
    worst = predicted.loc[predicted["score"].idxmax(), "image"]
    run.predict(place / "data" / worst, place / "one.csv")
    one = pd.read_csv(place / "one.csv")
    assert len(one) == 1
    assert one["grade"][0] in (0, 1)
    kept = run.metrics["findings"]["embed"]["frozen_clusters"]
    assert one["rule"][0] == ("frozen, quality_prior" if kept else "too_few_to_cluster")


def test_black_and_white_images_are_not_outstanding_and_nan_is_an_error(run, place):
    folder = place / "extremes"
    folder.mkdir()
    for name, level in (("black", 0), ("white", 255)):
        cv2.imwrite(str(folder / f"{name}.png"), np.full((64, 64), level, np.uint8))
    cv2.imwrite(str(folder / "nan.tiff"), np.full((64, 64), np.nan, np.float32))
    run.predict([folder / name for name in ("black.png", "white.png", "nan.tiff")], place / "extremes.csv")
    table = pd.read_csv(place / "extremes.csv")
    assert table["outstanding"][:2].astype(str).tolist() == ["False", "False"]
    assert isinstance(table["error"][2], str)


def test_reports_evaluations_and_exports_work(run, place, data):
    page = (run.path / "report.html").read_text()
    assert "Clusters" in page
    content = run.evaluate(data, split="test", name="again", workers=0)
    assert content["metrics"]["accuracy"] == run.metrics["evaluations"]["test"]["metrics"]["accuracy"]
    made = run.export(place / "quality.safetensors")
    assert made.is_file()


def test_outstanding_images_alone_are_enough_to_learn_from(place, capfd):
    counts = {
        "train": {"outstanding": 8},
        "val": {"outstanding": 4},
        "test": {"ungradable": 4, "gradable": 4},
    }
    table = write(place / "alone", counts, seed=3)
    made = modicum.fit(
        table,
        "octa_quality",
        name="alone",
        runs=place / "runs",
        scorers=["pooled"],
        write_report=False,
        **SMALL,
    )
    assert "cannot be learned" not in capfd.readouterr().err, (
        "no class is missed by a method that learns from one"
    )
    assert made.metrics["findings"]["embed"]["frozen_clusters"] is False
    with pytest.raises(InputError, match="makes no maps"):
        made.predict(table, place / "q.csv", maps=place / "none")


def test_no_outstanding_image_to_fit_to_or_to_set_the_threshold_by_is_refused(place):
    lacking = {
        "train": {"gradable": 4, "ungradable": 4},
        "val": {"outstanding": 2},
        "test": {"outstanding": 2},
    }
    table = write(place / "lacking", lacking)
    with pytest.raises(
        InputError, match="stage 'fit' can learn from none of the 8 training images; outstanding"
    ):
        modicum.fit(table, "octa_quality", name="lacking", runs=place / "runs", scorers=["pooled"], **SMALL)
    lacking = {
        "train": {"outstanding": 4, "gradable": 4},
        "val": {"ungradable": 2},
        "test": {"outstanding": 2},
    }
    table = write(place / "unset", lacking)
    with pytest.raises(InputError, match="stage 'held_out' can learn from none of the 2 validation images"):
        modicum.fit(table, "octa_quality", name="unset", runs=place / "runs", scorers=["pooled"], **SMALL)


def test_a_run_of_quality_sets_images_aside_before_another_learns(run, place, capsys):
    folder = place / "gated"
    folder.mkdir()
    lines = ["image,label,split"]
    for split, kinds in (
        ("train", ("outstanding", "ungradable")),
        ("val", ("outstanding",)),
        ("test", ("outstanding",)),
    ):
        for kind in kinds:
            for index, image in enumerate(drawn(kind, 6, 70 + len(split))):
                name = f"{split}_{kind}_{index}.png"
                cv2.imwrite(str(folder / name), np.round(255 * image[0]).astype(np.uint8))
                lines.append(f"{name},{'ill' if index % 2 else 'healthy'},{split}")
    table = folder / "labels.csv"
    table.write_text("\n".join(lines) + "\n")
    settings = {**SMALL, "runs": place / "runs", "write_report": False, "epochs": 1}
    gate = f"run:{run.path}"
    gated = modicum.fit(
        table, "linear", name="gated", quality=gate, drop=["ungradable", "gradable"], **settings
    )
    graded = pd.read_csv(gated.path / "quality.csv")
    assert len(graded) == 24
    kept = pd.read_csv(gated.path / "manifest.csv")
    assert set(kept["image"]) == set(graded.loc[graded["quality"] == "outstanding", "image"])
    assert sum("_ungradable_" in name for name in kept["image"]) <= 1
    notes = modicum.engine.run_folder.read_table(gated.path / "fingerprint.json")["notes"]
    assert any("of low quality (ungradable, gradable) by 'quality' were set aside" in note for note in notes)
    listed = modicum.fit(table, "linear", name="listed", quality=gate, **settings)  # a list alone
    assert len(pd.read_csv(listed.path / "manifest.csv")) == 24
    gated.predict(folder, place / "gated.csv", quality=gate, drop=["ungradable", "gradable"])
    done, grades = pd.read_csv(place / "gated.csv"), pd.read_csv(place / "gated_quality.csv")
    assert 0 < len(done) < len(grades) == 24


def test_what_a_gate_cannot_do_is_said_in_one_line(run, place, data):
    settings = {**SMALL, "runs": place / "runs", "name": "refused"}
    with pytest.raises(InputError, match="nothing grades the images; add --quality run:FOLDER"):
        modicum.fit(data, "linear", drop=["ungradable"], **settings)
    with pytest.raises(InputError, match="is not a run folder"):
        modicum.fit(data, "linear", quality="run:nowhere", **settings)
    with pytest.raises(
        InputError, match="--drop ungradible: run 'quality' has no such class; did you mean 'ungradable'"
    ):
        modicum.fit(data, "linear", quality=f"run:{run.path}", drop=["ungradible"], **settings)
    with pytest.raises(InputError, match="known: gradable, outstanding, ungradable\\)"):
        modicum.fit(data, "linear", quality=f"run:{run.path}", drop=["zzz"], **settings)
    with pytest.raises(InputError, match="--drop without --quality"):
        run.predict(data, place / "none.csv", drop=["ungradable"])
