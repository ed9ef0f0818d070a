"""What a comparison is asked for: one budget, settings of one method, and what is refused."""

import pytest

from modicum.comparison.grid import search_cells, seed_cells
from modicum.comparison.request import Request
from modicum.errors import InputError


def request(methods=("full", "linear"), seeds=2, lrs=(), **settings):
    return Request.of("images", methods, seeds, lrs, settings)


def test_all_methods_get_the_same_budget_whatever_their_own_defaults():
    recipes = [request().recipe_of(method) for method in ("full", "linear")]
    assert {recipe.training.epochs for recipe in recipes} == {20}
    assert {recipe.training.batch_size for recipe in recipes} == {16}
    given = [request(epochs=7, batch_size=3).recipe_of(method) for method in ("full", "linear")]
    assert {(recipe.training.epochs, recipe.training.batch_size) for recipe in given} == {(7, 3)}


def test_each_method_keeps_its_own_learning_rate_unless_one_is_given():
    rates = [request().recipe_of(method).training.lr for method in ("full", "linear")]
    assert rates == [1e-4, 1e-3]
    [cell, *_] = seed_cells(request(lrs=[0.02]), {})
    assert cell.recipe(request(lrs=[0.02])).training.lr == 0.02
    assert search_cells(request(lrs=[0.02])) == []


def test_all_seeds_split_alike():
    recipes = [request().recipe_of("full", seed) for seed in range(3)]
    assert [recipe.seed for recipe in recipes] == [0, 1, 2]
    assert {recipe.data.split_seed for recipe in recipes} == {0}
    assert request(split_seed=5).recipe_of("full", 2).data.split_seed == 5


def test_a_setting_of_one_method_reaches_that_one_alone():
    found = request(**{"dropout": 0.1, "full.dropout": 0.3, "linear.epochs": 9, "training.epochs": 4})
    assert found.recipe_of("full").config["dropout"] == 0.3
    assert found.recipe_of("linear").config["dropout"] == 0.1
    assert found.recipe_of("full").training.epochs == 4
    assert found.recipe_of("linear").training.epochs == 9


def test_a_method_s_own_size_beats_the_size_of_all():
    found = request(**{"image_size": 64, "full.image.size": 32})
    assert found.recipe_of("full").image.size == (32, 32)
    assert found.recipe_of("linear").image.size == (64, 64)


def test_a_learning_rate_as_a_setting_is_a_learning_rate():
    assert request(lr=0.1).lrs == (0.1,)
    assert request(**{"training.lr": [0.1, 0.2]}).lrs == (0.1, 0.2)


def test_the_rate_of_a_stage_is_a_setting_of_that_stage():
    request = Request.of(
        "eyes.csv",
        ["dr_grading"],
        1,
        (),
        {"one_eye.lr": 0.01, "both_eyes.lr": 0.1},
        {"one_eye.augment": ["none"]},
    )
    assert request.lrs == ()
    recipe = request.recipe_of("dr_grading-augment=none")
    assert recipe.stages["one_eye"]["lr"] == 0.01
    assert recipe.stages["both_eyes"]["lr"] == 0.1
    assert recipe.stages["one_eye"]["augment"] == "none"
    assert recipe.stages["both_eyes"]["augment"] == "fundus_both_eyes"


def test_the_same_setting_of_another_stage_is_no_clash():
    swept = {"one_eye.epochs": [1, 2]}
    request = Request.of("eyes.csv", ["dr_grading"], 1, (), {"both_eyes.epochs": 3}, swept)
    assert request.settings_of("dr_grading-epochs=2", 0, None)["both_eyes.epochs"] == 3
    with pytest.raises(InputError, match="'epochs' is both swept and set"):
        Request.of("eyes.csv", ["dr_grading"], 1, (), {"epochs": 3}, swept)


def test_shares_of_the_labels_are_compared_on_the_same_test_images():
    swept = {"label_fraction": [0.1, 1.0]}
    found = Request.of("images", ["linear"], 1, (), {}, swept)
    shares = [found.recipe_of(name).data.label_fraction for name in found.variants]
    assert shares == [0.1, 1.0]
    with pytest.raises(InputError, match="differ in 'data'"):
        Request.of("images", ["linear"], 1, (), {}, {"leaks": ["drop", "allow"]})


