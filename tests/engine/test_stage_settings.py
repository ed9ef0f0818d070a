"""Settings that one stage has for itself: where they come from, which comes first, and what is refused."""

from pathlib import Path

import pytest

from modicum.engine.recipe.assignments import overridden
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.recipe.settings import Recipe
from modicum.errors import InputError
from modicum.methods import MethodConfig

STAGES = ("pretrain", "tune")


def recipe(settings, **defaults) -> Recipe:
    values = {"method": "two", "data": {"source": "x"}, "training": {"epochs": 20}, "stages": defaults}
    return Recipe.model_validate(overridden(values, MethodConfig, settings, stages=STAGES))


def test_a_stage_has_its_own_setting_and_the_runs_for_the_rest():
    made = recipe({"pretrain.epochs": 100, "lr": 0.01})
    assert made.training_of("pretrain").epochs == 100
    assert made.training_of("tune").epochs == 20
    assert made.training_of("pretrain").lr == made.training_of("tune").lr == 0.01


@pytest.mark.parametrize("order", [("epochs", "pretrain.epochs"), ("pretrain.epochs", "epochs")])
def test_what_is_set_for_all_stages_replaces_a_default_and_not_what_is_set_for_one(order):
    given = {"epochs": 3, "pretrain.epochs": 7}
    made = recipe({key: given[key] for key in order}, tune={"epochs": 90}, pretrain={"epochs": 800})
    assert made.training_of("tune").epochs == 3
    assert made.training_of("pretrain").epochs == 7


def test_settings_survive_the_recipe_file(tmp_path):
    made = recipe({"tune.lr": 0.5, "pretrain": "run:runs/earlier"})
    (tmp_path / "recipe.yaml").write_text(made.to_yaml())
    again = Recipe.read(tmp_path / "recipe.yaml")
    assert again == made
    assert again.training_of("tune").lr == 0.5
    assert again.earlier_run("pretrain") == (Path("runs/earlier"), False)
    assert again.earlier_run("tune") is None


def test_a_stage_can_start_from_an_earlier_run_and_go_on():
    assert recipe({"tune.start": "run:runs/a"}).earlier_run("tune") == (Path("runs/a"), True)


@pytest.mark.parametrize(
    ("settings", "problem", "remedy"),
    [
        ({"pretrain.epoch": 3}, "stage pretrain: unknown setting 'epoch'", "did you mean 'epochs'"),
        ({"pretran.epochs": 3}, "unknown setting 'pretran.epochs'", "did you mean 'pretrain'"),
        ({"tune.ready": "runs/a"}, "tune.ready is 'runs/a'", "--set tune.ready=run:runs/NAME"),
    ],
)
def test_mistakes_are_named_with_what_was_meant(settings, problem, remedy):
    with pytest.raises(InputError) as error:
        recipe(settings)
    assert problem in error.value.problem
    assert remedy in error.value.remedy


def test_a_value_out_of_range_names_the_stage():
    with pytest.raises(InputError, match=r"stage tune: setting 'epochs' is 0"):
        recipe({"tune.epochs": 0}).training_of("tune")


def test_what_all_stages_share_is_no_setting_of_one():
    with pytest.raises(InputError, match="setting 'devices' is the same for all stages"):
        recipe({"tune.devices": 2}).training_of("tune")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"passes": 3}, {"repeats_per_epoch": 3}),
        ({"sampling": "one_of_each"}, {"sampling": "round_robin"}),
    ],
)
def test_settings_of_earlier_versions_are_read_under_their_present_names(old, new, tmp_path):
    """In recipes of earlier runs and on the command line alike."""
    of_file = Recipe.model_validate({"method": "full", "data": {"source": "x"}, "training": old})
    of_command = recipe(old)
    for name, value in new.items():
        assert getattr(of_file.training, name) == value
        assert getattr(of_command.training, name) == value
    option = Recipe.model_validate(
        {"method": "reggan", "data": {"source": "x"}, "options": {"neighbours": 1}}
    )
    assert option.options == {"adjacent_slices": 1}


def test_an_augmentation_file_of_one_stage_is_read_into_the_recipe(tmp_path):
    (tmp_path / "policy.yaml").write_text("- {name: horizontal_flip, p: 1.0}\n")
    made = make_recipe("data", "full", {"tune.augment": str(tmp_path / "policy.yaml")})
    assert made.stages["tune"]["augment"][0]["name"] == "horizontal_flip"


def test_weights_of_one_stage_that_are_chosen_on_the_test_images_are_known_as_such():
    assert recipe({"tune.select": "oracle"}).chooses_by_test()
    assert recipe({"select": "oracle"}).chooses_by_test()
    assert not recipe({"tune.select": "last"}).chooses_by_test()
