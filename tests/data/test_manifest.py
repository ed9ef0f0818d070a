"""The manifest as a value: text stays text, saved and read back it is the same, its hash follows its content."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modicum.data.image import ImageRef
from modicum.data.manifest import Manifest, are_consecutive, class_order, name_classes, split_reference
from modicum.errors import InputError

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


def manifest(root, **columns) -> Manifest:
    return Manifest(pd.DataFrame(columns), root, source="labels.csv", name="set")


def test_numbers_and_blanks_become_text_and_missing(tmp_path):
    table = manifest(
        tmp_path, image=["a.png", "b.png"], patient=["007", ""], label=[1.0, np.nan], width=[512, 7]
    ).table
    assert table["patient"].tolist()[0] == "007"
    assert table["patient"].isna().tolist() == [False, True]
    assert table["label"].tolist()[0] == "1"
    assert table["width"].tolist() == ["512", "7"]


def test_image_comes_first_and_own_columns_last(tmp_path):
    made = manifest(tmp_path, extra=["x"], patient=["p"], image=["a.png"], **{"labels:Edema": [1]})
    assert list(made.table) == ["image", "labels:Edema", "patient", "extra"]
    assert made.findings == ["Edema"]


def test_a_manifest_needs_images(tmp_path):
    with pytest.raises(InputError, match="no column 'image'"):
        manifest(tmp_path, label=["a"])


@given(
    rows=st.lists(
        st.tuples(names, words, words, st.sampled_from([1.0, 0.0, np.nan, 0.25])), min_size=1, max_size=8
    ),
    finding=names,
)
def test_saved_reads_back_exactly(tmp_path_factory, rows, finding):
    folder = tmp_path_factory.mktemp("saved")
    images, labels, extra, values = zip(*rows, strict=True)
    columns = {"image": images, "label": labels, f"labels:{finding}": values, 'own, "column"': extra}
    made = manifest(folder, **columns)
    made.save(folder / "manifest.csv")
    back = Manifest.read_saved(folder / "manifest.csv", folder)
    pd.testing.assert_frame_equal(back.table, made.table, check_exact=True)
    assert back.content_hash() == made.content_hash()
    assert [path.name for path in folder.iterdir()] == ["manifest.csv"]


def test_saved_is_plain_csv_that_pandas_reads(tmp_path):
    made = manifest(
        tmp_path, image=["a.png", "b,c.png"], patient=["007", "8"], **{"labels:Edema": [1, np.nan]}
    )
    made.save(tmp_path / "m.csv")
    read = pd.read_csv(tmp_path / "m.csv", dtype={"patient": str})
    assert read["image"].tolist() == ["a.png", "b,c.png"]
    assert read["patient"].tolist() == ["007", "8"]
    np.testing.assert_array_equal(read["labels:Edema"], [1.0, np.nan])


@pytest.mark.parametrize("text", ["", "image,label\na.png", "image,labels:x\na.png,maybe\n"])
def test_a_damaged_saved_manifest_is_named(tmp_path, text):
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.csv' is damaged"):
        Manifest.read_saved(tmp_path / "manifest.csv", tmp_path)


def test_a_missing_saved_manifest_is_named(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        Manifest.read_saved(tmp_path / "manifest.csv", tmp_path)


def test_hash_covers_what_matters_and_nothing_else(tmp_path):
    columns = {
        name: [f"{name}1", f"{name}2"]
        for name in ("image", "label", "patient", "domain", "mask", "target", "report")
    }
    columns |= {"eye": ["L", "R"], "split": ["train", "val"], "labels:Edema": [1.0, 0.0], "width": ["5", "6"]}
    hashes = {manifest(tmp_path, **columns).content_hash()}
    for name in columns:
        swapped = {**columns, name: columns[name][::-1]}
        hashes.add(manifest(tmp_path, **swapped).content_hash())
    # One for the original and one for each column that matters; `width` changes nothing.
    assert len(hashes) == 1 + len(columns) - 1
    assert manifest(tmp_path / "elsewhere", **columns).content_hash() in hashes
    assert (
        manifest(tmp_path, image=["a", "b"], label=["", "x"]).content_hash()
        != manifest(tmp_path, image=["a", "b"], label=["x", ""]).content_hash()
    )


def test_subset_keeps_places_and_leaves_the_whole_alone(tmp_path):
    table = pd.DataFrame({"image": ["a", "b", "c"], "split": ["train", "val", "train"]})
    whole = Manifest(table, tmp_path, source="labels.csv", origins=["row 2", "row 3", "row 4"])
    some = whole.subset([2, 0])
    some.notes.append("changed")
    assert some.table["image"].tolist() == ["c", "a"]
    assert some.table.index.tolist() == [0, 1]
    assert some.describe_row(0) == "labels.csv row 4"
    assert whole.part("train").table["image"].tolist() == ["a", "c"]
    assert len(whole.part("test")) == 0
    assert len(whole) == 3
    assert whole.notes == []
    assert len(whole.subset(np.array([False, True, False]))) == 1
    assert len(whole.subset(whole.table["split"] == "train")) == 2


def test_references_have_files_below_the_root(tmp_path):
    made = manifest(tmp_path, image=["scans/a.nii.gz#axis=2&index=80", "b#1.png"])
    assert made.refs() == [
        ImageRef(tmp_path / "scans/a.nii.gz", axis=2, index=80),
        ImageRef(tmp_path / "b#1.png"),
    ]
    assert [str(ref) for ref in made.refs()] == made.table["image"].tolist()
    assert split_reference("scans/a.nii.gz#axis=2&index=80") == ("scans/a.nii.gz", "#axis=2&index=80")
    assert split_reference("b#1.png") == ("b#1.png", "")


def test_patients_without_an_id_are_their_own_but_slices_of_a_file_stay_together(tmp_path):
    images = ["a.png", "b.png", "c.png", "v.nii#axis=2&index=1", "v.nii#axis=2&index=2"]
    images += ["d.npz#array=images&index=0", "d.npz#array=images&index=1"]
    patients = manifest(tmp_path, image=images, patient=["7", "7", *[""] * 5]).patients()
    assert patients[0] == patients[1]
    assert patients[3] == patients[4]
    assert len(set(patients)) == 5
    # An id that reads like a file is not that file.
    assert len(set(manifest(tmp_path, image=["a.png", "b.png"], patient=["b.png", ""]).patients())) == 2


def test_class_order_is_by_number_or_by_letter():
    assert class_order(["10", "2", "0", "2"]) == ["0", "2", "10"]
    assert class_order(["mel", "10", "bcc"]) == ["10", "bcc", "mel"]
    assert name_classes(["0", "1", "2", "3", "4"]) == "0..4"
    assert name_classes(["bcc", "mel"]) == "bcc, mel"


def test_consecutive_names_are_whole_numbers_that_follow_each_other():
    assert are_consecutive(["0", "1", "2"])
    assert are_consecutive(["-1", "0"])
    for names in (["0", "2"], ["1", "0"], ["mel", "bcc"], ["1", "²"], ["--1", "0"], []):
        assert not are_consecutive(names)


def test_columns_without_a_meaning_can_be_left_out(tmp_path):
    made = manifest(
        tmp_path, image=["a.png"], patient=["7"], **{"labels:Edema": [1.0], "name": ["Doe"], "born": ["1950"]}
    )
    kept = made.without_extras()
    assert list(kept.table) == ["image", "labels:Edema", "patient"]
    assert kept.content_hash() == made.content_hash()
    assert list(made.table) == ["image", "labels:Edema", "patient", "name", "born"]
