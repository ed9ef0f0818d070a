"""The predicted memory of the toys' trainings, against the engine's own accounts of real first steps."""

import pytest
from toy_data import TOYS

from modicum.engine.recipe.settings import Recipe
from modicum.errors import InputError
from modicum.planning.data_facts import facts_of
from modicum.planning.memory import predicted


@pytest.mark.parametrize("name", [name for name in TOYS if name != "toy_bank"])
def test_the_largest_account_of_all_stages_is_predicted_to_the_byte(name, run_of):
    run = run_of(name)
    recipe = Recipe.read(run.folder.recipe)
    found = predicted(recipe, facts_of(recipe), "cpu")
    accounts = {stage: facts["memory"] for stage, facts in run.metrics["stages"].items()}
    largest = max(accounts, key=lambda stage: accounts[stage]["peak_bytes"])
    assert found.accounted_bytes == accounts[largest]["peak_bytes"]
    assert found.saved_bytes == accounts[largest]["activations_bytes"]


def test_what_is_fitted_by_streaming_alone_is_not_predicted(run_of):
    recipe = Recipe.read(run_of("toy_bank").folder.recipe)
    with pytest.raises(InputError, match="nothing in it learns by gradients"):
        predicted(recipe, facts_of(recipe), "cpu")
