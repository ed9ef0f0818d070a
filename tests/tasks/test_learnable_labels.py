"""Labels from which nothing can be learned are said before the training, or refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modicum.data.manifest import Manifest
from modicum.errors import InputError
from modicum.tasks import Classification

SPLITS = ["train"] * 6 + ["val"] * 3 + ["test"] * 3


def classes(labels: list[str]) -> Manifest:
    images = [f"{n}.png" for n in range(len(labels))]
    return Manifest(pd.DataFrame({"image": images, "label": labels, "split": SPLITS}), Path(), source="t.csv")


def findings(**columns: list[float]) -> Manifest:
    table = pd.DataFrame({"image": [f"{n}.png" for n in range(12)], "split": SPLITS})
    return Manifest(
        table.assign(**{f"labels:{name}": values for name, values in columns.items()}), Path(), source="t.csv"
    )


def cautions(manifest: Manifest, **options) -> list[str]:
    return Classification.from_manifest(manifest, options).cautions(manifest)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("aabbab" "aba" "abc", "class 'c' (1 in test)"),
        ("aabbab" "abc" "abb", "class 'c' (1 in val)"),
        ("aabbab" "acd" "cdd", "class 'c' (1 in val and 1 in test), 'd' (1 in val and 2 in test)"),
    ],
)  # fmt: skip
def test_a_class_without_training_images_is_said(labels, expected):
    (said,) = cautions(classes(list(labels)))
    assert expected in said


def test_classes_that_all_have_training_images_and_classes_without_any_image_are_not():
    assert cautions(classes(list("aabbababaabb"))) == []
    assert cautions(classes(list("aabbababaabb")), classes=["a", "b", "never"]) == []


YES = [1.0, 0, 1, 0, 1, 0] * 2
UNKNOWN = [np.nan] * 12


def test_a_finding_without_a_known_label_in_training_is_said():
    only_later = [np.nan] * 6 + [1.0, 0] * 3
    said = cautions(findings(effusion=YES, mass=UNKNOWN, nodule=only_later))
    assert len(said) == 1
    assert "known label of finding 'mass', 'nodule'" in said[0]


def test_a_finding_that_is_always_the_same_in_training_is_said():
    always, never = [1.0] * 6 + [0.0] * 6, [0.0, np.nan] * 6
    (said,) = cautions(findings(effusion=YES, device=always, hernia=never))
    assert "'device' (always present), 'hernia' (always absent)" in said


def test_findings_of_which_nothing_is_known_are_refused():
    with pytest.raises(InputError, match="no finding of the 6 training images is known"):
        cautions(findings(mass=UNKNOWN, nodule=UNKNOWN))
    with pytest.raises(InputError, match="no finding"):  # known in test alone
        cautions(findings(mass=[np.nan] * 9 + [1.0, 0, 1]))


@pytest.mark.parametrize("names", ["012", "123", "0123456", "-101"])
def test_numbers_that_are_taken_as_grades_are_said_with_how_to_choose(names):
    names = ["-1", "0", "1"] if names == "-101" else list(names)
    table = classes([names[n % len(names)] for n in range(12)])
    assert Classification.from_manifest(table, {}).monitor == "quadratic_kappa"
    (said,) = Classification.from_manifest(table, {}).notes
    assert "taken as grades because they are consecutive numbers" in said
    assert "--set ordered=false" in said
    assert "--set ordered=true" in said


def test_nothing_is_said_where_it_was_decided_or_names_are_no_grades():
    grades, words = classes(list("012" * 4)), classes(list("abc" * 4))
    for table, options in ((grades, {"ordered": True}), (grades, {"ordered": False}), (words, {})):
        assert Classification.from_manifest(table, options).notes == []
    assert Classification.from_manifest(grades, {"ordered": False}).monitor == "auroc"
    (said,) = Classification.from_manifest(classes(list("01" * 6)), {}).notes
    assert "grade" not in said, "two classes have no grades; which is the positive one is said"
    assert Classification.from_manifest(classes(list("135" * 4)), {}).notes == []
