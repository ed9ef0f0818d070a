"""Settings with several values: every combination is a row, named by what is different about it."""

import pytest

from modicum.comparison.grid import search_cells, seed_cells
from modicum.comparison.request import Request
from modicum.comparison.sweeps import named_sweeps, parse_sweeps, variants_of
from modicum.errors import InputError
from modicum.methods import method_class

MATRIX = {"mode": ["p", "nc", "nc+r"], "field": ["displacement", "velocity"]}


def request(sweep, methods=("reggan",), seeds=1, lrs=(), **settings):
    return Request.of("pairs", methods, seeds, lrs, settings, sweep)


def test_values_are_read_as_settings_are():
    found = parse_sweeps(["mode=p,nc, nc+r", "lr=1e-3,0.01", "full_generator=true,false"])
    assert found == {"mode": ["p", "nc", "nc+r"], "lr": [1e-3, 0.01], "full_generator": [True, False]}


def test_values_that_hold_commas_are_lists_and_mappings_of_yaml():
    assert parse_sweeps(["image_size=[[64, 96], 128]"]) == {"image_size": [[64, 96], 128]}
    levels = parse_sweeps(["augment={level0: none, level5: [{name: misalign, level: 5}]}"])
    assert levels == {"augment": {"level0": "none", "level5": [{"name": "misalign", "level": 5}]}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["mode"], "--sweep 'mode' is not KEY=V1,V2"),
        (["=a"], "is not KEY=V1,V2"),
        (["mode="], "is not KEY=V1,V2"),
        (["mode=[p"], "not valid YAML"),
        (["mode=p", "mode=nc"], "--sweep mode is given twice"),
    ],
)
def test_what_is_no_sweep_is_told_in_one_line(given, expected):
    with pytest.raises(InputError, match=expected.replace("[", r"\[")):
        parse_sweeps(given)


def test_rows_are_named_by_method_and_values_in_their_order():
    names = [
        variant.name
        for variant in variants_of(["reggan", "full"], named_sweeps({"reggan.mode": ["nc", "nc+r"]}))
    ]
    assert names == ["reggan-mode=nc", "reggan-mode=nc+r", "full"]


def test_every_combination_is_a_row_with_its_settings():
    found = variants_of(["reggan"], named_sweeps(MATRIX))
    assert len(found) == 3 * 2
    assert found[1].name == "reggan-mode=p-field=velocity"
    assert found[1].settings == {"mode": "p", "field": "velocity"}


def test_names_are_plain_whatever_the_values_are():
    sizes = named_sweeps(
        {"image_size": [[64, 96], 128], "weights": ["run:a/b c"], "lr": [1e-3], "x": [True, None]}
    )
    assert [list(values) for values in sizes.values()] == [
        ["64x96", "128"],
        ["run_a_b_c"],
        ["0.001"],
        ["true", "none"],
    ]


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        ({"mode": []}, "--sweep mode has no values"),
        ({"mode": "nc"}, "--sweep mode has no values"),
        ({"mode": ["nc", "nc"]}, "two values named 'nc'"),
        ({"weights": ["a/b", "a:b"]}, "two values named 'a_b'"),
        ({"augment": [[{"name": "misalign"}]]}, "too long for a name; name the values"),
        (
            {"full.dropout": [0.1]},
            r"for method 'full', which is not compared; add it to --methods \(now reggan\)",
        ),
        ({"seed": [1, 2]}, "'seed' cannot be swept in a comparison; pass --seeds N"),
        ({"split_seed": [1, 2]}, "methods reggan-split_seed=1 and reggan-split_seed=2 differ in 'data'"),
        ({"monitor": ["nmae", "psnr"]}, "differ in 'monitor'"),
        ({"moed": ["nc"]}, "unknown setting 'moed'; did you mean 'mode'"),
        ({"mode": ["nc", "nr"]}, "setting 'mode' is 'nr'"),
    ],
)
def test_a_sweep_that_cannot_be_is_told_before_anything_starts(sweep, expected):
    with pytest.raises(InputError, match=expected):
        request(sweep)


