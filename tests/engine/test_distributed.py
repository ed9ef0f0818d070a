"""Two processes on the CPU against one process, from one launch (each costs seconds)."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_stages import Perceptron, reader_of, stage_data, trainer

from modicum.data.phantoms import write_fundus_dataset
from modicum.engine.fit import evaluate_rows
from modicum.engine.inputs.preparation import prepare
from modicum.engine.model import load_method
from modicum.engine.run_folder import RunFolder
from warm_process import launch

HERE = Path(__file__).parent

SCRIPT = """
import faulthandler, json, os, sys
faulthandler.dump_traceback_later(100, exit=True)  # a process that waits for ever ends, and says where it stood
from pathlib import Path
import modicum, torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
data, out = sys.argv[2], Path(sys.argv[3])
rank = int(os.environ["RANK"])
wrote = []

def watch(event, arguments):  # an audit hook sees every file that this process opens for writing or renames
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        wrote.append(str(arguments[0]))
    elif event in ("os.rename", "os.mkdir"):
        wrote.append(str(arguments[-1] if event == "os.rename" else arguments[0]))

sys.addaudithook(watch)
from small_stages import Perceptron, reader_of, same, stage_data, trainer, weights_of
from test_updates import Adversaries
from modicum.distributed import gathered

features, stage = stage_data(val=9), Perceptron()
result = trainer(stage, out / "features", features, batch_size=2, epochs=3, clip_norm=0.3, devices=2,
                 checkpoint_steps=6).run()
batches = gathered(reader_of(features).training(features))
agree = same(*gathered(weights_of(stage)))

adversaries = Adversaries()
trainer(adversaries, out / "adversaries", stage_data(val=0), batch_size=2, devices=2, monitor="auroc").run()
agree = agree and same(*gathered(weights_of(adversaries)))

run = modicum.fit(
    data, "full", name="images", runs=out, backbone="test_resnet", weights="random", image_size=32, epochs=2,
    batch_size=4, lr=1e-3, leaks="allow", resamples=0, workers=0, device="cpu", devices=2, monitor="loss",
    overwrite=True,
)
state = run.folder.status["state"]
folders = ("features", "adversaries", "images")
own = [path for path in wrote if any(str(path).startswith(str(out / name) + os.sep) for name in folders)]
facts = {"batches": batches, "agree": agree, "state": state, "wrote": own, "images": result.time["images_per_second"]
         * result.time["train_seconds"]}
(out / f"rank{rank}.json").write_text(json.dumps(facts))
"""


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    out = tmp_path_factory.mktemp("two")
    fractions = {"train": 0.6, "val": 0.2, "test": 0.2}
    data = write_fundus_dataset(out / "data", 20, 40, seed=3, fractions=fractions, masks=False)
    for done in launch(2, "-c", SCRIPT, HERE, data, out, timeout=120):
        assert done.returncode == 0, done.stderr[-3000:]
    return out, [json.loads((out / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def test_both_processes_finish_and_agree(launched):
    _, facts = launched
    assert [one["state"] for one in facts] == ["finished", "finished"]
    assert all(one["agree"] for one in facts)


def test_each_step_shows_the_processes_disjoint_parts_of_one_larger_batch(launched, tmp_path):
    _, facts = launched
    first, second = facts[0]["batches"]
    alone = Perceptron()
    run = trainer(alone, tmp_path, batch_size=4, epochs=3, clip_norm=0.3)
    run.run()
    whole = reader_of(run.data).training(run.data)
    assert len(first) == len(second) == len(whole) == 18
    for one, other, both in zip(first, second, whole, strict=True):
        assert not set(one) & set(other)
        assert set(one) | set(other) == set(both)
    assert facts[0]["images"] == pytest.approx(72)


def test_two_processes_learn_what_one_learns_with_batches_twice_as_large(launched, tmp_path):
    out, _ = launched
    stage = Perceptron()
    settings = {"batch_size": 4, "epochs": 3, "clip_norm": 0.3, "checkpoint_steps": 6}
    trainer(stage, tmp_path, stage_data(val=9), **settings).run()
    folders = sorted((out / "features" / "checkpoints").glob("tune-000*"))
    other = sorted((tmp_path / "checkpoints").glob("tune-000*"))
    assert [folder.name for folder in folders] == [folder.name for folder in other]
    for one, two in zip(folders, other, strict=True):
        ours, theirs = (load_file(folder / "learned.safetensors") for folder in (one, two))
        for name, value in ours.items():
            torch.testing.assert_close(value, theirs[name], atol=1e-5, rtol=0)
    ours, theirs = (
        [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        for folder in (out / "features", tmp_path)
    )
    for one, two in zip(ours, theirs, strict=True):
        if one["kind"] == "epoch":
            assert one["val"] == pytest.approx(two["val"], abs=1e-5)
            assert one["train"]["loss"] == pytest.approx(two["train"]["loss"], abs=1e-5)


def test_validation_is_that_of_the_saved_weights_in_one_process(launched, tmp_path):
    """With batch normalisation too, whose running statistics differ between the processes."""
    out, _ = launched
    folder = RunFolder(out / "images")
    recipe, task, method = load_method(folder)
    selection = json.loads(folder.metrics.read_text())["selection"]
    prepared = prepare(recipe, RunFolder(tmp_path), out / ".stores", 0)
    rows, device = prepared.rows("val"), torch.device("cpu")
    content = evaluate_rows(
        method.predictor(), task, recipe, prepared.manifest, prepared.store, prepared.positions, rows, device,
        tmp_path, "val", "val",
    )  # fmt: skip
    records = [json.loads(line) for line in folder.history.read_text().splitlines()]
    val = next(r["val"] for r in records if r["kind"] == "epoch" and r["epoch"] == selection["epoch"])
    assert selection["value"] == val["loss"]
    for name, value in val.items():
        if name != "loss" and value is not None:
            assert content["metrics"][name]["value"] == pytest.approx(value, abs=1e-6), name
    assert content["metrics"]["log_loss"]["value"] == pytest.approx(val["loss"], rel=1e-4)


def test_only_the_first_process_writes(launched):
    _, facts = launched
    assert facts[0]["wrote"]
    assert facts[1]["wrote"] == []
