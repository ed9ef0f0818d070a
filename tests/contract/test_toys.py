"""Each new part of the contract, by the shortest method that has it: fit, predict, evaluate, report, export."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from toy_data import TOYS, fit

import modicum
from modicum.engine.inference.predictor_calls import predictor_outputs
from modicum.errors import InputError
from modicum.methods import method_class, method_entries
from modicum.report.build import build

DECIDED = [name for name in TOYS if method_class(name).decides_over == "set"]
ALONE = [name for name in TOYS if name not in DECIDED]


def table(path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"patient": str}).set_index("image")


def probabilities(path) -> pd.DataFrame:
    found = table(path)
    return found[[name for name in found if name.startswith("p_")]]


def test_a_strangers_package_brings_methods_by_entry_point():
    entries = method_entries()
    assert all(entries[name].value.startswith("modicum_toys.") for name in TOYS)


@pytest.mark.parametrize("name", TOYS)
def test_a_run_is_finished_with_scores_and_a_report_that_names_its_stages(run_of, name):
    run = run_of(name)
    metrics, method = run.metrics, method_class(name)
    assert run.folder.status["state"] == "finished"
    assert list(metrics["stages"]) == list(method.stage_training)
    for split in ("val", "test"):
        assert math.isfinite(metrics["evaluations"][split]["metrics"]["accuracy"]["value"])
    page = (run.path / "report.html").read_text()
    trained = {json.loads(line)["stage"] for line in run.folder.history.read_text().splitlines()} if (
        run.folder.history.is_file()) else set()  # fmt: skip
    assert trained == set(method.stage_training) - {"bank"}
    if len(trained) > 1:
        assert all(f"stage “{stage}”" in page for stage in trained)


@pytest.mark.parametrize("name", TOYS)
def test_a_run_that_is_opened_predicts_and_evaluates_as_it_did_when_it_was_trained(
    run_of, toy_data, tmp_path, name
):
    run = run_of(name)
    first = probabilities(run.path / "evaluations" / "test" / "predictions.csv")
    opened = modicum.Run.open(run.path)
    content = opened.evaluate(toy_data, split="test", name=f"again-{name}", write_report=False)
    again = probabilities(run.path / "evaluations" / f"again-{name}" / "predictions.csv")
    pd.testing.assert_frame_equal(first, again, atol=1e-5)
    before = run.metrics["evaluations"]["test"]["metrics"]["accuracy"]["value"]
    assert content["metrics"]["accuracy"]["value"] == before
    rows = pd.read_csv(toy_data, dtype=str)
    rows[rows["split"] == "test"].drop(columns="label").to_csv(toy_data.parent / f"{name}.csv", index=False)
    run.predict(toy_data.parent / f"{name}.csv", tmp_path / "predicted.csv")
    predicted = probabilities(tmp_path / "predicted.csv")
    pd.testing.assert_frame_equal(first.loc[predicted.index], predicted, atol=1e-5)


@pytest.mark.parametrize("name", ALONE)
def test_an_image_gets_the_same_prediction_alone_and_in_a_batch(run_of, toy_data, tmp_path, name):
    run, folder = run_of(name), toy_data.parent / "images"
    files = sorted(folder.iterdir())[:3]
    run.predict(files, tmp_path / "together.csv")
    run.predict(files[1], tmp_path / "alone.csv")
    together, alone = (probabilities(tmp_path / f"{part}.csv").to_numpy() for part in ("together", "alone"))
    np.testing.assert_allclose(together[1], alone[0], atol=1e-5)


@pytest.mark.parametrize("name", DECIDED)
def test_a_single_image_gets_an_answer_where_answers_are_decided_over_a_set(run_of, toy_data, tmp_path, name):
    run_of(name).predict(toy_data.parent / "images" / "p00000_L.png", tmp_path / "one.csv")
    found = probabilities(tmp_path / "one.csv")
    assert found.shape == (1, 2)
    assert np.isfinite(found.to_numpy()).all()


@pytest.mark.parametrize("name", ["toy_pretext", "toy_partner", "toy_boxes"])
def test_what_folds_into_its_backbone_is_exported(run_of, tmp_path, name):
    out = tmp_path / "exported.safetensors"
    assert run_of(name).export(out) == out


@pytest.mark.parametrize("name", TOYS)
def test_a_predictor_is_made_again_from_its_file_alone(run_of, tmp_path, name):
    run = run_of(name)
    network = modicum.load_exported(run.export(tmp_path / "network.safetensors", form="predictor"))
    images, files = torch.rand(3, 3, 32, 32), ["a.png", "b.png", "c.png"]
    with torch.no_grad():
        expected, found = (
            predictor_outputs(one, images, files, seed=0)
            for one in (run.method().predictor().eval(), network)
        )
    assert torch.equal(found, expected)
    card = json.loads((tmp_path / "network.json").read_text())
    assert (card["decides_over"] == "set") is (name in DECIDED)


# --- a decision over a set ----------------------------------------------------------------------------------------


def test_patient_and_eye_of_a_table_reach_the_decision(run_of, toy_data, tmp_path):
    run = run_of("toy_eyes")
    rows = pd.read_csv(toy_data, dtype=str)[["image", "patient", "eye"]].iloc[:4]
    path = toy_data.parent / "four.csv"
    rows.to_csv(path, index=False)
    run.predict(path, tmp_path / "known.csv")
    rows.drop(columns=["patient", "eye"]).to_csv(path, index=False)
    run.predict(path, tmp_path / "unknown.csv")
    known, unknown = table(tmp_path / "known.csv"), table(tmp_path / "unknown.csv")
    assert not known["fellow_missing"].any()
    assert unknown["fellow_missing"].all()
    assert not np.allclose(probabilities(tmp_path / "known.csv"), probabilities(tmp_path / "unknown.csv"))


def test_columns_of_a_decision_stand_in_the_tables_of_evaluation_and_prediction(run_of):
    eyes = table(run_of("toy_eyes").path / "evaluations" / "test" / "predictions.csv")
    assert eyes["fellow_missing"].sum() == 1
    assert eyes.loc[eyes["fellow_missing"], "patient"].tolist() == ["p00005"]
    bank = table(run_of("toy_bank").path / "evaluations" / "test" / "predictions.csv")
    assert set(bank["cluster"]) == {"near", "far"}
    assert (bank["distance"] >= 0).all()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_broken_image_is_a_row_with_an_error_beside_those_that_are_decided(
    run_of, toy_data, tmp_path, suffix
):
    good = sorted((toy_data.parent / "images").iterdir())[:2]
    (tmp_path / "broken.png").write_bytes(b"no image")
    out = tmp_path / f"out.{suffix}"
    summary = run_of("toy_eyes").predict([good[0], tmp_path / "broken.png", good[1]], out)
    assert (summary.predicted, summary.broken) == (2, 1)
    found = pd.read_csv(out) if suffix == "csv" else pd.read_parquet(out)
    assert found["error"].notna().tolist() == [False, True, False]
    assert found["p_ill"].notna().tolist() == [True, False, True]
    assert found["fellow_missing"].isna().tolist() == [False, True, False]
    assert found["fellow_missing"].astype(str).tolist()[::2] == ["True", "True"]


def test_maps_are_pictures_of_the_images_size_and_named_in_the_table(run_of, toy_data, tmp_path):
    from PIL import Image

    image = toy_data.parent / "images" / "p00000_L.png"
    run_of("toy_bank").predict(image, tmp_path / "mapped.csv", maps=tmp_path / "maps")
    named = table(tmp_path / "mapped.csv")["map"].iloc[0]
    assert Image.open(tmp_path / "maps" / named).size == Image.open(image).size
    with pytest.raises(InputError, match="makes no maps"):
        run_of("toy_eyes").predict(image, tmp_path / "none.csv", maps=tmp_path / "none")


# --- stages -------------------------------------------------------------------------------------------------------


def epochs(run, stage):
    records = [json.loads(line) for line in run.folder.history.read_text().splitlines()]
    return [record for record in records if record["stage"] == stage and record["kind"] == "epoch"]


def test_a_stage_that_is_not_scored_is_selected_by_its_own_loss(run_of):
    run = run_of("toy_three")
    selection = run.metrics["stages"]["match"]["selection"]
    assert (selection["metric"], selection["mode"]) == ("loss", "min")
    losses = [record["val"]["loss"] for record in epochs(run, "match")]
    assert selection["value"] == min(losses)
    assert "accuracy" not in epochs(run, "match")[0]["val"]
    assert run.metrics["stages"]["tune"]["selection"]["metric"] == "auroc"


def test_a_fitted_stage_says_what_it_found_and_takes_as_many_passes_as_it_asks_for(run_of):
    metrics = run_of("toy_bank").metrics
    found = metrics["findings"]["bank"]
    assert metrics["stages"]["bank"]["time"]["epochs"] == found["passes"] >= 2
    assert found["centres"] == min(4, found["kept"])
    assert metrics["parameters"]["learnable"] == 0
    assert metrics["memory"].get("gradients_bytes", 0) == 0


def test_examples_of_a_predictor_without_gradient_show_the_map_that_it_makes(run_of):
    examples = json.loads((run_of("toy_bank").path / "evaluations/test/examples/examples.json").read_text())
    assert examples
    assert all(example["map"] and example["overlay"] for example in examples)
    page = (run_of("toy_bank").path / "report.html").read_text()
    assert "None" not in page.partition("<body")[2].replace("None of", "")


def test_examples_have_no_map_where_nothing_explains_them(run_of, toy_data, toy_runs, monkeypatch):
    network = type(run_of("toy_bank").method().predictor())
    monkeypatch.delattr(network, "maps")
    run = fit(toy_data, "toy_bank", toy_runs, "unexplained")
    examples = json.loads((run.path / "evaluations/test/examples/examples.json").read_text())
    assert all(example["map"] is None and example["overlay"] is None for example in examples)
    page = build(run.path).read_text()
    assert "None" not in page.partition("<body")[2].replace("None of", "")


def test_a_reference_image_reaches_the_method_with_its_mask(run_of, toy_data, toy_runs, tmp_path):
    from safetensors.torch import load_file

    colour = load_file(run_of("toy_reference").path / "weights.safetensors")["tune.network.colour"]
    assert ((colour > 0) & (colour < 1)).all()
    table = pd.read_csv(toy_data, dtype=str)
    table[table["split"] != "reference"].to_csv(toy_data.parent / "bare.csv", index=False)
    with pytest.raises(InputError, match="no mask marks anything in an image of split 'reference'"):
        fit(toy_data.parent / "bare.csv", "toy_reference", toy_runs, "bare")


def test_settings_of_one_stage_and_stages_of_an_earlier_run(run_of, toy_data, toy_runs):
    from safetensors.torch import load_file

    earlier = run_of("toy_three")
    given = {"tune.epochs": 1, "match": f"run:{earlier.path}", "prototypes.start": f"run:{earlier.path}",
             "prototypes.epochs": 3}  # fmt: skip
    run = fit(toy_data, "toy_three", toy_runs, "from_earlier", **given)
    assert epochs(run, "match") == []
    assert [len(epochs(run, stage)) for stage in ("prototypes", "tune")] == [3, 1]
    stages = run.metrics["stages"]
    assert stages["match"] == {"source": stages["prototypes"]["source"]}
    assert stages["match"]["source"]["run"] == earlier.path.name
    assert run.recipe.training_of("tune").epochs == 1
    weights = load_file(run.path / "weights.safetensors")
    assert weights.keys() == load_file(earlier.path / "weights.safetensors").keys()


def test_a_stage_that_is_taken_as_it_is_ends_as_it_was(run_of, toy_data, toy_runs):
    from safetensors.torch import load_file

    earlier = run_of("toy_bank")
    run = fit(toy_data, "toy_bank", toy_runs, "bank_again", bank=f"run:{earlier.path}")
    first, second = (load_file(one.path / "weights.safetensors") for one in (earlier, run))
    assert first.keys() == second.keys()
    assert all(first[name].equal(second[name]) for name in first)
    assert first["bank.kept"].shape[0] > 0
    other = fit(toy_data, "toy_bank", toy_runs, "bank_other", bank=f"run:{earlier.path}", centres=2)
    assert len(load_file(other.path / "weights.safetensors")["bank.centres"]) == len(first["bank.centres"])


def test_a_stage_of_another_run_that_is_not_there_or_does_not_fit_is_refused(run_of, toy_data, toy_runs):
    with pytest.raises(InputError, match="has no stage 'pretrain'"):
        fit(toy_data, "toy_pretext", toy_runs, "wrong", pretrain=f"run:{run_of('toy_three').path}")
    with pytest.raises(InputError, match="another network"):
        fit(
            toy_data,
            "toy_three",
            toy_runs,
            "wrong2",
            match=f"run:{run_of('toy_three').path}",
            backbone="test_vit",
        )


def test_what_an_update_does_not_name_is_held(run_of, toy_data, toy_runs):
    """Prototypes are trained on from the first run; the last training hardly moves anything."""
    from safetensors.torch import load_file

    earlier = run_of("toy_three")
    still = {"tune.epochs": 1, "tune.lr": 1e-30, "tune.weight_decay": 0}
    given = {"match": f"run:{earlier.path}", "prototypes.start": f"run:{earlier.path}", "prototypes.lr": 1.0}
    run = fit(toy_data, "toy_three", toy_runs, "held", **given, **still)
    before, after = (load_file(one.path / "weights.safetensors") for one in (earlier, run))
    name = "match.encoder.projection.weight"
    assert before[name].equal(after[name])
    assert not before["prototypes.scorer.prototypes"].allclose(after["prototypes.scorer.prototypes"])


def test_a_run_that_failed_after_a_stage_was_fitted_is_not_taken_for_an_empty_one(
    toy_data, toy_runs, monkeypatch
):
    def refuse(*args, **kwargs):
        raise InputError("stopped for the test", "go on")

    with monkeypatch.context() as patched:
        patched.setattr("modicum.engine.fit.evaluate_rows", refuse)
        with pytest.raises(InputError, match="stopped for the test"):
            fit(toy_data, "toy_bank", toy_runs, "failed")
    with pytest.raises(InputError, match="exists already"):
        fit(toy_data, "toy_bank", toy_runs, "failed", centres=2)
    run = fit(toy_data, "toy_bank", toy_runs, "failed", resume=True)
    assert run.folder.status["state"] == "finished"


def test_the_report_marks_the_weights_that_each_stage_kept(run_of):
    page = (run_of("toy_three").path / "report.html").read_text()
    stages = run_of("toy_three").metrics["stages"]
    assert page.count("Stage match") == page.count("Stage prototypes") == 1
    for stage in ("match", "prototypes"):
        assert f"after epoch {stages[stage]['selection']['epoch']}, kept" in page
    fitted = (run_of("toy_bank").path / "report.html").read_text()
    assert "nothing was learned by gradients" in fitted
    assert "Passes" in fitted
