"""Runs that learn a severity score: from files to predictions, comparisons and reports, and back after a kill."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from made_grades import SETTINGS, fit, table_of, write_grades
from safetensors.torch import load_file
from small_stages import Perceptron, same, stage_data, trainer, weights_of

import modicum
from modicum.engine.inference.attribution import attribution_map
from modicum.engine.model import load_method
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError, InterruptedRunError, ResourceError
from modicum.methods.full import FineTuneStage
from modicum.tasks import Classification

SUM = "smooth_l1+0.5*mse"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_grades(tmp_path_factory.mktemp("grades") / "data")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module", params=["mse", SUM])
def run(request, data, runs):
    return fit(data, runs, "sum" if "+" in request.param else "mse", loss=request.param)


# A run from end to end


def test_a_score_is_learned_with_one_output_and_graded_at_midpoints(run):
    task = json.loads((run.path / "model.json").read_text())["task"]
    assert (task["output"], task["thresholds"], task["thresholds_from"]) == (
        "score",
        [0.5, 1.5, 2.5],
        "midpoints",
    )
    head = [tensor for name, tensor in load_file(run.path / "weights.safetensors").items() if "head" in name]
    assert {tensor.shape[0] for tensor in head} == {1}
    table = table_of(run)
    assert list(table.columns) == ["image", "patient", "truth", "prediction", "score", "unlike_training"]
    assert (np.digitize(table["score"], [0.5, 1.5, 2.5]) == table["prediction"]).all()
    found = run.metrics["evaluations"]["test"]["metrics"]
    assert found["quadratic_kappa"]["value"] > 0.8
    assert found["mae"]["value"] == pytest.approx((table["truth"] - table["prediction"]).abs().mean())
    assert {"auroc", "auroc/>=1", "auroc/>=3", "sensitivity_at_95_specificity"} <= set(found)
    assert not {"brier", "ece", "log_loss"} & set(found)
    assert run.metrics["selection"]["metric"] == "quadratic_kappa"


def test_predictions_of_new_images_are_those_of_the_evaluation(run, data, tmp_path):
    run.predict(data.parent / "images", tmp_path / "found.csv")
    run.predict(data.parent / "images", tmp_path / "found.parquet")
    found = pd.read_csv(tmp_path / "found.csv").drop(columns="error")
    assert list(found.columns) == ["image", "prediction", "score", "unlike_training"]
    stored = pd.read_parquet(tmp_path / "found.parquet")
    assert stored["score"].dtype == np.float64
    assert stored["score"].to_numpy() == pytest.approx(found["score"].to_numpy(), rel=1e-6)
    found.index = [name.rpartition("/")[2] for name in found["image"]]
    evaluated = table_of(run)
    for name, score, grade in zip(
        evaluated["image"], evaluated["score"], evaluated["prediction"], strict=True
    ):
        row = found.loc[name.rpartition("/")[2]]
        assert row["score"] == pytest.approx(score, abs=1e-4)
        assert row["prediction"] == grade


def test_evaluation_of_other_data_and_the_report(run, tmp_path):
    other = write_grades(tmp_path / "other", 16, test_seed=9)
    content = run.evaluate(other, split="test", name="elsewhere", workers=0, columns={"label": "grade"})
    assert content["metrics"]["mae"]["value"] >= 0
    page = (run.path / "report.html").read_text()
    assert "The next grade begins at a score of 0.5, 1.5, 2.5 (halfway between grades)." in page
    assert "Scores of each grade" in page
    assert "1 or more" in page
    assert "What was taken for what" in page
    assert "Calibration" not in page
    assert "% sure" not in page
    table = pd.read_csv(other)
    table["grade"] += 4
    table.to_csv(other, index=False)
    with pytest.raises(InputError, match=r"label '4' is not in 0\.\.3"):
        run.evaluate(other, name="others", workers=0, columns={"label": "grade"})


def test_an_exported_network_gives_the_scores(run, data, tmp_path):
    import timm

    weights = load_file(run.export(tmp_path / "grader.safetensors"))
    card = json.loads((tmp_path / "grader.json").read_text())
    assert card["arguments"]["num_classes"] == 1
    assert card["task"]["thresholds"] == [0.5, 1.5, 2.5]
    network = timm.create_model(card["backbone"], **card["arguments"]).eval()
    network.load_state_dict(weights)
    mean, std = (torch.tensor(card["input"][name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    table = table_of(run)
    pixels = np.stack([cv2.imread(str(data.parent / name))[..., ::-1] for name in table["image"]])
    images = torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        scores = network((images - mean) / std)[:, 0]
    assert scores.tolist() == pytest.approx(table["score"].tolist(), abs=1e-4)


def test_the_score_is_what_is_explained(run):
    examples = json.loads((run.path / "evaluations" / "test" / "examples" / "examples.json").read_text())
    table = table_of(run).set_index("image")
    assert examples
    for example in examples:
        assert example["score"] == pytest.approx(table.loc[example["image"], "score"], abs=1e-6)
        assert "probability" not in example
    _, _, method = load_method(RunFolder.open(run.path))
    found, _ = attribution_map(method.predictor().eval(), torch.rand(1, 3, 32, 32), 0)
    assert found.shape == (32, 32)
    assert found.isfinite().all()


@pytest.mark.slow
def test_a_comparison_of_objectives_puts_them_side_by_side(data, tmp_path):
    done = modicum.compare(
        data,
        ["linear"],
        runs=tmp_path,
        name="objectives",
        stores=data.parent / "stores",
        label="grade",
        seeds=1,
        sweep={"loss": ["cross_entropy", "mse", "cross_entropy+kappa"]},
        **{**SETTINGS, "epochs": 2},
    )
    assert not done.failed, done.errors
    assert list(done.table["loss"]) == ["cross_entropy", "mse", "cross_entropy+kappa"]
    assert done.table["score"].notna().all()
    assert set(done.table["metric"]) == {"quadratic_kappa"}
    # A logit a grade against one score: 3 features' weights and a bias fewer for each grade.
    learned = done.table.set_index("loss")["learnable"]
    assert learned["cross_entropy"] == 4 * learned["mse"]


# Going on after a kill


class Dying(Perceptron):
    """Raises at one of its steps."""

    def __init__(self, loss, at):
        super().__init__(loss)
        self.network[-1] = torch.nn.Linear(8, 1)
        torch.manual_seed(0)
        torch.nn.init.normal_(self.network[-1].weight)
        self.at, self.steps = at, 0

    def validate(self, batch):
        if self.training:
            self.steps += 1
            if self.steps == self.at:
                raise ResourceError("the power is gone", "")
        return super().validate(batch)


@pytest.mark.parametrize("at", [9, 13])  # in the middle of the second epoch, and at the start of the third
def test_dynamic_weights_are_the_same_bit_for_bit_after_a_kill(tmp_path, at, monkeypatch):
    task = Classification("multi-class", ["a", "b", "c"], ordered=True).for_loss("mse")
    monkeypatch.setattr("small_stages.TASK", task)
    data = stage_data(shares=(4, 2, 1))
    targets = {"label": data.targets["label"][data.train_rows]}
    loss = {"loss": "mse", "class_weights": "dynamic", "class_weights_decay": 0.5}

    def stage(at=-1, **other):
        return Dying(task.loss(targets, {**loss, **other}), at)

    settings = {"epochs": 4, "checkpoint_steps": 1, **loss}
    whole, killed, again, constant = stage(), stage(at), stage(), stage(class_weights="balanced")
    trainer(whole, tmp_path / "whole", data, **settings).run()
    with pytest.raises(ResourceError):
        trainer(killed, tmp_path / "killed", data, **settings).run()
    trainer(again, tmp_path / "killed", data, **settings).run()
    trainer(constant, tmp_path / "constant", data, **settings).run()
    assert again.steps < whole.steps
    assert same(weights_of(again), weights_of(whole))
    assert not same(weights_of(constant), weights_of(whole))


def test_a_broken_off_run_goes_on_to_the_same_weights_and_thresholds(data, runs, monkeypatch):
    settings = {"loss": "mse", "class_weights": "dynamic", "thresholds": "validation", "checkpoint_steps": 1}
    whole = fit(data, runs, "whole", **settings)
    steps, validate = [], FineTuneStage.validate

    def interrupted(stage, batch):
        steps.append(stage.training)
        if sum(steps) == 10:
            raise ResourceError("the power is gone", "")
        return validate(stage, batch)

    monkeypatch.setattr(FineTuneStage, "validate", interrupted)
    with pytest.raises(ResourceError):
        fit(data, runs, "stopped", **settings)
    monkeypatch.undo()
    stopped = fit(data, runs, "stopped", resume=True, **settings)
    for file in ("weights.safetensors", "model.json", "evaluations/test/predictions.csv"):
        assert (stopped.path / file).read_bytes() == (whole.path / file).read_bytes()


def test_a_run_from_before_there_were_thresholds_goes_on(data, runs, monkeypatch):
    monkeypatch.setattr(
        "modicum.engine.fit.evaluate_rows", lambda *args, **named: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(InterruptedRunError):
        fit(data, runs, "old", epochs=1)
    monkeypatch.undo()
    recipe = runs / "old" / "recipe.yaml"
    lines = recipe.read_text().splitlines(keepends=True)
    new = ("  thresholds:", "  class_weights_decay:")
    recipe.write_text("".join(line for line in lines if not line.startswith(new)))
    assert fit(data, runs, "old", epochs=1, resume=True).metrics["evaluations"]["test"]
    with pytest.raises(
        InputError, match=r"was started with options.thresholds='midpoints', now it is \[1.0, 2"
    ):
        fit(data, runs, "old", epochs=1, loss="mse", thresholds=[1.0, 2.0, 2.5], resume=True)


# The memory that it takes


def test_memory_of_a_score_is_predicted():
    from modicum.planning.memory import predict

    score, logits = (
        predict("full", "test_resnet", 32, 8, num_classes=count, settings=given).accounted_bytes
        for count, given in ((1, {"loss": "mse", "class_weights": [1.0, 2.0]}), (5, {}))
    )
    assert 0 < score < logits
