"""What ``modicum methods NAME`` says of settings is what a run gets."""

import pytest

from modicum.console.listing import settings_table
from modicum.engine.recipe.new_recipe import make_recipe


def listed(method: str) -> dict[str, str]:
    names, defaults, _ = (list(column.cells) for column in settings_table(method).columns)
    return {str(name).strip(): str(default) for name, default in zip(names, defaults, strict=True)}


@pytest.mark.parametrize("method", ["segment", "aadg", "linear", "reggan", "mrm"])
def test_defaults_are_those_of_a_run(method):
    recipe, found = make_recipe("data", method, {}), listed(method)
    assert found["size"] == str(list(recipe.image.size))
    assert found["name"] == recipe.backbone.name
    assert found["epochs"] == str(recipe.training.epochs)
    assert float(found["lr"]) == recipe.training.lr


def test_a_name_that_two_parts_have_is_shown_with_its_part():
    found = listed("segment")
    assert {"loss", "options.loss", "training.loss"} <= set(found)
    given = make_recipe("data", "segment", {"loss": "dice", "training.loss": "focal"})
    assert (given.config["loss"], given.training.loss) == ("dice", "focal")


def test_each_listed_name_is_taken_as_it_stands():
    defaults = make_recipe("data", "aadg", {}).model_dump()
    for name in ("momentum", "training.momentum", "size", "backbone.mean", "split_seed"):
        key = name if name in listed("aadg") else name.rpartition(".")[2]
        value = {"size": 64, "mean": [0.5] * 3, "split_seed": 3}.get(name.rpartition(".")[2], 0.25)
        assert make_recipe("data", "aadg", {key: value}).model_dump() != defaults
