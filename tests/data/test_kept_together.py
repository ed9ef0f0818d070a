"""Splits that are made: pictures that are in the data twice stay on one side, under whatever names and patients."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from modicum.data.checks import copies, near_duplicates
from modicum.data.checks.copies import copies_to_keep_together, named_pairs, search_copies
from modicum.data.checks.duplicates import leaks
from modicum.data.checks.scan import scan
from modicum.data.kept_together import forget_groups, keep_together, split_units, with_copies_together
from modicum.data.layouts import load_manifest
from modicum.data.manifest import Manifest
from modicum.data.splits import carve_validation, ensure_splits, split_by_patient
from modicum.engine.inputs.preparation import prepare
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError

PLANTED = 10


def texture(seed: int, side: int = 160) -> np.ndarray:
    """Coarse noise: like no other of another seed, and the same after it was compressed."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (side // 8, side // 8))
    return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


def table(rows: list[dict]) -> Manifest:
    return Manifest(pd.DataFrame(rows), Path(), source="made")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Forty pictures; ten are there again as the same file under another patient, ten again as JPEG."""
    folder = tmp_path_factory.mktemp("planted")
    rows = []
    for number in range(40):
        name = f"{number:02d}.png"
        cv2.imwrite(str(folder / name), texture(number))
        rows.append({"image": name, "label": "ab"[number % 2], "patient": f"p{number}"})
    for number in range(PLANTED):
        copy, saved = f"copy{number}.png", f"saved{number}.jpg"
        (folder / copy).write_bytes((folder / f"{number:02d}.png").read_bytes())
        cv2.imwrite(str(folder / saved), texture(10 + number), [cv2.IMWRITE_JPEG_QUALITY, 60])
        rows.append({"image": copy, "label": "ab"[number % 2], "patient": f"copy{number}"})
        rows.append({"image": saved, "label": "ab"[number % 2], "patient": f"saved{number}"})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


@pytest.fixture(scope="module")
def prepared(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    recipe = make_recipe(data, "full", {"image_size": 32, "seed": 3})
    return prepare(recipe, RunFolder(folder / "run"), folder / "stores", 0)


def test_planted_copies_are_all_on_one_side(prepared):
    split = dict(zip(prepared.manifest.table["image"], prepared.manifest.table["split"], strict=True))
    assert all(split[f"{n:02d}.png"] == split[f"copy{n}.png"] for n in range(PLANTED))
    assert all(split[f"{10 + n}.png"] == split[f"saved{n}.jpg"] for n in range(PLANTED))
    assert {"train", "val", "test"} == set(split.values())


def test_a_made_split_passes_the_check_of_given_ones(prepared):
    manifest = prepared.manifest
    assert leaks(manifest, scan(manifest.refs(), workers=0).facts) == []


def test_the_note_says_how_many_and_the_table_keeps_no_trace(prepared):
    assert any("40 images with copies under another name are kept together" in n for n in prepared.notes)
    assert [str(name) for name in prepared.manifest.table] == ["image", "label", "patient", "split"]


@pytest.mark.parametrize("split", ["given", "made"])
def test_near_duplicates_are_searched_once(data, tmp_path, monkeypatch, split):
    source = data
    if split == "given":
        table = pd.read_csv(data)
        table["image"] = [str(data.parent / name) for name in table["image"]]
        table.assign(split=["train", "val", "test"] * (len(table) // 3)).to_csv(
            tmp_path / "t.csv", index=False
        )
        source = tmp_path / "t.csv"
    searches = []
    original = copies.search_near_duplicates
    monkeypatch.setattr(copies, "search_near_duplicates", lambda *a: searches.append(1) or original(*a))
    recipe = make_recipe(source, "full", {"image_size": 32, "leaks": "drop", "allow_outside": True})
    made = prepare(recipe, RunFolder(tmp_path / "run"), tmp_path / "stores", 0)
    found = made.fingerprint()
    assert len(searches) == 1
    assert found["leaks"] == 0
    if split == "made":
        assert found["near_duplicates"] == PLANTED
        assert found["duplicates"] == PLANTED


def test_limits_of_the_search_are_among_the_notes_of_a_run(data, tmp_path, monkeypatch):
    monkeypatch.setattr(near_duplicates, "MOST_CANDIDATES", 3)
    recipe = make_recipe(data, "full", {"image_size": 32})
    notes = prepare(recipe, RunFolder(tmp_path / "run"), tmp_path / "stores", 0).notes
    assert any("compared hashes within" in note for note in notes)


def test_without_copies_the_split_is_as_it_was():
    manifest = table([{"image": f"{n}.png", "label": str(n % 3), "patient": f"p{n // 2}"} for n in range(60)])
    marked = keep_together(manifest, [])
    first, second = (ensure_splits(m, seed=5).table["split"].tolist() for m in (manifest, marked))
    assert first == second
    # What versions before this one made of the same table and seed.
    digest = hashlib.sha256("".join(first).encode()).hexdigest()[:12]
    assert digest == "a2842d63bad7"


def test_a_chain_of_copies_is_one_group_with_all_images_of_its_patients():
    rows = [("a1", "A"), ("a2", "A"), ("b1", "B"), ("b2", "B"), ("c1", "C"), ("d1", "D"), ("e1", None)]
    manifest = table([{"image": f"{image}.png", "patient": patient} for image, patient in rows])
    units = split_units(keep_together(manifest, [[1, 2], [3, 4], [4, 6]]))
    assert len(set(units[:5] + units[6:])) == 1
    assert units[5] == "patient:D"


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 3, 1, 4, 2, 0]])
def test_a_group_does_not_depend_on_the_order_of_rows(order):
    manifest = table([{"image": f"{n}.png", "patient": f"p{n}"} for n in range(6)])
    units = split_units(keep_together(manifest.subset(order), [[order.index(4), order.index(1)]]))
    assert dict(zip(order, units, strict=True))[4] == "patient:p1"


def test_validation_that_is_carved_from_training_is_kept_apart_too():
    rows = [
        {"image": f"{n}.png", "label": "ab"[n % 2], "patient": f"p{n}", "split": "train"} for n in range(40)
    ]
    manifest = keep_together(table(rows), [[n, n + 20] for n in range(20)])
    split = carve_validation(manifest, 0.25, seed=1).table["split"].tolist()
    assert split[:20] == split[20:]
    assert split.count("val") == 10


def test_a_copy_of_a_reference_image_is_a_training_image():
    rows = [{"image": f"{n}.png", "label": "ab"[n % 2], "patient": f"p{n}"} for n in range(12)]
    rows[0]["split"] = "reference"
    manifest = keep_together(table(rows), [[0, 7]])
    assert ensure_splits(manifest).table["split"].iloc[7] == "train"


def test_a_blank_page_of_every_patient_does_not_join_them(tmp_path):
    rows = []
    for number in range(12):
        for kind, picture in (("page", np.zeros((40, 40), np.uint8)), ("scan", texture(number, 40))):
            name = f"{kind}{number}.png"
            cv2.imwrite(str(tmp_path / name), picture)
            rows.append({"image": name, "label": "ab"[number % 2], "patient": f"p{number}"})
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    manifest = load_manifest(tmp_path / "labels.csv")
    facts = scan(manifest.refs(), workers=0).facts
    near = named_pairs(manifest, search_copies(manifest, facts).pairs)
    assert copies_to_keep_together(manifest, facts, near) == ([], [])


def test_copies_that_join_most_of_the_data_are_divided_and_it_is_said():
    manifest = table([{"image": f"{n}.png", "label": "ab"[n % 2], "patient": f"p{n}"} for n in range(20)])
    made = with_copies_together(manifest, [[0, 1]], [[n, n + 1] for n in range(18)])
    assert len(set(split_units(made))) == 19
    assert "nearly identical images link more than half" in made.notes[-1]
    made = with_copies_together(manifest, [list(range(15))], [])
    assert split_units(made) == manifest.patients()
    assert "identical files link more than half" in made.notes[-1]
    assert set(split_by_patient(forget_groups(made)).table["split"]) == {"train", "val", "test"}


def test_too_few_groups_are_refused_with_the_reason():
    manifest = table([{"image": f"{n}.png", "label": "ab"[n % 2], "patient": f"p{n}"} for n in range(4)])
    with pytest.raises(InputError, match=r"2 patients \(those with a picture in common count as one\)"):
        split_by_patient(keep_together(manifest, [[0, 1], [2, 3]]))
