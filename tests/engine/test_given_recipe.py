"""Recipes to start from: what they set, what goes before them, and what is wrong with them in one line."""

import sys

import pytest
import yaml

from modicum.__main__ import main
from modicum.engine.recipe.given_recipe import given_recipe
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.errors import InputError

NAME = "cxr/lora_nih_1pct"


def resolved(recipe, method=None, **settings):
    return make_recipe("data", method, {"weights": "random", **settings}, given_recipe(recipe))


def written(path, **values):
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_the_users_settings_go_before_the_recipes_and_these_before_the_methods():
    recipe = resolved(NAME, lr=0.5, rank=7, **{"data.label_fraction": 0.3})
    assert (recipe.training.lr, recipe.config["rank"], recipe.data.label_fraction) == (0.5, 7, 0.3)
    assert recipe.training.epochs == 100  # lora's own: 20
    assert recipe.training.repeats_per_epoch == 1  # nobody's


def test_the_method_comes_from_the_recipe_and_another_one_is_an_error():
    assert resolved(NAME).method == resolved(NAME, "lora").method == "lora"
    with pytest.raises(
        InputError, match=r"recipe 'cxr/lora_nih_1pct' is for method 'lora', and --method is 'full'"
    ):
        resolved(NAME, "full")
    assert make_recipe("data", None, {}).method == "full"


def test_an_unknown_name_lists_a_near_one():
    with pytest.raises(
        InputError,
        match=r"unknown recipe 'cxr/lora_nih_2pct'; did you mean 'cxr/lora_nih_1pct' or 'cxr/\w+' or '",
    ):
        given_recipe("cxr/lora_nih_2pct")
    with pytest.raises(
        InputError, match=r"unknown recipe 'x'; `modicum recipes` lists all; a recipe file must end in .yaml"
    ):
        given_recipe("x")


def test_weights_must_be_named_where_a_recipe_is_for_certain_ones():
    with pytest.raises(
        InputError, match=r"starts from MRM's weights of ViT-B/16; pass --weights FILE, --backbone run:"
    ):
        make_recipe("data", None, {}, given_recipe(NAME))


def test_weights_of_the_hub_or_of_a_run_bring_their_own_normalisation():
    assert resolved(NAME, weights="mrm.pth").backbone.mean == (0.4978,) * 3
    for weights in ("hub", "run:runs/mine"):
        backbone = resolved(NAME, weights=weights).backbone
        assert (backbone.mean, backbone.std) == (None, None)
    assert resolved(NAME, weights="hub", mean=[0.5] * 3).backbone.mean == (0.5,) * 3


def test_of_a_file_what_is_about_its_data_and_its_machine_is_left_out(tmp_path):
    whole = resolved(
        NAME, label="grade", split_lists="lists", images="pictures", classes=["a", "b"], device="cuda:1",
        leaks="drop", split_seed=3, skip_broken=True,
    )  # fmt: skip
    path = tmp_path / "recipe.yaml"
    path.write_text(whole.to_yaml(), encoding="utf-8")
    again = make_recipe("other.csv", None, {"patient": "subject"}, given_recipe(path))
    assert again.data.model_dump(exclude_defaults=True) == {
        "source": "other.csv", "columns": {"patient": "subject"}, "leaks": "drop", "split_seed": 3,
        "label_fraction": 0.01,
    }  # fmt: skip
    assert again.device == "auto"
    assert again.based_on == str(path)
    assert (again.training, again.config, again.backbone) == (whole.training, whole.config, whole.backbone)


def test_a_file_may_say_little(tmp_path):
    path = written(tmp_path / "mine.yaml", training={"lr": 0.3}, config=None)
    assert resolved(path).method == "full"
    recipe = resolved(path, "linear")
    assert (recipe.method, recipe.training.lr, recipe.training.epochs) == ("linear", 0.3, 50)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trainig": {}}, r"mine.yaml': unknown setting 'trainig'; did you mean 'training'"),
        ({"training": {"lrr": 1}}, r"mine.yaml': unknown setting 'training.lrr'; did you mean 'lr'"),
        ({"data": {"label_fractions": 1}}, r"mine.yaml': unknown setting 'data.label_fractions'; did you mean 'label_f"),
        ({"training": 3}, r"mine.yaml': 'training' is 3; make it a table of settings"),
        ({"method": "lorra"}, r"unknown method 'lorra'; did you mean 'lora'"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_its_name_and_the_key(tmp_path, values, message):
    path = written(tmp_path / "mine.yaml", **values)
    with pytest.raises(InputError, match=message):
        resolved(path)


def test_a_file_that_is_no_recipe_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none.yaml' cannot be read \(FileNotFoundError\)"):
        given_recipe(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(InputError, match=r"list.yaml' is not a table of settings"):
        given_recipe(tmp_path / "list.yaml")


def test_the_commands_list_and_show_recipes_and_name_errors(tmp_path, monkeypatch, capsys):
    def modicum(*arguments) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["modicum", *arguments])
        code = 0
        try:
            main()
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        said = capsys.readouterr()
        return code, said.out + said.err

    monkeypatch.chdir(tmp_path)
    assert NAME in modicum("recipes")[1]
    (tmp_path / "mine.yaml").write_text(modicum("recipes", NAME)[1])
    assert resolved(tmp_path / "mine.yaml").training == resolved(NAME).training
    code, said = modicum("fit", "nowhere", "--recipe", NAME, "--method", "full")
    assert code == 2
    assert "recipe 'cxr/lora_nih_1pct' is for method 'lora', and --method is 'full'" in said
    code, said = modicum("fit", "nowhere", "--recipe", "mine.yaml", "--weights", "random")
    assert (code, "nowhere" in said) == (2, True)  # all that is wrong is the data
