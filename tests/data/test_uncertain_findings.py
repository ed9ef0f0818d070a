"""CheXpert's four kinds of cells (1, 0, -1, blank) under each policy."""

import numpy as np
import pytest
from PIL import Image

from modicum.data.layouts import load_manifest
from modicum.data.layouts.public.chest_tables import CHEXPERT_ORDER, FINDINGS
from modicum.errors import InputError

NAN = float("nan")
CELLS = ("1.0", "0.0", "-1.0", "")


def table_of(folder, options: dict) -> np.ndarray:
    """Findings, ``[4, 5]``, of four images that have each of the cells in all findings."""
    lines = ["Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(FINDINGS)]
    for number, cell in enumerate(CELLS):
        image = folder / "train" / f"patient{number:05}" / "study1" / "view1_frontal.jpg"
        image.parent.mkdir(parents=True)
        Image.new("L", (4, 4)).save(image, "PNG")
        path = f"CheXpert-v1.0-small/{image.relative_to(folder).as_posix()}"
        lines.append(f"{path},F,60,Frontal,AP," + ",".join([cell] * len(FINDINGS)))
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    table = load_manifest(folder, layout_options=options, unlabelled="keep").table
    return table[[f"labels:{name}" for name in CHEXPERT_ORDER]].to_numpy(np.float64)


@pytest.mark.parametrize(
    ("uncertain", "expected"),
    [("ones", [1, 0, 1, 0]), ("zeros", [1, 0, 0, 0]), ("ignore", [1, 0, NAN, 0])],
)
def test_one_policy_for_all_findings(tmp_path, uncertain, expected):
    folder = tmp_path / "CheXpert-v1.0-small"
    found = table_of(folder, {"uncertain": uncertain})
    np.testing.assert_array_equal(found, np.array([expected] * 5).T)


def test_the_policy_that_the_published_counts_imply_is_the_default(tmp_path):
    """Uncertain is present for atelectasis, oedema and effusion, absent for cardiomegaly and consolidation."""
    found = table_of(tmp_path / "CheXpert-v1.0-small", {})
    np.testing.assert_array_equal(found, [[1] * 5, [0] * 5, [1, 0, 0, 1, 1], [0] * 5])


def test_each_finding_can_have_its_own_policy(tmp_path):
    policies = dict(zip(CHEXPERT_ORDER, ("zeros", "ones", "ignore", "zeros", "ones"), strict=True))
    found = table_of(tmp_path / "CheXpert-v1.0-small", {"uncertain": policies})
    np.testing.assert_array_equal(found[2], [0, 1, NAN, 0, 1])


def test_a_policy_of_one_finding_leaves_the_published_ones_of_the_others(tmp_path):
    found = table_of(tmp_path / "CheXpert-v1.0-small", {"uncertain": {"Edema": "zeros"}})
    np.testing.assert_array_equal(found[2], [1, 0, 0, 0, 1])


def test_the_policies_that_are_followed_are_noted(tmp_path):
    folder = tmp_path / "CheXpert-v1.0-small"
    table_of(folder, {})
    options = {"uncertain": {"Edema": "zeros"}, "findings": ["Edema", "Atelectasis", "Fracture"]}
    with pytest.raises(InputError, match=r"train.csv row 4: finding 'Fracture' is uncertain \(-1\)"):
        load_manifest(folder, layout_options=options)
    options["uncertain"]["Fracture"] = "ignore"
    notes = load_manifest(folder, layout_options=options).notes
    assert "uncertain findings count as: Edema zeros, Atelectasis ones, Fracture ignore" in notes


def test_a_policy_of_a_finding_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(
        InputError, match="layout option uncertain: unknown finding 'Oedema'; did you mean 'Edema'"
    ):
        table_of(tmp_path / "CheXpert-v1.0-small", {"uncertain": {"Oedema": "ones"}})


def test_uncertain_findings_of_ordinary_tables_are_counted(tmp_path):
    """Unknown, as no policy says otherwise, and said so."""
    for number in range(3):
        Image.new("L", (4, 4)).save(tmp_path / f"{number}.png")
    note = "-1 (uncertain) counts as unknown: Edema in 2 rows, Mass in 1 row"
    table = tmp_path / "set.csv"
    table.write_text("image,Edema,Mass,Hernia\n0.png,-1,0,1\n1.png,-1.0,-1,0\n2.png,1,,0\n")
    made = load_manifest(table, columns={"labels": ["Edema", "Mass", "Hernia"]})
    assert made.notes == [note]
    np.testing.assert_array_equal(made.table["labels:Edema"], [NAN, NAN, 1])
    table.write_text(
        "image,labels\n0.png,Edema=-1|Mass=0\n1.png,Edema = -1|Mass=-1|Hernia=0\n2.png,Edema=1\n"
    )
    made = load_manifest(table)
    assert made.notes == [note]
    np.testing.assert_array_equal(made.table["labels:Edema"], [NAN, NAN, 1])
    table.write_text("image,Edema,Mass\n0.png,0,1\n1.png,1,\n")
    assert load_manifest(table, columns={"labels": ["Edema", "Mass"]}).notes == []
