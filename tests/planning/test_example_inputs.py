"""Batches that nobody loads against batches that the loader gives: names, shapes and types."""

import numpy as np
import pytest
import torch
from task_data import CASES, recipe_of

from modicum.batch import kind_of
from modicum.engine.inputs.auxiliary_images import with_auxiliary_images
from modicum.engine.inputs.batches import BatchPlan
from modicum.engine.inputs.preparation import prepare, store_settings, task_for
from modicum.engine.inputs.stage_inputs import StageInputs
from modicum.engine.model import further_images, make_method
from modicum.engine.run_folder import RunFolder
from modicum.planning.data_facts import facts_of
from modicum.planning.example_inputs import ExampleInputs
from modicum.planning.known_values import KnownValues
from modicum.tasks import task_class

GIVEN = {
    **{name: CASES[name] for name in ("segment", "aadg", "reggan nc+r", "reggan p, colour", "mae", "mrm")},
    "full": ("fundus", "full", {"backbone": "test_vit", "image_size": 32, "batch_size": 4}),
    "slices": ("pictures", "reggan", {**CASES["reggan nc+r"][2], "resize": "pad", "batch_size": 3}),
}


def loaded(recipe, folder):
    """The first batch of a recipe's first stage that learns, as its loader gives it."""
    stores = folder / "stores"
    prepared = prepare(recipe, RunFolder(folder / "run"), stores, 0)
    task = task_for(prepared.manifest, recipe)
    prepared = with_auxiliary_images(prepared, task, recipe, stores, 0, None, further_images(recipe))
    targets = task.targets(prepared.manifest)
    rows = prepared.rows("train")
    method = make_method(recipe, task, {name: values[rows] for name, values in targets.items()})
    stage = method.stages()[0]
    data = StageInputs(recipe, prepared, task, targets, stores, torch.device("cpu")).of(stage)
    return stage, data, data.batches(BatchPlan([rows[: recipe.training.batch_size]]))[0]


def described(batch):
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in batch.items()}


@pytest.mark.parametrize("case", GIVEN)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_an_example_has_names_shapes_and_types_of_a_loaded_batch(case, device, task_data, tmp_path):
    kind, method, settings = GIVEN[case]
    recipe = recipe_of(task_data(kind), method, settings)
    stage, data, batch = loaded(recipe, tmp_path)
    inputs = ExampleInputs(recipe, facts_of(recipe), device, KnownValues())
    example = inputs.of(stage, recipe.training.batch_size)
    assert described(example) == described(batch)
    assert {name: kind_of(name, inputs.kinds) for name in batch} == {
        name: kind_of(name, data.kinds) for name in batch
    }


@pytest.mark.parametrize("case", GIVEN)
def test_a_task_alone_makes_the_same_but_for_what_the_table_need_not_have(case, task_data, tmp_path):
    kind, method, settings = GIVEN[case]
    recipe = recipe_of(task_data(kind), method, settings)
    task, count = facts_of(recipe).task, recipe.training.batch_size
    stored = store_settings(recipe.image, recipe.task, recipe.options)
    example = task.example_batch(count, (stored.height, stored.width))
    batch = loaded(recipe, tmp_path)[2]
    assert described(example) == {name: value for name, value in described(batch).items() if name != "fov"}
    assert not any(example[name].any() for name in example if example[name].ndim == 4)


@pytest.mark.parametrize("name", ["classification", "segmentation", "image-to-image", "image-text"])
def test_a_task_without_data_is_one_that_a_run_folder_can_keep(name):
    kind = task_class(name)
    task = kind.from_options(kind.Options().model_dump())
    again = kind.from_dict(task.to_dict())
    assert again.to_dict() == task.to_dict()
    assert {n: v.shape for n, v in task.example_targets(6).items()} == {
        n: v.shape for n, v in again.example_targets(6).items()
    }
    if task.example_targets(1):
        assert len(task.sampling_labels(task.example_targets(6))) == 6


def test_targets_of_made_up_rows_show_every_class():
    task = task_class("classification").from_options({}, num_classes=4)
    assert np.unique(task.example_targets(9)["label"]).tolist() == [0, 1, 2, 3]
    assert task.num_outputs == 4
