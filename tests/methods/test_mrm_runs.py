"""MAE and MRM from made radiographs with reports to a finished run, and on to what is learned from their encoders."""

import json
import signal
import subprocess
import sys

import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import load_file

import modicum
from modicum.data.phantoms import write_chest_dataset
from modicum.data.reports import load_tokenizer
from modicum.engine.inputs.preparation import store_settings
from modicum.engine.model import backbone_of_run, load_method, make_method
from modicum.errors import InputError
from modicum.methods.mrm import MAE_TRAINING, Mae, MaeConfig, Mrm, MrmConfig

DECODER = {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2}
REPORT = {"report_width": 16, "report_depth": 1, "report_heads": 2, "report_length": 24}
SMALL = {
    "backbone": "test_vit", "weights": "random", "image_size": 32, "batch_size": 4, "epochs": 2, "resamples": 20,
    "device": "cpu", "leaks": "allow", "warmup_epochs": 0,
}  # fmt: skip
LEARN = {"image_size": 32, "batch_size": 4, "epochs": 1, "resamples": 20, "device": "cpu", "leaks": "allow",
         "label": "grade"}  # fmt: skip

KILLED = """
import os, signal, sys
import modicum, torch
torch.set_num_threads(1)
from modicum.engine.training.stage_trainer import StageTrainer
ended, calls = StageTrainer._step_ended, []
def doomed(self, facts):
    ended(self, facts)
    calls.append(None)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
StageTrainer._step_ended = doomed
modicum.fit(sys.argv[1], "mrm", name="killed", runs=sys.argv[2], checkpoint_steps=1, **eval(sys.argv[3]))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chest")
    fractions = {"train": 0.6, "val": 0.2, "test": 0.2}
    path = write_chest_dataset(folder, 24, 64, seed=1, fractions=fractions, masks=False)
    table = pd.read_csv(path, dtype=str)
    table["grade"] = [str(number % 2) for number in range(len(table))]
    table = table.drop(columns=[name for name in table if name.startswith("labels:")])
    (folder / "blank.txt").write_text(" \n")
    table.loc[table.index[table["split"] == "train"][0], "report"] = "blank.txt"
    table.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("sections", [None, ["impression"]])
def test_the_file_of_each_report_is_read_once(data, sections, tmp_path, monkeypatch):
    """By the task, by the targets, by the fingerprint: one read."""
    from collections import Counter

    from modicum.data.reports import texts
    from modicum.engine.fit import prepared_data
    from modicum.engine.recipe.new_recipe import make_recipe
    from modicum.engine.run_folder import RunFolder

    folder = tmp_path / "data"
    table = pd.read_csv(data, dtype=str)
    (folder / "texts").mkdir(parents=True)
    for number, report in enumerate(table["report"]):
        (folder / "texts" / f"{number}.txt").write_text(str(report))
    table["report"] = [f"texts/{number}.txt" for number in range(len(table))]
    table["image"] = [str(data.parent / name) for name in table["image"]]
    table.to_csv(folder / "set.csv", index=False)
    reads: Counter[str] = Counter()
    original = texts._report_of

    def counted(cell, *rest):
        reads[cell] += 1
        return original(cell, *rest)

    monkeypatch.setattr(texts, "_report_of", counted)
    settings = {**SMALL, **REPORT, "allow_outside": True} | (
        {} if sections is None else {"sections": sections}
    )
    recipe = make_recipe(folder / "set.csv", "mrm", settings)
    prepared, task = prepared_data(recipe, RunFolder(tmp_path / "run"), tmp_path / "stores", 0)
    targets = task.targets(prepared.manifest)
    found = prepared.fingerprint()["reports"]
    assert len(targets["tokens"]) == len(table)
    assert found["count"] + found["set_aside"] == len(table)
    assert set(reads.values()) == {1}
    assert len(reads) == len(table)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def mrm(data, runs):
    return modicum.fit(data, "mrm", name="mrm", runs=runs, **SMALL, **DECODER, **REPORT)


@pytest.fixture(scope="module")
def mae(data, runs):
    return modicum.fit(data, "mae", name="mae", runs=runs, report="", **SMALL, **DECODER)


def history(run):
    records = [json.loads(line) for line in run.folder.history.read_text().splitlines()]
    return [record for record in records if record["kind"] == "epoch"]


# --- pre-training -----------------------------------------------------------------------------------------------------


def test_mrm_learns_from_images_and_reports_and_scores_both(mrm):
    assert mrm.folder.status["state"] == "finished"
    first, last = history(mrm)
    assert first["train"].keys() >= {"image", "report"}
    assert last["train"]["loss"] < first["train"]["loss"]
    assert set(last["val"]) == {"loss", "image", "report", "report_accuracy"}
    for content in mrm.metrics["evaluations"].values():
        assert content["resampling_unit"] == "patient"
        assert content["metrics"]["report"]["value"] > 0
        assert 0 <= content["metrics"]["report_accuracy"]["value"] <= 1
    assert set(mrm.metrics["evaluations"]) == {"val", "test"}
    assert mrm.metrics["selection"]["epoch"] == 2


def test_images_are_stored_at_twice_the_backbones_size_for_mrm_alone(mrm, mae):
    sizes = []
    for run in (mrm, mae):
        recipe = run.recipe
        settings = store_settings(recipe.image, recipe.task, recipe.options)
        sizes.append((settings.height, settings.width))
        assert recipe.image.size == (32, 32)
    assert sizes == [(64, 64), (32, 32)]


def test_mae_needs_no_reports(mae):
    assert mae.recipe.options["report_length"] == 0
    assert set(mae.metrics["evaluations"]["test"]["metrics"]) == {"image"}
    assert not (mae.path / "tokenizer.json").exists()


def test_columns_of_the_predictions_are_the_stages_outputs(mrm):
    _, task, method = load_method(mrm.folder)
    (stage,) = method.stages()
    assert task.outputs == stage.outputs
    table = pd.read_csv(mrm.folder.evaluation("test") / "predictions.csv")
    assert tuple(table.columns) == (
        "image",
        "patient",
        "image_error",
        "report",
        "report_accuracy",
        "unlike_training",
    )


def test_the_run_keeps_its_tokenizer_and_lists_reports_that_were_set_aside(mrm):
    vocabulary = load_tokenizer(mrm.path / "tokenizer.json").vocabulary
    assert vocabulary.size == load_method(mrm.folder)[1].vocabulary.size
    listed = pd.read_csv(mrm.path / "reports.csv")
    assert listed["reason"].tolist() == ["it is empty"]
    notes = json.loads(mrm.folder.fingerprint.read_text())["notes"]
    assert any("1 report set aside: it is empty" in note for note in notes)


def test_only_the_encoder_is_kept_with_its_positions(mrm):
    names = load_file(mrm.folder.weights)
    own = timm.create_model("test_vit", num_classes=0, img_size=32).state_dict()
    assert {name.removeprefix("pretrain.network.encoder.body.") for name in names} == set(own)


def test_a_report_page_is_written(mrm, mae):
    for run in (mrm, mae):
        assert "image" in run.folder.report.read_text().lower()


def test_a_killed_run_goes_on_to_the_same_weights(data, runs, mrm):
    settings = {**SMALL, **DECODER, **REPORT}
    command = [sys.executable, "-c", KILLED, str(data), str(runs), repr(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == -signal.SIGKILL, done.stderr
    again = modicum.fit(data, "mrm", name="killed", runs=runs, resume=True, checkpoint_steps=1, **settings)
    whole, resumed = load_file(mrm.folder.weights), load_file(again.folder.weights)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_run_of_an_encoder_says_what_to_do_with_it(data, mrm):
    for use in (lambda: mrm.predict(data.parent / "images"), lambda: mrm.evaluate(data)):
        with pytest.raises(InputError, match=r"predicts nothing by itself; learn from it: .*--backbone run:"):
            use()


def test_a_table_without_reports_is_refused_for_mrm(data, runs):
    with pytest.raises(InputError, match="no column 'report'"):
        modicum.fit(data, "mrm", name="none", runs=runs, report="", **SMALL, **DECODER, **REPORT)


def test_a_setting_that_the_method_decides_is_refused(data, runs):
    with pytest.raises(InputError, match="'report_length' is 50, and method mae makes it 0"):
        modicum.fit(data, "mae", runs=runs, report_length=50, **SMALL)


def test_defaults_start_where_the_publications_do():
    assert Mrm.backbone == {"name": "vit_base_patch16_224.mae"}
    assert Mae.backbone["weights"] == "random"
    assert (MAE_TRAINING["epochs"], MAE_TRAINING["warmup_epochs"]) == (800, 40)
    assert Mrm.training["select"] == Mae.training["select"] == "last"
    assert Mrm.task_options(MrmConfig()) == {"report_length": 100, "target_scale": 2}
    assert Mae.task_options(MaeConfig()) == {"report_length": 0, "target_scale": 1}


def test_random_weights_start_as_mae_starts_them(mrm):
    """Of Xavier-uniform weights the largest is at most sqrt(6 / (rows + columns)), and near it."""
    recipe, task, _ = load_method(mrm.folder)
    (stage,) = make_method(recipe, task, {}).stages()
    weight = stage.encoder.body.blocks[0].mlp.fc1.weight
    bound = (6 / sum(weight.shape)) ** 0.5
    assert 0.99 * bound < weight.abs().max() <= bound


# --- afterwards -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["linear", "lora", "full"])
def test_other_methods_start_from_the_encoder_with_its_statistics(method, data, runs, mrm):
    learned = modicum.fit(
        data, method, name=f"after-{method}", runs=runs, backbone=f"run:{mrm.path}", **LEARN
    )
    assert (learned.recipe.backbone.name, learned.recipe.backbone.weights) == ("test_vit", f"run:{mrm.path}")
    _, _, opened = load_method(learned.folder)
    backbone = opened.merge().backbone
    assert backbone.mean.flatten().tolist() == pytest.approx([0.4978] * 3)
    assert backbone.std.flatten().tolist() == pytest.approx([0.2449] * 3)
    if method == "linear":  # whose backbone is the encoder as it was
        own = load_file(mrm.folder.weights)
        for name, tensor in backbone.body.state_dict().items():
            assert torch.equal(tensor, own[f"pretrain.network.encoder.body.{name}"])
    again = learned.evaluate(data, split="test", name="again")["metrics"]["auroc"]["value"]
    assert again == pytest.approx(learned.metrics["evaluations"]["test"]["metrics"]["auroc"]["value"])


def test_weights_of_a_run_go_to_its_own_backbone_alone(data, runs, mae):
    with pytest.raises(
        InputError, match="has backbone 'test_vit', not 'test_vit2'; pass --backbone test_vit"
    ):
        modicum.fit(
            data, "linear", name="other", runs=runs, backbone="test_vit2", weights=f"run:{mae.path}", **LEARN
        )
    with pytest.raises(InputError, match="brings its weights"):
        modicum.fit(data, "linear", name="two", runs=runs, backbone=f"run:{mae.path}", weights="hub", **LEARN)


def test_the_exported_encoder_is_timms_network_with_its_statistics_on_the_card(mrm, tmp_path):
    path = mrm.export(tmp_path / "encoder.safetensors")
    card = json.loads(path.with_suffix(".json").read_text())
    network = timm.create_model(card["backbone"], **card["arguments"]).eval()
    network.load_state_dict(load_file(path), strict=True)
    mean, std = (torch.tensor(card["input"][name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    assert mean.flatten().tolist() == pytest.approx([0.4978] * 3)
    assert std.flatten().tolist() == pytest.approx([0.2449] * 3)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        patches = network.forward_features((images - mean) / std)[:, 1:].mean(1)
        expected = load_method(mrm.folder)[2].predictor().eval()(images)
        assert torch.equal(backbone_of_run(mrm.path).eval()(images), network((images - mean) / std))
    torch.testing.assert_close(patches, expected, atol=1e-5, rtol=1e-5)
