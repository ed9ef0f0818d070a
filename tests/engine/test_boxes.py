"""Boxes from files to batches: in the stored pixels of their row, in training and in validation."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import nn

import modicum
from modicum.engine.inputs.batches import BatchPlan
from modicum.engine.inputs.preparation import prepare
from modicum.engine.inputs.stage_inputs import StageInputs
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError
from modicum.methods import Method, MethodConfig
from modicum.methods.supervised import SupervisedStage
from modicum.tasks import Classification
from warm_process import start

TASK = Classification("multi-class", ["0", "1"])
SIZE = (60, 100)  # height and width of the files
TO = (30, 40)
ROWS = 16


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Sixteen noisy grey images; row ``r`` has ``r % 3`` white boxes, whose class is its number."""
    folder = tmp_path_factory.mktemp("boxes")
    rng = np.random.default_rng(0)
    rows, lines = [], ["image,x,y,w,h,class,score"]
    for row in range(ROWS):
        picture = rng.integers(0, 60, SIZE, np.uint8)
        for number in range(row % 3):
            x, y = 10 + 40 * number, 5 + 2 * row
            picture[y : y + 12, x : x + 20] = 250
            lines.append(f"i{row},{x},{y},20,12,c{number},0.{row}{number + 1}")
        Image.fromarray(picture).save(folder / f"i{row}.png")
        split = "train" if row < 8 else "val" if row < 12 else "test"
        rows.append({"image": f"i{row}.png", "label": row % 2, "split": split})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    (folder / "boxes.csv").write_text("\n".join(lines) + "\n")
    return folder


def recipe_of(data, **settings):
    given = {
        "backbone": "test_resnet", "weights": "random", "image_size": TO, "device": "cpu",
        "boxes": str(data / "boxes.csv"), **settings,
    }  # fmt: skip
    return make_recipe(data / "labels.csv", "full", given)


def prepared(data, folder, **settings):
    return prepare(recipe_of(data, **settings), RunFolder(folder / "run"), folder / "stores", 0)


class BoxStage(SupervisedStage):
    """Scores images by the mean grey inside their boxes."""

    name = "tune"
    reads = ("image", "boxes")

    def __init__(self):
        super().__init__(TASK.loss({}, {}))
        self.head = nn.Linear(1, 2)
        self.seen = []

    def parameter_groups(self):
        return list(self.head.parameters())

    def forward(self, batch):
        self.seen.append({name: value.clone() for name, value in batch.items()})
        return self.head(batch["image"].mean((1, 2, 3))[:, None])


def inputs_of(data, folder, stage, **settings):
    recipe, found = recipe_of(data, **settings), prepared(data, folder, **settings)
    labels = {"label": found.manifest.table["label"].to_numpy(np.int64)}
    return StageInputs(recipe, found, TASK, labels, folder / "stores", torch.device("cpu")).of(stage)


def test_a_batch_has_the_boxes_of_its_rows_around_what_is_white(data, tmp_path):
    made = inputs_of(data, tmp_path, BoxStage())
    rows = np.array([5, 0, 1, 11])
    batch = made.on_device(made.batches(BatchPlan([rows]))[0])
    assert batch["boxes"].shape == (4, 2, 4)
    assert (batch["boxes"].dtype, batch["box_classes"].dtype) == (torch.float32, torch.int64)
    assert batch["box_classes"].tolist() == [[0, 1], [-1, -1], [0, -1], [0, 1]]
    assert "box_scores" not in batch  # only for who asks
    assert batch["boxes"].isnan().any(2).tolist() == (batch["box_classes"] < 0).tolist()
    white = batch["image"].mean(1) > 0.6
    for index in range(4):
        inside = torch.zeros(TO, dtype=torch.bool)
        for x0, y0, x1, y1 in batch["boxes"][index][batch["box_classes"][index] >= 0].round().int().tolist():
            inside[y0:y1, x0:x1] = True
        assert (white[index] & ~inside).sum() == 0
        assert white[index].sum() >= 0.8 * inside.sum()


