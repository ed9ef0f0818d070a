"""The same picture under two labels, and one class under two names."""

import numpy as np
import pytest
from PIL import Image

from modicum.data.checks.duplicates import contradiction_notes
from modicum.data.checks.fingerprint import fingerprint
from modicum.data.checks.scan import scan
from modicum.data.layouts import load_manifest


def table(folder, header, rows):
    noise = np.random.default_rng(0)
    for number, (name, *_) in enumerate(rows):
        pixels = (
            noise.integers(0, 255, (32, 32), dtype=np.uint8) if number > 1 else np.full((32, 32), 9, np.uint8)
        )
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    (folder / "set.csv").write_text("\n".join([header, *(",".join(row) for row in rows)]))
    return folder / "set.csv"


@pytest.mark.parametrize(
    ("header", "first", "second", "contrary"),
    [
        ("image,label", ["nv"], ["mel"], True),
        ("image,label", ["nv"], ["nv"], False),
        ("image,label", ["nv"], [""], False),
        ("image,labels:a,labels:b", ["1", "0"], ["1", "1"], True),
        ("image,labels:a,labels:b", ["1", "0"], ["1", ""], False),
        ("image,labels", ["a|b"], ["a"], True),
    ],
)
def test_one_picture_under_two_labels(tmp_path, header, first, second, contrary):
    others = [["c.png", *first], ["d.png", *(["mel"] if "label" in header[-5:] else second)]]
    path = table(tmp_path, header, [["a.png", *first], ["b.png", *second], *others])
    made = load_manifest(path, unlabelled="keep")
    scanned = scan(made.refs())
    found = fingerprint(made, scanned)
    assert found["contradictions"] == int(contrary)
    assert any("contradict each other" in warning["text"] for warning in found["warnings"]) == contrary
    assert bool(contradiction_notes(made, scanned.facts)) == contrary


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("Melanoma", "melanoma", True),
        ("basal cell", "basal  cell", True),
        ("basal_cell", "Basal cell", True),
        ("\ufb01broma", "fibroma", True),
        ("HER2+", "HER2-", False),
        ("1", "-1", False),
        ("grade 1", "grade 11", False),
    ],
)
def test_classes_that_differ_by_their_spelling_only(tmp_path, one, other, alike):
    path = table(tmp_path, "image,label", [["a.png", one], ["b.png", other]])
    notes = load_manifest(path).notes
    assert any("count as 2 classes" in note for note in notes) == alike
