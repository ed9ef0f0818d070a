"""A domain that is held out is the whole test, and nothing of it is learned from."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modicum.data.held_out import check_truth, domains_of, hold_out
from modicum.data.manifest import Manifest
from modicum.data.splits import carve_validation, check_splits
from modicum.errors import InputError


def manifest(root, domains, patients=None, **columns):
    images = [f"{row}.png" for row in range(len(domains))]
    table = {"image": images, "domain": domains, **columns}
    if patients is not None:
        table["patient"] = patients
    return Manifest(pd.DataFrame(table), root, source="eyes.csv")


def splits_of(found):
    return dict(zip(found.table["image"], found.table["split"], strict=True))


@given(st.lists(st.sampled_from("abc"), min_size=12, max_size=60), st.integers(0, 5))
def test_test_rows_are_exactly_the_domain_and_validation_is_of_the_others(tmp_path_factory, domains, seed):
    domains = [*domains, *"aabbcc"]
    made = carve_validation(hold_out(manifest(tmp_path_factory.getbasetemp(), domains), "b"), 0.2, seed, True)
    split = made.table["split"].to_numpy()
    assert np.array_equal(split == "test", np.array(domains) == "b")
    assert {"a", "c"} == set(np.array(domains)[split == "val"]) == set(np.array(domains)[split == "train"])


def test_validation_is_taken_by_patient(tmp_path):
    patients = [f"{domain}{number // 3}" for domain in "abc" for number in range(12)]
    made = hold_out(manifest(tmp_path, list("a" * 12 + "b" * 12 + "c" * 12), patients), "a")
    made = carve_validation(made, 0.3, 0, by_domain=True)
    check_splits(made)
    assert (made.table["split"] == "val").sum() in {6, 9, 12}


def test_the_datas_own_split_does_not_count_and_the_notes_say_so(tmp_path):
    given_split = manifest(tmp_path, list("aabb"), split=["test", "val", "train", "train"])
    found = hold_out(given_split, "a")
    assert splits_of(found) == {"0.png": "test", "1.png": "test", "2.png": "train", "3.png": "train"}
    assert any("own split is ignored" in note for note in found.notes)
    assert not any("ignored" in note for note in hold_out(manifest(tmp_path, list("aabb")), "a").notes)


@pytest.mark.parametrize(
    ("domains", "message"),
    [
        (list("aaa"), "all images are of domain 'a', and at least two domains are needed; add images"),
        (["a", None, "b"], "image '1.png': domain is blank"),
    ],
)
def test_domains_that_cannot_be_held_out_are_refused(tmp_path, domains, message):
    with pytest.raises(InputError, match=message):
        hold_out(manifest(tmp_path, domains), "a")


def test_a_table_without_domains_is_refused(tmp_path):
    bare = Manifest(pd.DataFrame({"image": ["1.png"]}), tmp_path, source="eyes.csv")
    with pytest.raises(InputError, match=r"eyes.csv: no column 'domain' \(columns: image\)"):
        domains_of(bare)


def test_an_unknown_domain_gets_a_suggestion(tmp_path):
    with pytest.raises(InputError, match=r"no domain 'DRIV'; did you mean 'DRIVE'"):
        hold_out(manifest(tmp_path, ["DRIVE", "STARE"]), "DRIV")


def test_a_patient_of_two_domains_is_no_stranger(tmp_path):
    with pytest.raises(InputError, match=r"1 patient of domain 'a' also seen in other domains \(p\)"):
        hold_out(manifest(tmp_path, list("aabb"), ["p", "q", "p", "r"]), "a")


def test_a_domain_without_masks_cannot_be_tested_on(tmp_path):
    check_truth(manifest(tmp_path, list("aabb"), mask=["1", None, "2", "3"]))
    with pytest.raises(InputError, match=r"no image of domain 'a' has a mask"):
        check_truth(manifest(tmp_path, list("aabb"), mask=[None, None, "2", "3"]))
