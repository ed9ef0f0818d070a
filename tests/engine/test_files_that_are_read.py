"""No command writes over what it reads, or over a run or data set of somebody's: every command that writes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_runs import made_run
from PIL import Image

import modicum
from modicum.console.inspection import inspect_data
from modicum.data.phantoms import write_phantoms
from modicum.demo import run_demo
from modicum.engine.inputs.degraded_pairs import write_degraded_pairs
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.replaced_run import refuse_own_source
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError
from modicum.run import Run
from modicum.tasks.anomaly.task import Anomaly, AnomalyOptions
from modicum.tasks.anomaly.threshold import Threshold

READ = "is a file that is read"


def picture(path, shape=(32, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(1, 255, shape, dtype=np.uint8)).save(path)


def contents(folder):
    return {
        path: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Finished runs, as training leaves them: of classes, of masks, of pictures, and of maps."""
    runs = tmp_path_factory.mktemp("runs")
    for name, method in (("classes", "linear"), ("masks", "segment"), ("pictures", "reggan")):
        made_run(runs / name, method)
        (runs / name / "metrics.json").write_text("{}")
    abnormal = Anomaly(("well",), ("ill",), AnomalyOptions(), Threshold(), masks=False)
    made_run(runs / "maps", "reconstruction", abnormal, width=4, steps=2, code=4)
    place = runs / "classes" / "evaluations" / "test"
    place.mkdir(parents=True)
    (place / "predictions.csv").write_text("image\n")
    return runs


