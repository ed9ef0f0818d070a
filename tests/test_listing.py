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


def rows(method: str) -> list[tuple[str, str]]:
    names, _, meanings = (list(column.cells) for column in settings_table(method).columns)
    return [(str(name), str(meaning)) for name, meaning in zip(names, meanings, strict=True)]


def test_stages_are_listed_in_their_order_with_what_they_are():
    assert [row for row in rows("linear") if "stage " in row[0]] == [
        ("[dim]stage extract[/dim]", "extracts once from each image, without learning"),
        ("[dim]stage tune[/dim]", "learns by gradients, scored by the task"),
    ]
    found = dict(rows("toy_bank"))
    assert found["[dim]stage bank[/dim]"] == "is fitted to the training images without gradients"


def test_settings_that_a_stage_has_for_itself_are_listed_as_they_are_given():
    found = listed("toy_three")
    assert (found["match.epochs"], found["prototypes.optimizer"]) == ("4", "sgd")
    made = make_recipe("data", "toy_three", {"match.epochs": 7})
    assert made.training_of("match").epochs == 7
    assert any("--set match=run:runs/NAME" in meaning for _, meaning in rows("toy_three"))
