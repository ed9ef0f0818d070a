"""Recipes of PRIOR: the released pre-training, and protocols for whatever encoder."""

import pytest

from modicum.engine.recipe.given_recipe import given_recipe
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.recipes import image_text

NAMES = [recipe.name for recipe in image_text.RECIPES]


def test_pre_training_is_the_released_configuration():
    recipe = make_recipe("mimic", "prior", {}, given_recipe("prior/pretrain"))
    stages = {name: recipe.training_of(name) for name in ("align", "prototype", "reconstruct")}
    assert [stage.epochs for stage in stages.values()] == [20, 30, 100]
    assert [stage.lr for stage in stages.values()] == [1e-5, 1e-5, 5e-6]
    assert [stage.warmup_epochs for stage in stages.values()] == [1, 1, 5]
    assert {stage.batch_size for stage in stages.values()} == {98}  # on each of six GPUs
    assert {stage.weight_decay for stage in stages.values()} == {1e-6}
    assert (recipe.seed, recipe.config["min_sentences"], recipe.config["prototypes"]) == (114514, 4, 512)
    assert {stage.sampling for stage in stages.values()} == {
        "one_per_study"
    }  # a frontal image drawn at each access
    assert recipe.options["sections"] == ["impression", "findings"]
    assert "horizontal_flip" not in str(recipe.training.augment)  # reports name left and right


@pytest.mark.parametrize("name", NAMES)
def test_each_is_one_line_with_its_source_and_makes_a_recipe(name):
    (shipped,) = (recipe for recipe in image_text.RECIPES if recipe.name == name)
    assert len(shipped.summary) < 120
    assert "Cheng" in shipped.source
    method = shipped.values["method"]
    recipe = make_recipe("data", method, {"weights": "random"}, given_recipe(name))
    assert recipe.based_on == name
