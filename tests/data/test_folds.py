"""Folds: every patient is held out once, in proportion to classes, and a given test split is held out of all."""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.data.folds import pooled_for_folds, split_of_fold
from modicum.data.kept_together import keep_together
from modicum.data.manifest import Manifest
from modicum.errors import InputError


def cohort(labels: list[list[str]], **columns) -> Manifest:
    """Patients with a list of labels each, an image a label."""
    rows = [
        {"image": f"{patient}-{number}.png", "patient": f"p{patient}", "label": label}
        for patient, of_patient in enumerate(labels)
        for number, label in enumerate(of_patient)
    ]
    return Manifest(pd.DataFrame(rows).assign(**columns), Path(), source="made")


def dealt(manifest: Manifest, folds: int, **options) -> list[Manifest]:
    pooled = pooled_for_folds(manifest)
    return [split_of_fold(pooled, folds, fold, **options) for fold in range(1, folds + 1)]


cohorts = st.lists(st.lists(st.sampled_from("aaaaabbbc"), min_size=1, max_size=3), min_size=14, max_size=50)


@settings(max_examples=12, deadline=None)
@given(cohorts, st.integers(2, 6), st.integers(0, 3))
def test_every_image_is_tested_once_and_no_patient_is_on_two_sides(labels, folds, seed):
    manifest = cohort([*labels, ["a"], ["b"], ["c"], ["a"], ["b"], ["c"]])
    times = Counter()
    for made in dealt(manifest, folds, seed=seed, one_class=True):
        times.update(made.part("test").table["image"])
        by_patient = made.table.groupby("patient")["split"].nunique()
        assert (by_patient == 1).all()
        assert set(made.table["split"]) == {"train", "val", "test"}
    assert times == Counter(dict.fromkeys(manifest.table["image"], 1))


def test_classes_are_dealt_in_proportion():
    manifest = cohort([["a"]] * 50 + [["b"]] * 20 + [["c"]] * 7)
    for made in dealt(manifest, 5):
        tested = Counter(made.part("test").table["label"])
        assert tested["a"] in (9, 10, 11)
        assert tested["b"] == 4
        assert tested["c"] in (1, 2)


def test_a_given_test_split_is_one_of_every_fold_and_the_rest_validates_once():
    manifest = cohort([["a"], ["b"]] * 12)
    manifest = manifest.with_columns(split=["test"] * 6 + ["val"] * 4 + ["train"] * 14)
    times = Counter()
    for made in dealt(manifest, 3):
        assert made.part("test").table["image"].tolist() == manifest.table["image"].tolist()[:6]
        times.update(made.part("val").table["image"])
    assert times == Counter(dict.fromkeys(manifest.table["image"].tolist()[6:], 1))
    assert pooled_for_folds(manifest).notes == [
        "the data's own train and val are one pool for the folds; its test split is kept"
    ]


def test_validation_images_are_a_share_of_the_other_folds_patients():
    manifest = cohort([["a"], ["b"]] * 50)
    for made in dealt(manifest, 5, val_fraction=0.25):
        assert Counter(made.table["split"]) == {"train": 60, "val": 20, "test": 20}
    for made in dealt(manifest, 5, val_fraction=0.0):
        assert Counter(made.table["split"]) == {"train": 80, "test": 20}


def test_copies_under_another_patient_are_in_one_fold():
    manifest = keep_together(cohort([["a"], ["b"]] * 10), [[0, 7], [1, 8, 15]])
    for made in dealt(manifest, 4):
        splits = made.table["split"].to_numpy()
        assert splits[0] == splits[7]
        assert len({splits[1], splits[8], splits[15]}) == 1


def test_reference_rows_and_their_patients_are_never_held_out():
    manifest = cohort([["a", "a"], ["b"]] * 8)
    splits = np.full(len(manifest), None, dtype=object)
    splits[0] = "reference"
    for made in dealt(manifest.with_columns(split=splits), 3):
        assert made.table["split"].tolist()[:2] == ["reference", "train"]


def test_folds_depend_on_ids_and_seed_and_not_on_the_order_of_rows():
    manifest = cohort([["a"], ["b"]] * 10)
    order = np.random.default_rng(0).permutation(len(manifest))

    def tested(data: Manifest, seed: int = 0) -> list[set[str]]:
        return [set(made.part("test").table["image"]) for made in dealt(data, 4, seed=seed)]

    assert tested(manifest) == tested(manifest.subset(order))
    assert tested(manifest) != tested(manifest, seed=1)


def test_all_folds_together_are_training_images():
    made = split_of_fold(pooled_for_folds(cohort([["a"]] * 10 + [["rare"]] * 2)), 3, None)
    assert set(made.table["split"]) == {"train"}
    assert any(note.startswith("caution: 'rare' is of 2 patients") for note in made.notes)


@pytest.mark.parametrize(
    ("patients", "folds", "words"),
    [
        (4, 5, "4 patients for 5 folds; pass --folds 4 or fewer"),
        (2, 2, "2 patients for 2 folds; add patients"),
    ],
)
def test_more_folds_than_patients(patients, folds, words):
    with pytest.raises(InputError, match=words):
        dealt(cohort([["a"], ["b"]] * (patients // 2)), folds)


def test_few_patients_of_a_class_and_one_domain_are_cautions_with_numbers():
    manifest = cohort([["a"]] * 12 + [["rare"]] * 3, domain="north")
    [first, *_] = dealt(manifest, 5)
    assert (
        "caution: 'rare' is of 3 patients, and there are 5 folds: 2 folds without a test image of it"
        in first.notes
    )
    assert any("all images are of domain 'north'" in note for note in first.notes)


def test_a_blank_split_among_others_is_an_error():
    manifest = cohort([["a"], ["b"]] * 4).with_columns(split=["train", None, *["train"] * 6])
    with pytest.raises(InputError, match="split is blank"):
        pooled_for_folds(manifest)
