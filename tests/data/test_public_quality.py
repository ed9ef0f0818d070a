"""Sets with grades of quality, made small: OCTA-25K by folders, by words and by tables, and EyeQ."""

from pathlib import Path

import pytest
from PIL import Image

from modicum.data.layouts import load_manifest
from modicum.errors import InputError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(folder / name)
    return folder


def labels(manifest):
    return manifest.table.set_index("image")["label"].to_dict()


def test_octa_25k_by_split_and_code_with_the_field_as_domain(tmp_path):
    names = [f"{part}/{code}/a{code}.png" for part in ("train", "test") for code in "012"]
    folder = touch(
        tmp_path / "OCTA-25K", *(f"sOCTA-{s}-10k/{name}" for s in ("3x3", "6x6") for name in names)
    )
    made = load_manifest(folder)
    assert len(made) == 12
    assert labels(made)["sOCTA-3x3-10k/train/2/a2.png"] == "2"
    assert set(made.table["domain"]) == {"3x3", "6x6"}
    assert set(made.table["split"]) == {"train", "test"}
    assert made.classes() == ["0", "1", "2"]
    assert made.notes == [
        "read as layout 'octa-25k'",
        "grades: 0 ungradable, 1 gradable, 2 outstanding",
        "images: 4 of grade 0, 4 of grade 1, 4 of grade 2",
    ]


def test_octa_25k_by_words_and_best_is_outstanding(tmp_path):
    folder = touch(
        tmp_path, "train/best/a.png", "train/gradable/b.png", "test/Ungradable/c.png", "test/best/d.png"
    )
    made = load_manifest(folder)
    assert labels(made) == {
        "train/best/a.png": "2",
        "train/gradable/b.png": "1",
        "test/Ungradable/c.png": "0",
        "test/best/d.png": "2",
    }


def test_octa_25k_by_a_table_beside_the_images(tmp_path):
    folder = touch(tmp_path / "sOCTA-6x6", "a.png", "b.png", "c.png")
    (folder / "grades.csv").write_text("name,label\na.png,0\nb,2\nc.png,gradable\n")
    made = load_manifest(folder)
    assert labels(made) == {"a.png": "0", "b.png": "2", "c.png": "1"}


def test_unknown_grades_are_refused(tmp_path):
    folder = touch(tmp_path / "a", "outstanding/a.png", "gradable/b.png", "excellent/c.png")
    with pytest.raises(InputError, match=r"folder 'excellent' .* is none of the grades"):
        load_manifest(folder)
    folder = touch(tmp_path / "octa", "a.png", "b.png")
    (folder / "grades.csv").write_text("name,label\na.png,0\nb.png,3\n")
    with pytest.raises(InputError, match=r"grades.csv row 3: label '3' is none of"):
        load_manifest(folder, layout="octa-25k")


def test_folders_of_grades_elsewhere_stay_ordinary_classes(tmp_path):
    made = load_manifest(touch(tmp_path / "dr", "0/a.png", "1/b.png", "2/c.png"))
    assert "read as layout 'octa-25k'" not in made.notes


def eyeq(folder: Path) -> Path:
    touch(folder, "train/10_left.png", "train/10_right.png", "test/7_left.png", "test/7_right.png")
    head = ",image,quality,DR_grade\n"
    (folder / "Label_EyeQ_train.csv").write_text(head + "0,10_left.jpeg,0,0\n1,10_right.jpeg,2,1\n")
    (folder / "Label_EyeQ_test.csv").write_text(head + "0,7_left.jpeg,1,4\n1,7_right.jpeg,0,0\n")
    return folder


def test_eyeq_has_quality_patient_eye_and_split(tmp_path):
    made = load_manifest(eyeq(tmp_path))
    assert made.table.iloc[1].tolist() == ["train/10_right.png", "reject", "10", "R", "train"]
    assert made.table["label"].tolist() == ["good", "reject", "usable", "good"]
    assert made.notes == ["read as layout 'eyeq'", "labels are the quality (good, usable, reject)"]


def test_eyeq_gives_grades_of_good_photographs_when_asked(tmp_path):
    made = load_manifest(eyeq(tmp_path), layout_options={"label": "grade", "qualities": ["good"]})
    assert labels(made) == {"train/10_left.png": "0", "test/7_right.png": "0"}
    assert "left out: 2 images whose quality is not good" in made.notes
    with pytest.raises(InputError, match="layout option qualities is 'fine'"):
        load_manifest(eyeq(tmp_path), layout_options={"qualities": ["fine"]})
