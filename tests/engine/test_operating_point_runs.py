"""Runs that decide at points chosen on validation: predictions, scores, the confusion table and the headline agree."""

import json
import re

import cv2
import numpy as np
import pandas as pd
import pytest
from made_grades import SETTINGS, table_of
from safetensors.torch import load_file
from scipy import special

import modicum
from modicum import demo
from modicum.console.summary import run_summary
from modicum.engine.model import load_method
from modicum.errors import InputError
from modicum.report.classification import SECTIONS
from modicum.report.classified import classified
from modicum.report.files import read_run

SMALL = {**SETTINGS, "method": "linear", "epochs": 3, "label": "state"}


def write_pictures(folder, names=("healthy", "ill"), images=96, share=0.5, swap_test=False):
    """Bright pictures of the second class, dark ones of the first, which overlap; half of them to learn from."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(images):
        split = ("train", "train", "val", "test")[number % 4]
        generator = np.random.default_rng(number)
        second = generator.permutation(1000)[0] < 1000 * share
        picture = generator.normal(110 + 12 * second, 25, (32, 32, 3)) + generator.normal(0, 6)
        name = f"images/{number:03d}.png"
        cv2.imwrite(str(folder / name), picture.clip(0, 255).astype(np.uint8))
        state = names[int(second) if split != "test" or not swap_test else 1 - int(second)]
        rows.append({"image": name, "state": state, "split": split})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("points")


@pytest.fixture(scope="module")
def data(place):
    return write_pictures(place / "data", ("no covid", "covid"), 128)


@pytest.fixture(scope="module")
def run(place, data):
    return modicum.fit(data, name="run", runs=place, **SMALL)


def points_of(run):
    return json.loads((run.path / "model.json").read_text())["task"]["operating_points"]


def check_agreement(run, split="test"):
    """Headline, confusion table, scores and predicted classes are of the same decisions."""
    table = table_of(run, split)
    positive, threshold = run.metrics["classes"][1], points_of(run)["thresholds"][0]
    says, ill = table["prediction"] == positive, table["truth"] == positive
    assert (says == (table[f"p_{positive}"] >= threshold)).all()
    found = run.metrics["evaluations"][split]["metrics"]
    assert found["sensitivity"]["value"] == pytest.approx((says & ill).sum() / ill.sum())
    assert found["specificity"]["value"] == pytest.approx((~says & ~ill).sum() / (~ill).sum())
    files = read_run(run.path)
    evaluation = next(one for one in files.evaluations if one.name == split)
    scored = classified(files, evaluation)
    assert (scored.predicted == says.astype(int)).all()
    confusion = next(
        block for block in SECTIONS.blocks(files, evaluation, "e") if block.template == "confusion.html.j2"
    )
    counts = [[cell["count"] for cell in row] for row in confusion.values["rows"]]
    assert counts == pd.crosstab(ill, says).reindex(columns=[False, True], fill_value=0).values.tolist()
    sentence = SECTIONS.headline(files, evaluation).sentence
    hits, alarms = map(int, re.findall(r"about (\d+)", sentence))
    assert hits == pytest.approx(100 * counts[1][1] / sum(counts[1]), abs=1)
    assert alarms == pytest.approx(100 * counts[0][1] / sum(counts[0]), abs=1)
    return counts


def test_everything_that_a_run_says_is_of_the_same_decisions(run):
    assert run.metrics["classes"] == ["no covid", "covid"]
    points = points_of(run)
    assert (points["from"], points["at"], points["images"]) == ("validation", "balanced", 32)
    check_agreement(run)
    check_agreement(run, "val")
    page = (run.path / "report.html").read_text()
    assert f"“covid” is said from a probability of {points['thresholds'][0]:.3g} on" in page
    assert "chosen on 32 validation images, where balanced accuracy was highest" in page


def test_the_points_are_the_best_on_validation(run):
    table = table_of(run, "val")
    ill = (table["truth"] == "covid").to_numpy()

    def worth(threshold):
        says = table["p_covid"].to_numpy() >= threshold
        return says[ill].mean() + (~says[~ill]).mean()

    best = max(worth(value) for value in [*table["p_covid"], 0.5, 2.0])
    assert worth(points_of(run)["thresholds"][0]) == pytest.approx(best)


def test_new_images_are_predicted_as_the_evaluation_did(run, data, tmp_path):
    run.predict(data.parent / "images", tmp_path / "found.csv")
    found = pd.read_csv(tmp_path / "found.csv")
    found.index = [name.rpartition("/")[2] for name in found["image"]]
    for _, row in table_of(run).iterrows():
        new = found.loc[row["image"].rpartition("/")[2]]
        assert new["p_covid"] == pytest.approx(row["p_covid"], abs=1e-5)
        assert new["prediction"] == row["prediction"]


def test_other_data_are_evaluated_at_the_same_points(run, place, tmp_path):
    other = write_pictures(tmp_path / "other", ("no covid", "covid"), 80, share=0.4)
    before = points_of(run)
    run.evaluate(other, split="all", name="elsewhere", workers=0, columns={"label": "state"})
    assert points_of(run) == before
    check_agreement(run, "elsewhere")
    check_agreement(run)


def test_the_weights_are_those_of_a_run_that_chooses_nothing(run, data, place):
    plain = modicum.fit(data, name="plain", runs=place, operating_point="half", temperature=1, **SMALL)
    one, other = (load_file(path.path / "weights.safetensors") for path in (run, plain))
    assert all((one[name] == other[name]).all() for name in one)
    assert set(one) == set(other)
    assert "operating_points" not in json.loads((plain.path / "model.json").read_text())["task"]
    assert (
        run.metrics["evaluations"]["test"]["metrics"]["auroc"]
        == (plain.metrics["evaluations"]["test"]["metrics"]["auroc"])
    )
    log_odds = special.logit(table_of(plain, "val")["p_covid"])
    calibrated = special.logit(table_of(run, "val")["p_covid"])
    assert calibrated.to_numpy() == pytest.approx(log_odds / points_of(run)["temperature"], abs=1e-4)


def test_test_labels_have_no_part_in_the_points(run, place, tmp_path):
    swapped = write_pictures(tmp_path / "data", ("no covid", "covid"), 128, swap_test=True)
    other = modicum.fit(swapped, name="swapped", runs=place, write_report=False, **SMALL)
    assert points_of(other) == points_of(run)


def test_a_run_from_before_there_were_points_predicts_as_it_did(run, tmp_path):
    import shutil

    old = tmp_path / "old"
    shutil.copytree(run.path, old)
    model = json.loads((old / "model.json").read_text())
    temperature = model["task"].pop("operating_points")["temperature"]
    (old / "model.json").write_text(json.dumps(model))
    recipe = (old / "recipe.yaml").read_text()
    lines = [
        line
        for line in recipe.splitlines()
        if line.split(":")[0].strip() not in {"operating_point", "temperature"}
    ]
    (old / "recipe.yaml").write_text(
        "\n".join(line for line in lines if not line.strip().startswith("positive:"))
    )
    images = run.path.parent / "data" / "images"
    modicum.Run.open(old).predict(images, tmp_path / "old.csv")
    run.predict(images, tmp_path / "new.csv")
    before, now = pd.read_csv(tmp_path / "old.csv"), pd.read_csv(tmp_path / "new.csv")
    assert ((before["p_covid"] > 0.5) == (before["prediction"] == "covid")).all()
    assert special.logit(now["p_covid"]).to_numpy() == pytest.approx(
        special.logit(before["p_covid"]).to_numpy() / temperature, abs=1e-4
    )
    assert load_method(modicum.Run.open(old).folder)[1].classes == ("no covid", "covid")


def test_without_validation_images_nothing_is_chosen_and_that_is_said(place, tmp_path, capsys):
    table = write_pictures(tmp_path / "data", ("healthy", "ill"), 32)
    rows = pd.read_csv(table)
    rows["split"] = rows["split"].replace("val", "train")
    rows.to_csv(table, index=False)
    run = modicum.fit(table, name="no-val", runs=place, write_report=False, fractions=[0.7, 0, 0.3], **SMALL)
    assert "operating_points" not in json.loads((run.path / "model.json").read_text())["task"]
    assert "no validation images to choose by: default operating points" in capsys.readouterr().err


def test_the_positive_class_is_said_and_can_be_named(data, place, run, capsys):
    other = modicum.fit(data, name="other", runs=place, write_report=False, positive="no covid", **SMALL)
    assert other.metrics["classes"] == ["covid", "no covid"]
    assert "'no covid' is the positive one (as given)" in capsys.readouterr().err
    assert run.recipe.options["positive"] is None
    with pytest.raises(InputError, match="'covd' is neither of 'covid' and 'no covid'"):
        modicum.fit(data, name="wrong", runs=place, positive="covd", **SMALL)


def test_a_model_that_is_worse_than_the_most_common_class_is_called_so(place, tmp_path):
    table = write_pictures(tmp_path / "data", ("healthy", "ill"), 64, share=0.15)
    run = modicum.fit(table, name="rare", runs=place, **{**SMALL, "lr": 1e-6}, operating_point=[0.0])
    found = run.metrics["evaluations"]["test"]["metrics"]
    truth = table_of(run)["truth"]
    assert found["majority_accuracy"]["value"] == pytest.approx((truth == "healthy").mean())
    assert found["accuracy"]["value"] == pytest.approx((truth == "ill").mean())  # all are called ill
    said = (
        f"{found['accuracy']['value']:.3f} is below the {found['majority_accuracy']['value']:.3f} of saying"
    )
    assert any(said in line for line in run_summary(run.path))
    page = (run.path / "report.html").read_text()
    assert f"Accuracy {said} the most common class" in page
    assert "Accuracy of the most common class" in page


def test_an_unfinished_run_does_not_go_on_with_classes_in_another_order(run, data, tmp_path):
    import shutil

    shutil.copytree(run.path, tmp_path / "run")
    folder = tmp_path / "run"
    (folder / "status.json").write_text('{"state": "interrupted"}')
    model = json.loads((folder / "model.json").read_text())
    model["task"]["classes"] = ["covid", "no covid"]
    (folder / "model.json").write_text(json.dumps(model))
    with pytest.raises(InputError, match="the classes were covid, no covid, now no covid, covid"):
        modicum.fit(data, name="run", runs=tmp_path, resume=True, **SMALL)


def test_the_demo_ends_with_a_report_whose_parts_agree(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "PATIENTS", 70)
    monkeypatch.setattr(demo, "IMAGE_SIZE", 48)
    monkeypatch.setattr(demo, "SIZES", {"demo": 32})
    monkeypatch.setattr(
        demo, "fit", lambda *given, **settings: modicum.fit(*given, **{**settings, "epochs": 1})
    )
    demo.run_demo(tmp_path)
    run = modicum.Run.open(tmp_path / "demo")
    assert run.metrics["classes"] == ["healthy", "retinopathy"]
    check_agreement(run)


@pytest.mark.slow
def test_the_whole_demo_agrees_and_finds_what_it_says(tmp_path):
    demo.run_demo(tmp_path)
    for name in demo.SIZES:
        counts = check_agreement(modicum.Run.open(tmp_path / name))
    assert counts[1][1] > 0.75 * sum(counts[1])
    assert counts[0][0] > 0.75 * sum(counts[0])


# What evaluations leave out, and domains


def test_evaluate_counts_what_it_leaves_out_and_names_a_remedy_that_it_has(run, tmp_path, capsys):
    other = write_pictures(tmp_path / "other", ("no covid", "covid"), 40)
    rows = pd.read_csv(other)
    rows.loc[:2, "state"] = None
    rows.to_csv(other, index=False)
    capsys.readouterr()
    content = run.evaluate(
        other, split="all", name="blank", workers=0, columns={"label": "state"}, write_report=False
    )
    assert content["images"] == 37
    assert "left out: 3 images without a label" in capsys.readouterr().err
    for wrong in ("-1", "unknown"):
        rows.loc[:2, "state"] = wrong
        rows.to_csv(other, index=False)
        with pytest.raises(InputError) as error:
            run.evaluate(other, split="all", name="wrong", workers=0, columns={"label": "state"})
        assert f"label '{wrong}' is not in no covid, covid (nor in 2 other rows)" in str(error.value)
        assert "leave its label blank: it is then left out" in str(error.value)
        assert "--classes" not in str(error.value)


def test_domains_are_scored_one_by_one(run, tmp_path):
    other = write_pictures(tmp_path / "other", ("no covid", "covid"), 80)
    rows = pd.read_csv(other)
    rows["domain"] = ["A"] * 50 + ["B"] * 29 + [None]
    rows.to_csv(other, index=False)
    content = run.evaluate(other, split="all", name="domains", workers=0, columns={"label": "state"})
    table = table_of(run, "domains").merge(rows[["image", "domain"]], on="image")
    assert {name: part["images"] for name, part in content["domains"].items()} == {"A": 50, "B": 29}
    for name, part in content["domains"].items():
        inside = table[table["domain"] == name]
        right = (inside["truth"] == inside["prediction"]).mean()
        assert part["metrics"]["accuracy"]["value"] == pytest.approx(right)
    assert "Domain by domain" in (run.path / "report.html").read_text()
    assert sum(line.startswith("domains: domain ") for line in run_summary(run.path)) == 2