@pytest.fixture
def home(made, tmp_path, monkeypatch):
    """A copy of the runs, and data: a table with masks, pairs, prompts."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, tmp_path / "runs")
    for name in ("data/a.png", "data/b.png", "data/masks/a.png", "data/masks/b.png"):
        picture(tmp_path / name)
    (tmp_path / "data/labels.csv").write_text("image,label,mask\na.png,a,masks/a.png\nb.png,b,masks/b.png\n")
    (tmp_path / "prompts.csv").write_text("class,prompt\na,one\nb,two\n")
    return tmp_path


def run(name):
    return Run.open(f"runs/{name}")


def copied(source, place):
    def do(home):
        (home / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(home / source, home / place)

    return do


def predict(name, *given, **settings):
    return lambda: run(name).predict(*given, device="cpu", **settings)


def evaluate(data, out, **settings):
    def do():
        options = {"split": "all", "allow_outside": True, "workers": 0, "device": "cpu", "columns": {}}
        run("classes").evaluate(data, out=out, **options, **settings)

    return do


CASES = {
    "prompts that predictions would replace": (
        None,
        predict("classes", "data", "prompts.csv", prompts="prompts.csv"),
        READ,
    ),
    "a table that grades of quality would replace": (
        copied("data/labels.csv", "data/p_quality.csv"),
        predict("classes", "data/p_quality.csv", "data/p.csv", quality="run:runs/classes"),
        READ,
    ),
    "predictions of the run's own evaluation": (
        None,
        predict("classes", "data", "runs/classes/evaluations/test/predictions.csv"),
        READ,
    ),
    "outputs of another enhancer": (
        copied("data/a.png", "out/a_predicted.png"),
        predict("pictures", "data/a.png", "out", after="out"),
        READ,
    ),
    "maps in the folder of the images": (None, predict("maps", "data", "p.csv", maps="data"), "--maps 'data' is"),
    "an image that is called like its map": (
        copied("data/a.png", "maps/000000_000000_map.png"),
        predict("maps", "maps/000000_000000_map.png", "p.csv", maps="maps"),
        None,
    ),
    "an image that is called like the map of another": (
        copied("data/a.png", "maps/000000_a_distance.png"),
        predict("maps", ["data/a.png", "maps/000000_a_distance.png"], "p.csv", maps="maps"),
        "is an image that is read",
    ),
    "another run's metrics": (None, evaluate("data/labels.csv", "runs/masks"), "is a run folder"),
    "a table that the evaluation's would replace": (
        copied("data/labels.csv", "data/predictions.csv"),
        evaluate("data/predictions.csv", "data"),
        READ,
    ),
    "images among the examples of an evaluation": (
        copied("data/a.png", "old/examples/000.png"),
        evaluate("old/examples", "old"),
        READ,
    ),
    "prompts in the folder of the evaluation": (
        copied("prompts.csv", "e/predictions.csv"),
        evaluate("data/labels.csv", "e", prompts="e/predictions.csv"),
        READ,
    ),
    "a table of an earlier search": (
        copied("data/labels.csv", "found/retrieved.csv"),
        lambda: run("classes").retrieve("a sentence", "found/retrieved.csv", "found"),
        READ,
    ),
    "the report over predictions": (
        None,
        lambda: run("classes").report("runs/classes/evaluations/test/predictions.csv"),
        READ,
    ),
    "the card over another run's model": (
        None,
        lambda: run("classes").export("runs/masks/model.safetensors"),
        "is a file of run 'masks'",
    ),
    "the export over another run's weights": (
        None,
        lambda: run("classes").export("runs/masks/weights.safetensors"),
        "is a file of run 'masks'",
    ),
    "the card over a file of something else": (
        lambda home: (home / "labels.json").write_text('{"training": []}'),
        lambda: run("classes").export("labels.safetensors"),
        "is a file of something else",
    ),
    "a file of boxes": (
        lambda home: (home / "boxes.json").write_text('{"a.png": [[1, 1, 5, 5]]}'),
        lambda: inspect_data("data", {"columns": {"boxes": "boxes.json"}}, Path("boxes.json"), 0),
        READ,
    ),
    "masks that the facts would replace": (
        None,
        lambda: inspect_data("data", {}, Path("data/masks/a.png"), 0),
        READ,
    ),
    "the table of pairs": (
        lambda home: write_degraded_pairs("data", "pairs"),
        lambda: write_degraded_pairs("pairs/manifest.csv", "pairs"),
        READ,
    ),
    "the clean images of pairs": (
        lambda home: write_degraded_pairs("data", "pairs"),
        lambda: write_degraded_pairs("pairs/clean", "pairs"),
        READ,
    ),
    "masks beside the photographs": (
        lambda home: shutil.move(home / "data/masks", home / "data/mask"),
        lambda: write_degraded_pairs(renamed_masks(), "data"),
        READ,
    ),
    "another data set than phantoms": (
        copied("data/labels.csv", "data/manifest.csv"),
        lambda: write_phantoms("fundus", "data", 1, 32),
        "that phantoms did not write",
    ),
    "a run of one's own called demo": (
        lambda home: shutil.copytree(home / "runs/classes", home / "runs/demo"),
        lambda: run_demo(Path("runs")),
        "is not the demo's",
    ),
    "a comparison in the folder of the data": (
        None,
        lambda: modicum.compare("data", name="data", runs="."),
        "is a folder that is read",
    ),
    "a table that a comparison's would replace": (
        copied("data/labels.csv", "data/table.csv"),
        lambda: modicum.compare("data/table.csv", name="data", runs="."),
        READ,
    ),
    "a run in the folder of the data": (
        None,
        lambda: modicum.fit("data", "linear", name="data", runs=".", weights="random"),
        "is the folder of the data",
    ),
    "a run over a table": (
        copied("data/labels.csv", "data/manifest.csv"),
        lambda: modicum.fit("data/manifest.csv", "linear", name="data", runs=".", weights="random"),
        "holds 'manifest.csv'",
    ),
}  # fmt: skip


def renamed_masks():
    table = pd.read_csv("data/labels.csv").assign(mask=["mask/a.png", "mask/b.png"])
    table.to_csv("data/labels.csv", index=False)
    return "data/labels.csv"


@pytest.mark.parametrize("case", CASES)
def test_what_is_read_stays_as_it_is(case, home):
    prepare, command, said = CASES[case]
    if prepare is not None:
        prepare(home)
    before = contents(home)
    if said is None:  # there is nothing to refuse
        command()
        return
    with pytest.raises(InputError, match=said):
        command()
    after = contents(home)
    assert {path: after.get(path) for path in before if path.name != "labels.csv"} == {
        path: content for path, content in before.items() if path.name != "labels.csv"
    }


def test_maps_of_an_earlier_prediction_are_no_images(home):
    for _ in range(2):
        assert run("maps").predict("data/masks", "p.csv", maps="data/masks/maps", device="cpu").predicted == 2


def test_what_was_written_before_is_written_again(home):
    for _ in range(2):
        assert write_degraded_pairs("data/labels.csv", "data").name == "manifest.csv"
        assert run("classes").export("runs/other.safetensors").is_file()
        assert run("classes").export("runs/masks/export.safetensors").is_file()
        assert write_phantoms("mr", "heads", 1, 32).is_file()
    assert json.loads(Path("runs/other.json").read_text())["method"] == "linear"


@pytest.mark.parametrize(
    "setting",
    [{"quality": "run:runs/classes"}, {"columns": {"boxes": "runs/classes/boxes.json"}}, {"split_lists": "runs/classes"},
     {"data": "runs/classes"}, {"weights": "run:runs/classes"}],
)  # fmt: skip
def test_a_run_that_is_read_in_any_way_is_not_replaced(setting, home):
    Path("runs/classes/boxes.json").write_text("{}")
    data = setting.pop("data", "data/labels.csv")
    recipe = make_recipe(data, "full", setting)
    with pytest.raises(InputError, match="--overwrite would replace run 'classes'"):
        refuse_own_source(recipe, RunFolder(Path("runs/classes")))
    refuse_own_source(recipe, RunFolder(Path("runs/masks")))


def test_a_run_may_be_called_like_its_backbone(home, monkeypatch):
    monkeypatch.chdir(home / "runs")
    recipe = make_recipe("../data/labels.csv", "full", {"backbone": "test_vit", "classes": ["classes", "b"]})
    for name in ("test_vit", "classes", "full"):
        refuse_own_source(recipe, RunFolder(Path(name)))
