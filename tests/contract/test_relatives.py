"""Fellow eyes and partners: who they are, that a batch brings the right ones, and that nothing else is read."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.data.manifest import Manifest
from modicum.engine.inputs.batches import BatchPlan, StageData, Stored, in_batches
from modicum.engine.inputs.stage_inputs import StageInputs
from modicum.engine.known_rows import rows_known
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.errors import InputError
from modicum.methods import Rows, TrainStage
from modicum.tasks import Classification

RECIPE = make_recipe("made", "full", {})
TASK = Classification("multi-class", ["a", "b", "c"])
EYES = st.lists(
    st.tuples(st.sampled_from(["p", "q", "r", None]), st.sampled_from(["L", "R", None])), min_size=1, max_size=12
)  # fmt: skip


def rows_of(eyes):
    names = [str(number) for number in range(len(eyes))]
    return Rows(names, [patient for patient, _ in eyes], [eye for _, eye in eyes], [None] * len(eyes))


@given(EYES)
def test_a_fellow_is_the_other_eye_of_the_same_patient_and_there_is_one_wherever_there_can_be(eyes):
    rows, fellows = rows_of(eyes), rows_of(eyes).fellow()
    for index, fellow in enumerate(fellows):
        others = [
            other
            for other in range(len(eyes))
            if rows.patients[index] is not None
            and rows.patients[other] == rows.patients[index]
            and {rows.eyes[other], rows.eyes[index]} == {"L", "R"}
        ]
        assert fellow == (others[0] if others else -1)


@given(EYES, st.randoms())
def test_fellows_do_not_depend_on_other_patients_nor_on_the_order_of_pairs(eyes, random):
    rows = rows_of([eye for index, eye in enumerate(eyes) if eye not in eyes[:index]])  # one image an eye
    order = list(range(len(rows)))
    random.shuffle(order)
    moved = rows.take(np.array(order))
    for place, fellow in enumerate(moved.fellow()):
        expected = rows.fellow()[order[place]]
        assert (order[fellow] if fellow >= 0 else -1) == expected


def reader(asked=None):
    """Records that say their own number; what is asked for is noted."""

    def read(records):
        if asked is not None:
            asked.update(records.tolist())
        return np.asarray(records, dtype=np.float32)[:, None]

    return read


@settings(deadline=None)
@given(st.data())
def test_a_plan_shows_each_row_with_its_own_records_targets_and_views(data):
    count = data.draw(st.integers(1, 9))
    numbers = st.lists(st.integers(0, count - 1), min_size=1, max_size=5)
    batches = [np.array(rows) for rows in data.draw(st.lists(numbers, min_size=1, max_size=3))]
    others = [np.array(data.draw(st.lists(st.integers(0, count - 1), min_size=len(rows), max_size=len(rows))))
              for rows in batches]  # fmt: skip
    places = np.arange(2 * count).reshape(2, count)
    views = np.array(data.draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)))
    stored = {name: Stored(reader(), places) for name in ("features", "partner_features", "fellow_features")}
    made = StageData(
        stored, {"label": np.arange(count) * 10}, np.arange(count), np.arange(0), np.zeros(count, np.int64)
    )
    plan = BatchPlan(batches, {"fellow_": batches, "partner_": others}, views)
    skipped = data.draw(st.integers(0, len(batches)))
    rest = made.batches(plan.after(skipped))
    assert len(rest) == len(batches) - skipped
    for number, (rows, partners) in enumerate(zip(batches[skipped:], others[skipped:], strict=True)):
        batch = rest[number]
        for prefix, shown in (("", rows), ("fellow_", rows), ("partner_", partners)):
            assert batch[f"{prefix}row"].tolist() == shown.tolist()
            assert batch[f"{prefix}label"].tolist() == (10 * shown).tolist()
            assert batch[f"{prefix}view"].tolist() == views[shown].tolist()
            assert batch[f"{prefix}features"].flatten().tolist() == (views[shown] * count + shown).tolist()
        assert batch["fellow_missing"].all()


class Part(TrainStage):
    """Learns from some of the rows, with fellows and partners."""

    name, scored = "tune", False

    def __init__(self, mask, reads=("image", "fellow_image", "partner_image"), sampling="balanced"):
        super().__init__()
        self.mask, self.reads, self.partner_sampling = mask, reads, sampling

    def updates(self):
        return []

    def learns_from(self, targets):
        return self.mask


def inputs(labels, splits, asked=None, **facts):
    table = pd.DataFrame({"image": [f"{n}.png" for n in range(len(labels))], "split": splits, **facts})
    manifest = Manifest(table, Path("made"), "made", "made")
    positions = np.arange(len(table))
    prepared = SimpleNamespace(
        manifest=manifest,
        images=(reader(asked), positions),
        auxiliary_images={},
        boxes=None,
        kinds={},
        rows=lambda split: np.flatnonzero(manifest.table["split"] == split),
    )
    return StageInputs(RECIPE, prepared, TASK, {"label": np.array(labels)}, None, torch.device("cpu"))


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_a_stage_reads_training_rows_that_it_learns_from_and_no_others(data):
    count = data.draw(st.integers(2, 14))
    rows = st.lists(st.sampled_from(["p", "q", "r", "s"]), min_size=count, max_size=count)
    splits = data.draw(st.lists(st.sampled_from(["train", "val", "test"]), min_size=count, max_size=count))
    splits[0] = "train"
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    mask[0] = True
    labels = data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    eyes = data.draw(st.lists(st.sampled_from(["L", "R"]), min_size=count, max_size=count))
    asked: set[int] = set()
    sampling = data.draw(st.sampled_from(["natural", "balanced", "progressive", "round_robin"]))
    made = inputs(labels, splits, asked, patient=data.draw(rows), eye=eyes).of(Part(mask, sampling=sampling))
    allowed = {row for row in range(count) if splits[row] == "train" and mask[row]}
    assert set(made.train_rows.tolist()) == allowed
    drawn = np.array(data.draw(st.lists(st.sampled_from(sorted(allowed)), min_size=1, max_size=6)))
    batches = in_batches(drawn, 3)
    plan = made.training_plan(batches, batches, 0, "tune", 0)
    for number in range(len(plan.rows)):
        made.batches(plan)[number]
    assert asked <= allowed
    asked.clear()
    for batch in made.in_order(made.val_rows, 4):
        assert set(batch["partner_row"].tolist()) <= allowed
    assert asked <= allowed | {row for row in range(count) if splits[row] == "val" and mask[row]}


def test_a_fellow_is_of_the_same_split_in_every_split():
    splits = ["train", "train", "val", "val", "test", "test", "train", "test"]
    patients, eyes = ["a", "a", "b", "b", "c", "c", "d", "d"], ["L", "R"] * 4
    made = inputs([0] * 8, splits, patient=patients, eye=eyes).of(Part(None))
    assert made.fellows.tolist() == [1, 0, 3, 2, 5, 4, 6, 7]  # d's eyes are in two splits
    held = inputs([0] * 8, splits, patient=patients, eye=eyes).of(Part(np.arange(8) != 1))
    assert held.fellows.tolist()[0] == 0


def test_a_row_has_the_same_partner_in_validation_wherever_it_stands():
    made = inputs([0, 0, 0, 1, 0, 1], ["train"] * 4 + ["val"] * 2).of(Part(None))
    whole = made.in_order(np.array([4, 5]), 2)[0]["partner_row"].tolist()
    assert [made.in_order(np.array([row]), 2)[0]["partner_row"].item() for row in (4, 5)] == whole


@pytest.mark.parametrize(
    "mask", [np.array([0, 1, 1]), [True, False, True], np.array([True]), np.array([0.0] * 3)]
)
def test_what_is_no_mask_is_refused_because_it_would_choose_other_rows(mask):
    with pytest.raises(InputError, match=r"learns_from gave .*return a numpy array of bool"):
        inputs([0, 1, 2], ["train"] * 3).of(Part(mask))


def test_rows_of_a_manifest_are_known_by_name_patient_and_eye():
    table = pd.DataFrame({"image": ["a", "b"], "patient": ["p", np.nan], "eye": ["L", ""]})
    rows = rows_known(SimpleNamespace(table=table))
    assert (list(rows.patients), list(rows.eyes), list(rows.domains)) == (
        ["p", None],
        ["L", None],
        [None, None],
    )
