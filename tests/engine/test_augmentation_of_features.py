"""A method that learns from stored features has no augmentation: it is refused, and no recipe records one."""

import pytest

from modicum.comparison.request import Request
from modicum.engine.recipe.given_recipe import given_recipe
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.errors import InputError


@pytest.mark.parametrize(
    "settings",
    [
        {"augment": "light"},
        {"training.augment": "natural"},
        {"augment": [{"name": "horizontal_flip"}]},
        {"tune.augment": "light"},
    ],
)
def test_an_augmentation_of_the_linear_probe_is_refused(settings):
    with pytest.raises(InputError, match="linear learns from features that are extracted once"):
        make_recipe("labels.csv", "linear", settings)


def test_none_is_taken_and_recorded():
    for settings in ({}, {"augment": "none"}, {"tune.augment": "none"}):
        assert make_recipe("labels.csv", "linear", settings).training.augment == "none"


def test_a_recipe_of_another_method_brings_no_augmentation_and_it_is_said(tmp_path, capsys):
    (tmp_path / "given.yaml").write_text(
        "training: {augment: light, lr: 0.5}\nstages: {tune: {augment: light}}\n"
    )
    recipe = make_recipe("labels.csv", "linear", {}, given_recipe(tmp_path / "given.yaml"))
    assert recipe.training.augment == "none"
    assert recipe.training_of("tune").augment == "none"
    assert recipe.training.lr == 0.5
    assert "augmentation is left out" in "".join(capsys.readouterr())


def test_a_comparison_augments_the_methods_that_can_be():
    request = Request.of("labels.csv", ["full", "linear"], 1, [], {"augment": "light"})
    assert request.recipe_of("full").training.augment == "light"
    assert request.recipe_of("linear").training.augment == "none"
    with pytest.raises(InputError, match="augmentation would change nothing"):
        Request.of("labels.csv", ["full", "linear"], 1, [], {"linear.augment": "light"})
