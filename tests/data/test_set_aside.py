"""What a data set says but does not label or put into a split is set aside with a note, and can be asked for."""

import json

import numpy as np
import pytest
from PIL import Image

from modicum.data.layouts import load_manifest
from modicum.data.splits import ensure_splits
from modicum.engine.inference.evaluate_run import rows_to_evaluate
from modicum.errors import InputError


def touch(folder, *names):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(folder / name, format="PNG")
    return folder


@pytest.mark.parametrize("key", ["test", "validation"])
@pytest.mark.parametrize("label", ["labelsTr/{}.png", 1, ["cyst"], [1, 0]])
def test_the_unlabelled_list_of_the_decathlon_is_set_aside(tmp_path, key, label):
    touch(tmp_path, *(f"{part}/{n}.png" for part in ("imagesTr", "labelsTr") for n in range(3)))
    training = [
        {"image": f"./imagesTr/{n}.png", "label": label.format(n) if isinstance(label, str) else label}
        for n in range(3)
    ]
    # The test images need not even have been downloaded.
    document = {"labels": {"0": "background", "1": "cyst"}, "training": training, key: ["./imagesTs/9.png"]}
    (tmp_path / "dataset.json").write_text(json.dumps(document))
    split = "val" if key == "validation" else key
    made = load_manifest(tmp_path)
    assert made.table["image"].tolist() == [f"imagesTr/{n}.png" for n in range(3)]
    assert f"left out: 1 image of the {split} list of dataset.json, without labels" in made.notes
    assert len(load_manifest(tmp_path, unlabelled="keep", missing="keep")) == 4


def test_a_list_without_any_label_stays(tmp_path):
    touch(tmp_path, "a.png", "b.png")
    (tmp_path / "set.json").write_text(json.dumps({"training": ["a.png"], "test": ["b.png"]}))
    assert len(load_manifest(tmp_path / "set.json")) == 2


def splits(tmp_path, *words):
    touch(tmp_path, *(f"{n}.png" for n in range(len(words))))
    rows = [f"{n}.png,{n % 2},{word}" for n, word in enumerate(words)]
    (tmp_path / "set.csv").write_text("\n".join(["image,label,split", *rows]))
    return load_manifest(tmp_path / "set.csv")


def test_a_word_that_is_no_split_takes_its_rows_out_and_can_be_asked_for(tmp_path):
    made = splits(tmp_path, "train", "train", "validation", "val", "external", "external", "Holdout")
    assert (
        "set.csv row 6: split 'Holdout', 'external' is not train, val, test or reference: 3 rows in no split"
        in made.notes[0]
    )
    assert len(ensure_splits(made)) == 4
    assert len(rows_to_evaluate(made, "external")[0]) == 2
    assert rows_to_evaluate(made, "validation")[1] == "val"
    assert len(rows_to_evaluate(made, "all")[0]) == 7
    with pytest.raises(InputError, match="there is no split 'extern'"):
        rows_to_evaluate(made, "extern")


def test_folds_alone_are_no_split(tmp_path):
    made = splits(tmp_path, *(f"fold{n % 5}" for n in range(20)))
    assert "split" not in made.table
    assert "the column is not used as the split" in made.notes[0]
    assert set(ensure_splits(made).table["split"]) == {"train", "val", "test"}
    assert len(rows_to_evaluate(made, "fold3")[0]) == 4


def test_a_blank_is_still_asked_about(tmp_path):
    with pytest.raises(InputError, match="split is blank"):
        ensure_splits(splits(tmp_path, "train", "train", "val", "val", "", "external"))