def test_a_stage_may_ask_for_scores(data, tmp_path):
    stage = BoxStage()
    stage.reads = ("boxes", "box_scores")
    made = inputs_of(data, tmp_path, stage)
    scores = made.batches(BatchPlan([np.array([5, 1])]))[0]["box_scores"]
    np.testing.assert_allclose(scores.numpy(), [[0.51, 0.52], [0.11, np.nan]])


def test_a_stage_that_reads_no_boxes_gets_none(data, tmp_path):
    stage = BoxStage()
    stage.reads = ("image",)
    assert set(inputs_of(data, tmp_path, stage).stored) == {"image"}


def test_a_stage_that_reads_boxes_needs_some(data, tmp_path):
    with pytest.raises(
        InputError, match=r"stage 'tune' learns from boxes, and the data have none; .*--boxes"
    ):
        inputs_of(data, tmp_path, BoxStage(), boxes="")
    with pytest.raises(InputError, match=r"stage 'tune' learns from boxes, and no training image has one"):
        inputs_of(data, tmp_path, BoxStage(), boxes={"i9": [[1, 2, 30, 40]]})
    stage = BoxStage()
    stage.reads = ("boxes", "box_scores")
    with pytest.raises(InputError, match=r"stage 'tune' learns from the scores of boxes, and they have none"):
        inputs_of(data, tmp_path, stage, boxes={"i1": [[1, 2, 30, 40]]})


def test_what_was_found_is_said_and_kept(data, tmp_path, capfd):
    found = prepared(data, tmp_path)
    assert "15 boxes in 10 images of 16 (c0 10, c1 5)" in found.notes
    assert "15 boxes in 10 images of 16 (c0 10, c1 5)" in capfd.readouterr().err
    assert found.boxes.class_names == ("c0", "c1")
    assert found.boxes.counts.tolist() == [row % 3 for row in range(ROWS)]
    # The run's manifest holds what was learned from, in pixels of the file.
    kept = json.loads(found.with_digests().table["boxes"].iloc[2])
    assert kept["boxes"] == [[10, 9, 30, 21], [50, 9, 70, 21]]
    assert (kept["units"], kept["classes"]) == ("pixels", ["c0", "c1"])


def test_boxes_that_are_small_or_cut_away_after_resizing_are_counted(data, tmp_path):
    boxes = {"i3": [[0, 0, 4, 4], [50, 20, 51.5, 40], [10, 10, 30, 50], [40, 20, 60, 40]]}
    found = prepared(data, tmp_path, boxes=boxes, **{"image.resize": "crop"})
    # 60 x 100 is cut to the 80 columns from 10 on (4 : 3), and halved: 1.5 columns become 0.75.
    assert found.boxes.of(np.array([3]))["boxes"].tolist() == [[[0, 5, 10, 25], [15, 10, 25, 20]]]
    assert "left out: 1 box in what is cut off the image (crop or resize)" in found.notes
    assert any("left out: 1 box with a side shorter than 1 of" in note for note in found.notes)
    boxes["i3"][2][0] = 0
    options = {"min_side": 0.5}
    found = prepared(data, tmp_path, boxes=boxes, box_options=options, **{"image.resize": "crop"})
    assert found.boxes.of(np.array([3]))["boxes"][0].tolist()[:2] == [[20, 10, 20.75, 20], [0, 5, 10, 25]]
    assert "1 box cut where the image is cut (crop or resize)" in found.notes


def test_a_box_outside_stops_before_training_and_can_be_left_out(data, tmp_path):
    lines = (data / "boxes.csv").read_text()
    (tmp_path / "boxes.csv").write_text(lines + "i1,300,5,10,10,c0,0.5\n")
    given = {"boxes": str(tmp_path / "boxes.csv")}
    with pytest.raises(
        InputError, match=r"boxes.csv row 17: the box x0=300, .* lies outside its image of 100 x 60"
    ):
        prepared(data, tmp_path, **given)
    found = prepared(data, tmp_path, box_options={"outside": "drop"}, **given)
    assert found.boxes.counts.sum() == 15
    assert any(note.startswith("left out: 1 box outside the image") for note in found.notes)


