"""Recipes: defaults, the method's, the user's; files that read back; errors with suggestions."""

import pytest
from pydantic import BaseModel

from modicum.engine.recipe.assignments import overridden, parse_assignments
from modicum.engine.recipe.new_recipe import make_recipe, run_name
from modicum.engine.recipe.settings import Recipe
from modicum.errors import InputError


def test_method_defaults_stand_between_general_ones_and_the_users():
    assert make_recipe("d", "full", {}).training.epochs == 20
    assert make_recipe("d", "linear", {}).training.epochs == 50
    assert make_recipe("d", "linear", {"epochs": 3}).training.epochs == 3


def test_settings_are_found_by_path_or_by_name():
    recipe = make_recipe(
        "d", "full", {"training.lr": 0.5, "seed": 4, "image_size": "96x128", "dropout": 0.25}
    )
    assert recipe.training.lr == 0.5
    assert recipe.seed == 4
    assert recipe.image.size == (96, 128)
    assert recipe.config["dropout"] == 0.25


def test_columns_are_gathered():
    recipe = make_recipe("d.csv", "full", {"label": "grade", "patient": "subject"})
    assert recipe.data.columns == {"label": "grade", "patient": "subject"}


def test_a_recipe_reads_back_from_its_file(tmp_path):
    recipe = make_recipe(
        "d.csv", "full", {"label": "grade", "classes": [0, 1, 2], "augment": [{"name": "rotate"}]}
    )
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    assert Recipe.read(tmp_path / "recipe.yaml") == recipe


def test_unknown_key_in_a_file_is_an_error_with_a_suggestion(tmp_path):
    text = make_recipe("d.csv", "full", {}).to_yaml().replace("weight_decay:", "weight_decai:")
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(
        InputError, match=r"unknown setting 'training.weight_decai'; did you mean 'weight_decay'"
    ):
        Recipe.read(tmp_path / "recipe.yaml")


class WithLr(BaseModel):
    lr: float = 1.0


def test_an_ambiguous_name_lists_the_paths():
    with pytest.raises(InputError, match=r"ambiguous; use one of options\.lr, training\.lr"):
        overridden({}, BaseModel, {"lr": 1}, WithLr)


def test_what_the_method_calls_so_comes_before_a_setting_of_the_same_name():
    assert overridden({}, WithLr, {"lr": 1}) == {"config": {"lr": 1}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("lr=1e-3", 1e-3),
        ("classes=[a, b]", ["a", "b"]),
        ("ema_decay=0.9", 0.9),
        ("monitor=auroc", "auroc"),
        ("x=", None),
    ],
)
def test_assignments_are_read_as_yaml(text, value):
    assert next(iter(parse_assignments([text]).values())) == value


def test_run_names_come_from_the_data(tmp_path):
    (tmp_path / "My Eyes").mkdir()
    assert run_name(tmp_path / "My Eyes", "linear") == "my-eyes-linear"
    assert run_name(tmp_path / "My Eyes" / "labels.csv", "full") == "my-eyes-full"
    assert run_name("hospital_b.csv", "full") == "hospital_b-full"
