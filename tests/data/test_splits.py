"""Splits keep patients together, keep classes in proportion, and do not depend on the order of the rows."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum.data.layouts import load_manifest
from modicum.data.manifest import SPLITS, Manifest
from modicum.data.splits import (
    carve_validation,
    check_splits,
    ensure_splits,
    patients_in_order,
    shared_patients,
    split_by_patient,
)
from modicum.errors import InputError


def data(tmp_path, patients, labels=None, **columns) -> Manifest:
    table = {"image": [f"{row}.png" for row in range(len(patients))], "patient": [str(p) for p in patients]}
    table |= {} if labels is None else {"label": labels}
    return Manifest(pd.DataFrame(table | columns), tmp_path, source="labels.csv")


def splits_of(manifest: Manifest) -> dict[str, str]:
    return dict(zip(manifest.table["image"], manifest.table["split"], strict=True))


# Patients with one to three images, each image of a class whose share falls by half from one to the next.
cohorts = st.lists(
    st.lists(st.sampled_from("aaaaaaaabbbbccd"), min_size=1, max_size=3), min_size=12, max_size=80
)


@settings(max_examples=60, deadline=None)
@given(cohort=cohorts, seed=st.integers(0, 5), shuffle=st.randoms(use_true_random=False))
def test_properties_of_a_split(tmp_path_factory, cohort, seed, shuffle):
    rows = [(patient, label) for patient, labels in enumerate(cohort) for label in labels]
    whole = data(tmp_path_factory.getbasetemp(), [p for p, _ in rows], [label for _, label in rows])
    split = split_by_patient(whole, seed=seed)
    # No patient is in two splits, every row is in one, and nothing else changed.
    assert not shared_patients(split)
    assert set(split.table["split"]) == set(SPLITS)
    pd.testing.assert_frame_equal(split.table.drop(columns="split"), whole.table)
    # Sizes: each of four classes may be off by a patient of three images and by its guaranteed share.
    counts = Counter(split.table["split"])
    for name, fraction in zip(SPLITS, (0.7, 0.15, 0.15), strict=True):
        assert abs(counts[name] - fraction * len(rows)) <= 3 * 4
    # The same whatever the order of the rows, and when done again.
    order = list(range(len(rows)))
    shuffle.shuffle(order)
    assert splits_of(split_by_patient(whole.subset(order), seed=seed)) == splits_of(split)


@settings(max_examples=60, deadline=None)
@given(labels=st.lists(st.sampled_from("aaaabbc"), min_size=9, max_size=90), seed=st.integers(0, 5))
def test_every_class_with_three_patients_is_in_every_split(tmp_path_factory, labels, seed):
    split = split_by_patient(data(tmp_path_factory.getbasetemp(), range(len(labels)), labels), seed=seed)
    for label, count in Counter(labels).items():
        if count >= 3:
            assert set(split.table["split"][split.table["label"] == label]) == set(SPLITS)


def test_classes_keep_their_proportion(tmp_path):
    labels = ["0"] * 700 + ["1"] * 200 + ["2"] * 80 + ["3"] * 20
    split = split_by_patient(data(tmp_path, range(1000), labels), (0.6, 0.2, 0.2), seed=1)
    table = pd.crosstab(split.table["label"], split.table["split"])
    np.testing.assert_allclose(table["train"], [420, 120, 48, 12], atol=2)
    np.testing.assert_allclose(table["val"], [140, 40, 16, 4], atol=2)
    np.testing.assert_allclose(table["test"], [140, 40, 16, 4], atol=2)


def test_findings_keep_their_proportion(tmp_path):
    draws = np.random.default_rng(0)
    shares = {"labels:Effusion": 0.3, "labels:Edema": 0.1, "labels:Hernia": 0.02}
    findings = {name: (draws.random(2000) < share).astype(float) for name, share in shares.items()}
    findings["labels:Edema"][:200] = np.nan
    split = split_by_patient(data(tmp_path, np.repeat(range(1000), 2), **findings), seed=3)
    for name, values in findings.items():
        total = np.nansum(values)
        for part, fraction in zip(SPLITS, (0.7, 0.15, 0.15), strict=True):
            got = split.table[name][split.table["split"] == part].sum()
            assert abs(got - fraction * total) <= max(4, 0.02 * total), (name, part)


def test_another_seed_gives_another_split(tmp_path):
    whole = data(tmp_path, range(60), ["a", "b"] * 30)
    assert splits_of(split_by_patient(whole, seed=0)) != splits_of(split_by_patient(whole, seed=1))


def test_the_order_of_patients_survives_a_new_patient(tmp_path):
    before = patients_in_order(data(tmp_path, range(30)), seed=4).ids
    after = patients_in_order(data(tmp_path, range(31)), seed=4).ids
    assert [patient for patient in after if patient != "patient:30"] == before


def test_images_without_labels_or_patients_can_be_split(tmp_path):
    whole = Manifest(pd.DataFrame({"image": [f"{n}.png" for n in range(100)]}), tmp_path)
    counts = Counter(split_by_patient(whole, (0.8, 0.2, 0.0)).table["split"])
    assert counts == {"train": 80, "val": 20}


def test_a_huge_patient_stays_whole(tmp_path):
    whole = data(tmp_path, [0] * 500 + list(range(1, 101)))
    split = split_by_patient(whole)
    assert len(set(split.table["split"][:500])) == 1
    check_splits(split, SPLITS)


@pytest.mark.parametrize("fractions", [(0.5, 0.2, 0.2), (0.0, 0.5, 0.5), (1.2, -0.2, 0.0), (), (0.25,) * 4])
def test_fractions_that_make_no_split_are_refused(tmp_path, fractions):
    with pytest.raises(InputError, match="are not train, val and test fractions that add up to 1"):
        split_by_patient(data(tmp_path, range(10)), fractions)


def test_too_few_patients_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"2 patients cannot fill 3 splits; .*--set fractions=\[0.5,0.5,0\]"):
        split_by_patient(data(tmp_path, [1, 1, 2, 2, 2]))
    parts = split_by_patient(data(tmp_path, [1, 1, 2, 2, 2]), (0.5, 0.5, 0.0)).table.groupby("patient")[
        "split"
    ]
    assert sorted(part for _, (part,) in parts.unique().items()) == ["train", "val"]


def test_validation_is_carved_from_training_alone(tmp_path):
    whole = data(tmp_path, range(100), ["a", "b"] * 50, split=["train"] * 80 + ["test"] * 20)
    carved = carve_validation(whole, 0.25, seed=0)
    assert carved.table["split"].tolist()[80:] == ["test"] * 20
    assert Counter(carved.table["split"]) == {"train": 60, "val": 20, "test": 20}
    assert Counter(carved.part("val").table["label"]) == {"a": 10, "b": 10}
    assert carve_validation(carved, 0.25, seed=1) is carved


def test_carving_needs_a_split_with_training(tmp_path):
    with pytest.raises(InputError, match="no split"):
        carve_validation(data(tmp_path, range(5)))
    with pytest.raises(InputError, match=r"split 'train' is empty \(there are: test\)"):
        carve_validation(data(tmp_path, range(5), split=["test"] * 5))


def test_checks_of_a_given_split(tmp_path):
    with pytest.raises(InputError, match=r"split 'val' is empty \(there are: train, test\)"):
        check_splits(data(tmp_path, range(3), split=["train", "train", "test"]))
    with pytest.raises(InputError, match="1 patient in several splits \\('7' in train and val\\)"):
        check_splits(data(tmp_path, [7, 8, 7], split=["train", "train", "val"]))
    with pytest.raises(InputError, match="all training images have the label '1'"):
        check_splits(data(tmp_path, range(3), ["1", "1", "0"], split=["train", "train", "val"]))
    # Blank patients are nobody's in common.
    table = pd.DataFrame({"image": ["a", "b"], "patient": ["", ""], "split": ["train", "val"]})
    check_splits(Manifest(table, tmp_path))


def test_ensure_splits_makes_completes_or_keeps(tmp_path):
    labels = ["a", "b"] * 20
    made = ensure_splits(data(tmp_path, range(40), labels))
    assert set(made.table["split"]) == set(SPLITS)
    completed = ensure_splits(data(tmp_path, range(40), labels, split=["train"] * 30 + ["test"] * 10))
    assert set(completed.table["split"]) == set(SPLITS)
    kept = data(tmp_path, range(40), labels, split=["train"] * 30 + ["val"] * 10)
    assert ensure_splits(kept) is kept
    with pytest.raises(
        InputError, match=r"labels.csv: image '2.png': split is blank; write train, val or test"
    ):
        ensure_splits(data(tmp_path, range(3), ["a", "b", "a"], split=["train", "val", ""]))


def test_rare_grades_of_real_patients_reach_each_split(real_images):
    whole = load_manifest(real_images("fundus_dr_grading"), columns={"label": "dr_grade"})
    split = split_by_patient(whole, seed=0)
    check_splits(split, SPLITS)
    table = pd.crosstab(split.table["label"], split.table["split"])
    assert (table > 0).all(axis=None)
    sizes = split.table["split"].value_counts(normalize=True)
    np.testing.assert_allclose([sizes[name] for name in SPLITS], [0.7, 0.15, 0.15], atol=0.03)


@pytest.mark.parametrize("task", ["covid1", "viral1"])
def test_official_splits_have_no_shared_patients(real_images, task):
    folder = real_images("cxr_covid")
    column = task.rstrip("1")
    whole = load_manifest(folder, columns={"label": column}, split_lists=folder / "lists" / task)
    check_splits(whole, SPLITS)