def test_the_search_tries_every_rate_with_every_method_at_the_first_seed():
    cells = search_cells(request(lrs=[1e-4, 1e-3]))
    assert [(cell.variant, cell.seed, cell.lr) for cell in cells] == [
        ("full", 0, 1e-4),
        ("full", 0, 1e-3),
        ("linear", 0, 1e-4),
        ("linear", 0, 1e-3),
    ]
    chosen = seed_cells(request(lrs=[1e-4, 1e-3]), {"full": 1e-3, "linear": None})
    assert [cell.name for cell in chosen] == ["full-seed0-lr0.001", "full-seed1-lr0.001"]
    assert chosen[0] in cells


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"methods": ()}, "no methods to compare"),
        ({"methods": ("full", "liner")}, "unknown method 'liner'; did you mean 'linear'"),
        ({"methods": ("full", "full")}, "'full' is named twice"),
        ({"seeds": 0}, "--seeds 0 is less than 1; pass for instance --seeds 3"),
        ({"seed": 3}, "'seed' cannot be set in a comparison; pass --seeds N"),
        ({"devices": 2}, "'devices' cannot be set.*--parallel N"),
        ({"full.dropot": 1}, "unknown setting 'dropot' for method full; did you mean 'dropout'"),
        ({"standardise": True}, "unknown setting 'standardise' for method full.*METHOD.KEY=VALUE"),
        ({"lora.rank": 2}, r"'lora.rank' is for method 'lora', which is not compared; add it to --methods"),
        ({"full.leaks": "drop"}, "differ in 'data'.*; set 'data' once for all methods"),
        ({"full.monitor": "accuracy"}, "differ in 'monitor'"),
        ({"lrs": [1e-3], "full.lr": 1e-4}, "learning rate of 'full' is given twice"),
        ({"lrs": [1e-3], "lr": 1e-4}, "learning rate is given twice"),
        ({"lrs": [1e-3, 1e-3]}, "--lr 0.001,0.001 is not .* different numbers above 0; pass for instance --lr 1e-4"),
        ({"lrs": [-1.0]}, "numbers above 0"),
        ({"augment": object()}, "not a plain value"),
    ],
)  # fmt: skip
def test_one_line_that_says_what_to_do(given, expected):
    with pytest.raises(InputError, match=expected):
        request(**given)


def test_batches_that_are_fitted_to_the_memory_are_left_to_each_run():
    found = request(batch_size="auto", memory="8GB")
    assert found.fitted
    assert found.settings_of("full", 1, None) | {"seed": 1} == {
        "batch_size": "auto",
        "memory": "8GB",
        "image_size": 224,
        "epochs": 20,
        "split_seed": 0,
        "seed": 1,
    }


class TestGoingOn:
    """What may change between two calls for one comparison."""

    @pytest.fixture
    def file(self, tmp_path):
        request(epochs=2, **{"full.dropout": 0.1}).save(tmp_path / "compare.yaml")
        return tmp_path / "compare.yaml"

    def test_the_same_is_no_change(self, file):
        request(epochs=2, **{"full.dropout": 0.1}).check_unchanged(file)

    def test_methods_and_seeds_may_come_and_go(self, file):
        request(["linear"], 5, epochs=2).check_unchanged(file)
        request(
            ["full", "linear", "lora"], 1, epochs=2, **{"full.dropout": 0.1, "lora.rank": 4}
        ).check_unchanged(file)

    def test_where_it_runs_may_change(self, file):
        request(epochs=2, device="cpu", **{"full.dropout": 0.1}).check_unchanged(file)

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"epochs": 3, "full.dropout": 0.1}, "epochs=2, now it is 3"),
            ({"epochs": 2, "full.dropout": 0.2}, "full.dropout=0.1, now it is 0.2"),
            ({"epochs": 2}, "full.dropout=0.1, now it is None"),
            ({"epochs": 2, "full.dropout": 0.1, "augment": "none"}, "augment=None, now it is 'none'"),
            ({"epochs": 2, "full.dropout": 0.1, "lrs": [0.1]}, r"lr=\[\], now it is \[0.1\]"),
        ],
    )
    def test_a_changed_setting_is_named(self, file, settings, said):
        with pytest.raises(InputError, match=f"was started with {said}; resume with the same"):
            request(**settings).check_unchanged(file)

    @pytest.mark.parametrize("text", ["[", "methods: 3", "", "- a"])
    def test_a_damaged_file_is_named(self, file, text):
        file.write_text(text)
        with pytest.raises(InputError, match="cannot be read"):
            request(epochs=2).check_unchanged(file)