def test_what_is_swept_is_not_set_too():
    with pytest.raises(
        InputError, match="'mode' is both swept and set; pass either --sweep mode=V1,V2 or --set mode=VALUE"
    ):
        request({"mode": ["nc", "p"]}, mode="nc")
    with pytest.raises(InputError, match="'size' is both swept and set"):
        request({"image_size": [64, 128]}, **{"reggan.image.size": 64})
    with pytest.raises(InputError, match="learning rate is given twice"):
        request({"lr": [1e-3, 1e-4]}, lrs=[1e-3])


def test_each_row_has_cells_of_its_own_with_its_value_in_the_recipe():
    found = request({"mode": ["nc", "nc+r"]}, seeds=2)
    cells = seed_cells(found, {})
    assert [cell.name for cell in cells] == [
        "reggan-mode=nc-seed0",
        "reggan-mode=nc-seed1",
        "reggan-mode=nc+r-seed0",
        "reggan-mode=nc+r-seed1",
    ]
    assert [cell.recipe(found).config["mode"] for cell in cells] == ["nc", "nc", "nc+r", "nc+r"]
    assert [cell.recipe(found).seed for cell in cells] == [0, 1, 0, 1]


def test_every_row_has_a_search_of_its_own_for_its_learning_rate():
    found = request({"mode": ["nc", "p"]}, lrs=[1e-3, 1e-4])
    assert len(search_cells(found)) == 2 * 2
    chosen = {"reggan-mode=nc": 1e-3, "reggan-mode=p": 1e-4}
    assert [cell.name for cell in seed_cells(found, chosen)] == [
        "reggan-mode=nc-seed0-lr0.001",
        "reggan-mode=p-seed0-lr0.0001",
    ]


def test_values_may_come_and_go_between_calls_but_other_settings_may_not(tmp_path):
    file = tmp_path / "compare.yaml"
    request({"mode": ["nc", "p"]}, width=8).save(file)
    request({"mode": ["nc", "nc+r"]}, width=8).check_unchanged(file)
    with pytest.raises(InputError, match="was started with width=8, now it is 16"):
        request({"mode": ["nc", "p"]}, width=16).check_unchanged(file)


def test_without_a_sweep_the_file_of_a_request_is_as_it_was(tmp_path):
    request(None).save(tmp_path / "compare.yaml")
    assert "sweep" not in (tmp_path / "compare.yaml").read_text()


class TestBudgetOfTranslators:
    """Where no size, epochs and batch are given, methods for pictures bring what they have in common."""

    def test_one_translator_keeps_what_was_published(self):
        recipe = request({"mode": ["nc", "nc+r"]}).recipe_of("reggan-mode=nc")
        published = method_class("reggan")
        assert recipe.image.size == published.image["size"] == (256, 256)
        assert recipe.training.epochs == published.training["epochs"] == 80
        assert recipe.training.batch_size == published.training["batch_size"] == 1

    def test_what_is_given_comes_first(self):
        recipe = request(None, image_size=64, epochs=3, batch_size=2).recipe_of("reggan")
        assert recipe.image.size == (64, 64)
        assert (recipe.training.epochs, recipe.training.batch_size) == (3, 2)

    def test_what_is_swept_has_no_budget_beside_it(self):
        found = request({"image_size": [64, 128], "epochs": [2, 4]})
        assert not {"image_size", "epochs"} & set(found.settings)
        assert found.recipe_of("reggan-image_size=128-epochs=4").image.size == (128, 128)

    def test_classifiers_are_compared_as_ever(self):
        recipe = Request.of("images", ["full"], 1, (), {}).recipe_of("full")
        assert (recipe.image.size, recipe.training.epochs, recipe.training.batch_size) == ((224, 224), 20, 16)
