"""Predicted memory of every task's methods, to the byte of the engine's own account of a real first step on a CPU."""

import dataclasses

import numpy as np
import pytest
from task_data import CASES, COMMON, recipe_of

import modicum
from modicum.engine.recipe.settings import Recipe
from modicum.errors import InputError
from modicum.planning.batch_size import RESERVE_BYTES, BatchSearch, largest_batch
from modicum.planning.data_facts import facts_of
from modicum.planning.memory import predict, predicted


def fitted(data, runs, method, settings):
    given = {**COMMON, "epochs": 1, **settings}
    return modicum.fit(data, method, runs=runs, stores=runs / "stores", write_report=False, **given)


@pytest.mark.parametrize("case", CASES)
def test_prediction_equals_the_account_of_a_real_first_step_to_the_byte(case, task_data, tmp_path):
    kind, method, settings = CASES[case]
    run = fitted(task_data(kind), tmp_path, method, settings)
    recipe = Recipe.read(run.folder.recipe)
    found = predicted(recipe, facts_of(recipe), "cpu")
    memory = run.metrics["memory"]
    assert found.saved_bytes == memory["activations_bytes"]
    assert found.accounted_bytes == memory["peak_bytes"]


@pytest.mark.parametrize("accumulate", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_averages_and_accumulation_too(accumulate, task_data, tmp_path):
    _, method, settings = CASES["reggan c+r"]
    run = fitted(
        task_data("pictures"), tmp_path, method, {**settings, "ema_decay": 0.9, "accumulate": accumulate}
    )
    recipe = Recipe.read(run.folder.recipe)
    assert predicted(recipe, facts_of(recipe), "cpu").accounted_bytes == run.metrics["memory"]["peak_bytes"]


# --- without data ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [name for name in CASES if name not in {"aadg", "mrm"}])
@pytest.mark.slow
def test_what_nobody_has_seen_takes_as_much_where_nothing_else_is_assumed(case, task_data):
    kind, method, settings = CASES[case]
    recipe = recipe_of(task_data(kind), method, settings)
    given = {**settings, **({} if "colour" in case else {"channels": 3} if method == "reggan" else {})}
    backbone, size, batch = (
        given.pop("backbone", "resnet18"),
        given.pop("image_size"),
        given.pop("batch_size"),
    )
    given.pop("report", None)
    alone = predict(method, backbone, size, batch, device="cpu", settings=given)
    known = predicted(recipe, facts_of(recipe), "cpu")
    assert (alone.saved_bytes, alone.accounted_bytes) == (known.saved_bytes, known.accounted_bytes)


def test_classes_of_masks_cost_what_their_channels_cost():
    one, many = (
        predict(
            "segment", "test_resnet", 64, 2, num_classes=number, device="cpu", settings={"decoder_width": 64}
        )
        for number in (1, 5)
    )
    width = 64 // 2**4  # of the decoder's last level
    more = (5 - 1) * (9 * width + 1)
    static = [found.accounted_bytes - found.saved_bytes for found in (one, many)]
    assert static[1] - static[0] == 4 * 4 * more  # weights, gradients, two moments


def test_a_vocabulary_costs_an_embedding_and_an_output_layer():
    def static(size):
        settings = {
            "vocabulary_size": size, "report_width": 16, "report_depth": 1, "report_heads": 2, "decoder_width": 16,
            "decoder_depth": 1, "decoder_heads": 2,
        }  # fmt: skip
        found = predict("mrm", "test_vit", 32, 2, device="cpu", settings=settings)
        return found.accounted_bytes - found.saved_bytes

    added = 1000
    assert (
        static(3000) - static(2000) == 16 * (2 * 16 + 1) * added + added
    )  # and one bit of the vocabulary, as a byte


def test_reports_that_are_longer_in_later_batches_are_in_the_peak(task_data):
    _, method, settings = CASES["mrm"]
    recipe = recipe_of(task_data("chest"), method, settings)
    facts = facts_of(recipe)
    tokens = np.zeros_like(facts.targets["tokens"])
    tokens[:, 0] = facts.targets["tokens"][:, 0]
    mask = np.arange(tokens.shape[1])[None].repeat(len(tokens), 0) < 1
    short = dataclasses.replace(facts, targets={**facts.targets, "tokens": tokens, "tokens_mask": mask})
    first, last = predicted(recipe, facts, "cpu"), predicted(recipe, short, "cpu")
    assert last.saved_bytes < first.saved_bytes
    assert last.peak_bytes == first.peak_bytes


# --- batch sizes -----------------------------------------------------------------------------------------------


def test_aadg_gets_a_multiple_of_its_domains(task_data):
    _, method, settings = CASES["aadg"]
    recipe = recipe_of(task_data("pictures"), method, settings)
    facts = facts_of(recipe)
    assert facts.batch_unit(recipe.training.sampling) == 3
    search = BatchSearch(recipe, facts, "cpu", RESERVE_BYTES + 30 * 2**20)
    batch, found = search.largest(14)
    assert batch % 3 == 0
    assert 3 <= batch == found.batch <= 12
    assert found.needed_bytes <= search.budget
    if batch < 12:
        more = recipe.model_copy(
            update={"training": recipe.training.model_copy(update={"batch_size": batch + 3})}
        )
        assert predicted(more, facts, "cpu").needed_bytes > search.budget


def test_auto_and_memory_serve_a_translation(task_data, tmp_path, capsys):
    _, method, settings = CASES["reggan nc+r"]
    memory = {"batch_size": "auto", "memory": RESERVE_BYTES + 40 * 2**20}
    run = fitted(task_data("pictures"), tmp_path, method, {**settings, **memory})
    batch = run.recipe.training.batch_size
    assert batch == 1  # the method's own: of few images a larger one would leave an epoch few steps
    assert f"batch size {batch}: predicted peak" in capsys.readouterr().err


def test_auto_and_memory_serve_a_segmentation(task_data, tmp_path, capsys):
    _, method, settings = CASES["segment"]
    memory = {"batch_size": "auto", "memory": RESERVE_BYTES + 14 * 2**20}
    run = fitted(task_data("pictures"), tmp_path, method, {**settings, **memory})
    batch = run.recipe.training.batch_size
    assert 1 < batch < 8
    assert f"batch size {batch}: predicted peak" in capsys.readouterr().err


def test_methods_of_the_same_task_are_named_where_one_does_not_fit():
    with pytest.raises(InputError) as caught:
        largest_batch("mrm", "vit_base_patch16_224", 224, RESERVE_BYTES + 2**20)
    assert "no other method fits" in caught.value.remedy
    with pytest.raises(InputError, match=r"take a method that fits \(mae\)") as caught:
        largest_batch(
            "mrm", "test_vit", 32, RESERVE_BYTES + 600 * 2**20,
            settings={"decoder_width": 48, "decoder_depth": 1, "vocabulary_size": 30_000},
        )  # fmt: skip