def test_a_store_of_an_earlier_version_is_asked_where_its_images_lie(data, tmp_path):
    settings = {"image.resize": "pad"}
    before = prepared(data, tmp_path, **settings)
    facts = before.store.folder / "facts.parquet"
    pq.write_table(pq.read_table(facts).drop_columns(["orientation", "decoded", "cropped"]), facts)
    after = prepared(data, tmp_path, **settings)
    assert after.store.facts[0].decoded is None
    np.testing.assert_array_equal(after.boxes.xyxy, before.boxes.xyxy)


def test_boxes_of_images_that_are_set_aside_go_with_them(data, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    for path in data.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "i4.png").write_bytes(b"nothing")
    found = prepared(folder, tmp_path, skip_broken=True)
    assert len(found.manifest) == ROWS - 1
    images = found.manifest.table["image"].str.extract(r"i(\d+)")[0].astype(int)
    assert found.boxes.counts.tolist() == [row % 3 for row in images]


# A whole run ------------------------------------------------------------------------------------------------------


class OneBoxStage(Method):
    name, summary, tasks, Config = "boxed", "learns from boxes", ("classification",), MethodConfig

    def __init__(self, config, context):
        super().__init__(config, context)
        self._stage = BoxStage()
        OneBoxStage.last = self._stage

    def stages(self):
        return [self._stage]

    def predictor(self):
        return Grey(self._stage.head)


class Grey(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, images):
        return self.head(images.mean((1, 2, 3))[:, None])


def test_a_run_trains_and_validates_with_boxes(data, tmp_path, monkeypatch):
    for place in ("modicum.engine.recipe.new_recipe", "modicum.engine.model"):
        monkeypatch.setattr(f"{place}.method_class", lambda name: OneBoxStage)
    run = modicum.fit(
        data / "labels.csv", "boxed", name="r", runs=tmp_path, boxes=str(data / "boxes.csv"), weights="random",
        backbone="test_resnet", image_size=TO, epochs=1, batch_size=4, resamples=0, augment="none", leaks="allow",
        workers=0, device="cpu", write_report=False,
    )  # fmt: skip
    seen = OneBoxStage.last.seen
    rows = {int(row) for batch in seen for row in batch["row"] if "boxes" in batch}
    assert rows == set(range(ROWS))  # of training, validation and test
    assert all({"boxes", "box_classes"} <= set(batch) for batch in seen)
    described = json.loads((run.path / "fingerprint.json").read_text())
    assert described["boxes"]["count"] == 15
    assert described["boxes"]["classes"] == {"c0": 10, "c1": 5}
    assert described["warnings"] == [w for w in described["warnings"] if "box" not in w["text"]]
    # Other data need no boxes to be evaluated on.
    (data / "other.csv").write_text("image,label\ni14.png,0\ni15.png,1\n")
    assert run.evaluate(data / "other.csv", workers=0)["split"] in ("all", None, "")


def test_inspect_counts_boxes_and_says_what_training_would_refuse(data, tmp_path):
    out = tmp_path / "f.json"

    def inspect(*options):
        done = start("-m", "modicum", "inspect", data / "labels.csv", "--out", out, *options).wait()
        assert done.returncode == 0, done.stderr
        return " ".join(done.stdout.split()), json.loads(out.read_text())

    text, found = inspect("--boxes", str(data / "boxes.csv"))
    assert "15 in 10 of 16 images: c0 10, c1 5" in text
    assert found["boxes"]["images"] == 10
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({"i1": [[300, 1, 310, 20]], "i2": [[1, 2, 30, 40]]}))
    text, found = inspect("--boxes", str(wrong))
    assert found["boxes"]["problem"].startswith("wrong.json: image 'i1' box 1: the box x0=300")
    assert any(w["stops"] and w["text"] == found["boxes"]["problem"] for w in found["warnings"])
    text, found = inspect("--boxes", str(wrong), "--box-options", "outside=drop")
    assert found["boxes"]["count"] == 1
    assert "left out: 1 box outside the image" in text
