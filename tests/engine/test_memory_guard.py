"""Networks that are larger than the memory are refused before they are made; ranks above a layer's width too."""

import pytest
import torch
from made_grades import fit, write_grades
from torch import nn

from modicum.engine import memory_guard
from modicum.engine.memory_guard import check_training_memory, tensors_within_memory
from modicum.engine.model import make_method
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.errors import InputError, ResourceError
from modicum.tasks import Classification

TASK = Classification("multi-class", ["a", "b", "c"])
VIT = {"backbone": "test_vit", "weights": "random", "image_size": 32}


def made(method: str, **settings):
    recipe = make_recipe("made", method, {**VIT, **settings})
    with tensors_within_memory(f"method {method}"):
        return recipe, make_method(recipe, TASK, {})


@pytest.mark.parametrize("method", ["lora", "dora", "dtl"])
def test_a_rank_above_the_width_is_refused_with_the_width(method):
    with pytest.raises(InputError, match=r"rank 65 is above the width .* 64; set rank to 64 or less"):
        made(method, rank=65)
    made(method, rank=64)


def test_a_million_ranks_are_refused_before_they_are_made():
    with pytest.raises(InputError, match=r"rank 1,000,000 is above the width"):
        made("lora", rank=1_000_000)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("adapter", {"bottleneck": 10**10}),
        ("adaptformer", {"bottleneck": 10**10}),
        ("vpt", {"num_prompts": 10**10}),
    ],
)
def test_a_part_that_is_larger_than_the_memory_is_refused(method, settings):
    with pytest.raises(
        ResourceError, match=rf"method {method}: one of its tensors, .*10,000,000,000.* GB are available"
    ):
        made(method, **settings)


@pytest.mark.parametrize("make", [torch.zeros, torch.ones, torch.rand, torch.empty])
def test_tensors_of_any_kind_are_looked_at_before_they_are_filled(make):
    with tensors_within_memory("a test"):
        assert make(3, 4).shape == (3, 4)
        with pytest.raises(ResourceError, match=r"4,000\.0 GB of memory"):
            make(10**6, 10**6)
        make(10**6, 10**6, device="meta")  # shapes take nothing


def test_gradients_and_the_optimiser_are_counted(monkeypatch):
    recipe, method = made("full")
    weights = sum(p.numel() for p in method.predictor().parameters()) * 4
    monkeypatch.setattr(memory_guard, "available_bytes", lambda: 3 * weights)
    check_training_memory(recipe, method, torch.device("cpu"))  # AdamW: gradients and two moments
    monkeypatch.setattr(memory_guard, "available_bytes", lambda: 3 * weights - 1)
    with pytest.raises(ResourceError, match=r"training [\d,]+ parameters takes"):
        check_training_memory(recipe, method, torch.device("cpu"))
    recipe, method = made("full", optimizer="sgd")
    check_training_memory(recipe, method, torch.device("cpu"))


def test_the_guard_changes_no_weight():
    torch.manual_seed(3)
    plain = nn.Linear(40, 30)
    torch.manual_seed(3)
    with tensors_within_memory("a test"):
        guarded = nn.Linear(40, 30)
    assert torch.equal(plain.weight, guarded.weight)


def test_fit_refuses_a_network_that_is_larger_than_the_memory_in_one_line(tmp_path):
    table = write_grades(tmp_path / "data", images=16)
    with pytest.raises(
        ResourceError, match=r"method adapter: one of its tensors, .* GB are available; lower"
    ):
        fit(table, tmp_path / "runs", "run", method="adapter", backbone="test_vit", bottleneck=10**10)
