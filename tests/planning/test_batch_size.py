"""The largest batch that fits, sizes as people write them, and ``batch_size="auto"`` in a run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import modicum
from modicum.data.phantoms import write_fundus_dataset
from modicum.engine.recipe.settings import Recipe
from modicum.errors import InputError
from modicum.planning.batch_size import MARGIN, RESERVE_BYTES, largest_batch, parse_memory, usable_bytes
from modicum.planning.memory import predict

SMALL = {"backbone": "test_vit", "image_size": 64}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GB", 8_000_000_000),
        ("8G", 8_000_000_000),
        ("8 g", 8_000_000_000),
        ("500M", 500_000_000),
        ("2T", 2_000_000_000_000),
        ("500 MB", 500_000_000),
        ("7.5GiB", 8_053_063_680),
        ("1kb", 1000),
        (" 2 TiB ", 2 * 1024**4),
        (12345, 12345),
    ],
)
def test_sizes_are_read_as_written(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "8", "GB", "eight GB", "-1GB", "0GB", "1e9 B", "8GB extra", "8Q"])
def test_what_is_not_a_size_is_refused_with_an_example(text):
    with pytest.raises(InputError, match="8GB"):
        parse_memory(text)


@given(st.integers(1, 10**15))
def test_a_number_of_bytes_is_read_as_itself(count):
    assert parse_memory(f"{count} B") == count


@pytest.mark.parametrize(("device", "mib"), [("cpu", 30), ("cpu", 200), ("cuda", 150)])
def test_the_answer_fits_and_one_more_image_does_not(device, mib):
    memory = RESERVE_BYTES + mib * 2**20
    batch, found = largest_batch("full", "test_vit", 64, memory, device=device)
    assert found.batch == batch
    assert found.needed_bytes <= usable_bytes(memory, RESERVE_BYTES)
    after = predict("full", "test_vit", 64, batch + 1, device=device)
    assert after.needed_bytes > usable_bytes(memory, RESERVE_BYTES)


def test_a_margin_of_a_tenth_is_left_after_the_reserve():
    assert usable_bytes(10 * RESERVE_BYTES, RESERVE_BYTES) == pytest.approx(9 * RESERVE_BYTES * (1 - MARGIN))
    assert MARGIN == 0.1


def test_no_more_than_the_limit_is_chosen():
    assert largest_batch("linear", "test_vit", 64, 10**10, at_most=7)[0] == 7


def test_few_predictions_are_made(monkeypatch):
    made = []

    def counted(recipe, *rest):
        made.append(recipe.training.batch_size)
        return predicted(recipe, *rest)

    from modicum.planning.batch_size import predicted

    monkeypatch.setattr("modicum.planning.batch_size.predicted", counted)
    batch, _ = largest_batch("full", "test_vit", 64, RESERVE_BYTES + 2**30, device="cpu", at_most=10_000)
    assert batch > 500
    assert len(made) <= 6


def test_what_does_not_fit_is_said_with_both_sizes_and_methods_that_do():
    with pytest.raises(InputError) as caught:
        largest_batch("full", "vit_small_patch16_224", 224, 9 * 10**8, settings={"accumulate": 2})
    assert "'full'" in caught.value.problem
    assert "of 900 MB given" in caught.value.problem
    assert "take a method that fits" in caught.value.remedy


# --- in a run --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    fractions = {"train": 0.6, "val": 0.2, "test": 0.2}
    return write_fundus_dataset(
        tmp_path_factory.mktemp("auto"), 20, 64, seed=3, fractions=fractions, masks=False,
        grade_probabilities=(1, 1, 1, 1, 1),
    )  # fmt: skip


def fit(images, runs, **settings):
    return modicum.fit(
        images, "full", name="auto", runs=runs, stores=images.parent / "stores", weights="random", epochs=1,
        leaks="allow", resamples=0, workers=0, device="cpu", write_report=False, **SMALL, **settings,
    )  # fmt: skip


def test_auto_writes_a_number_into_the_recipe_says_it_and_resumes_with_it(images, tmp_path, capsys):
    run = fit(images, tmp_path, batch_size="auto", memory=RESERVE_BYTES + 24 * 2**20)
    chosen = Recipe.read(run.folder.recipe).training.batch_size
    assert 1 <= chosen <= run.metrics["evaluations"]["val"]["images"] * 4
    said = capsys.readouterr().err
    assert f"batch size {chosen}: predicted peak" in said
    assert "of 0.6 GB" in said
    # With more memory another number would be chosen; the run keeps its own.
    again = fit(images, tmp_path, batch_size="auto", memory="64GB", resume=True)
    assert again.recipe.training.batch_size == chosen


@pytest.mark.slow
def test_auto_is_never_more_than_the_training_images(images, tmp_path):
    run = fit(images, tmp_path, batch_size="auto", memory="64GB")
    train = (modicum.load(images).table["split"] == "train").sum()
    assert run.recipe.training.batch_size <= train


def test_memory_without_auto_warns_and_trains(images, tmp_path, capsys):
    run = fit(images, tmp_path, batch_size=4, memory=RESERVE_BYTES + 2**20)
    assert run.recipe.training.batch_size == 4
    assert "--batch-size auto" in capsys.readouterr().err


def test_auto_of_several_processes_needs_to_be_told_the_memory(images, tmp_path):
    with pytest.raises(InputError, match="--memory"):
        fit(images, tmp_path, batch_size="auto", devices=2)


def test_a_wrong_size_is_said_before_anything_is_read(images, tmp_path):
    with pytest.raises(InputError, match="memory '8 cows' is not a size"):
        fit(images, tmp_path, batch_size="auto", memory="8 cows")
    assert not (tmp_path / "auto").exists()
