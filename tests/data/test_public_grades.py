"""Public sets with grades of diabetic retinopathy, made small: ids without endings, eyes, splits, what is set aside."""

from collections import Counter
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


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def by_image(manifest, column: str) -> dict[str, str]:
    return manifest.table.set_index("image")[column].dropna().to_dict()


# EyePACS -------------------------------------------------------------------------------------------------------


def eyepacs(folder: Path, solution: bool = True) -> Path:
    touch(folder, *(f"train/{number}_{eye}.jpeg" for number in (10, 13) for eye in ("left", "right")))
    touch(folder, *(f"test/{number}_{eye}.jpeg" for number in (1, 2) for eye in ("left", "right")))
    write(folder / "trainLabels.csv", "image,level", "10_left,0", "10_right,0", "13_left,2", "13_right,4")
    write(folder / "sampleSubmission.csv", "image,level", "1_left,0", "1_right,0", "2_left,0", "2_right,0")
    if solution:
        rows = ("1_left,0,Private", "1_right,3,Private", "2_left,1,Public", "2_right,1,Public")
        write(folder / "retinopathy_solution.csv", "image,level,Usage", *rows)
    return folder


def test_eyepacs_has_patient_and_eye_by_name_and_kaggles_split(tmp_path):
    made = load_manifest(eyepacs(tmp_path))
    assert made.table.columns.tolist() == ["image", "label", "patient", "eye", "split"]
    assert made.table.iloc[3].tolist() == ["train/13_right.jpeg", "4", "13", "R", "train"]
    assert by_image(made, "split") == {
        **{f"train/{n}_{eye}.jpeg": "train" for n in (10, 13) for eye in ("left", "right")},
        **{f"test/1_{eye}.jpeg": "test" for eye in ("left", "right")},
        **{f"test/2_{eye}.jpeg": "val" for eye in ("left", "right")},
    }
    assert by_image(made, "eye")["test/2_left.jpeg"] == "L"
    assert made.notes == [
        "read as layout 'eyepacs'",
        "splits are Kaggle's: Public rows validate, Private rows test",
    ]
    assert made.classes() == ["0", "1", "2", "3", "4"]


def test_eyepacs_pairs_the_eyes_of_a_patient(tmp_path):
    from modicum.engine.known_rows import rows_known

    made = load_manifest(eyepacs(tmp_path))
    assert rows_known(made).fellow().tolist() == [1, 0, 3, 2, 5, 4, 7, 6]


def test_eyepacs_without_the_solution_has_no_split_and_sets_the_test_images_aside(tmp_path):
    made = load_manifest(eyepacs(tmp_path, solution=False))
    assert len(made) == 4
    assert "split" not in made.table
    assert (
        "left out: 4 images without a row in trainLabels.csv (test/1_left.jpeg, test/1_right.jpeg, "
        "test/2_left.jpeg, ...)" in made.notes
    )


def test_eyepacs_of_whose_test_images_none_is_there_is_its_training_part(tmp_path):
    import shutil

    shutil.rmtree(eyepacs(tmp_path) / "test")
    made = load_manifest(tmp_path)
    assert len(made) == 4
    assert "left out: 4 rows of retinopathy_solution.csv, none of whose images is there" in made.notes


def test_eyepacs_as_its_copies_have_it(tmp_path):
    """Resized copies nest folders, save as PNG, write capitals and floats, and call the solution otherwise."""
    touch(tmp_path, "resized_train/resized_train/10_Left.PNG", "resized_train/resized_train/10_right.png")
    touch(tmp_path, "test/odd.png", "test/7_left.png")
    write(
        tmp_path / "trainLabels_cropped.csv", "Unnamed: 0,image,level", "0,10_left,0.0", "1,10_right.jpg,2.0"
    )
    write(tmp_path / "testLabels15.csv", "image,level,Usage", "7_left,1,Public", "odd,1,private")
    with pytest.raises(InputError, match=r"1 file not found \(.*trainLabels_cropped.csv row 3"):
        load_manifest(tmp_path)
    write(tmp_path / "trainLabels_cropped.csv", "Unnamed: 0,image,level", "0,10_left,0.0", "1,10_right,2.0")
    made = load_manifest(tmp_path)
    assert by_image(made, "label")["resized_train/resized_train/10_right.png"] == "2"
    assert by_image(made, "eye")["resized_train/resized_train/10_Left.PNG"] == "L"
    assert made.table["split"].tolist() == ["train", "train", "val", "test"]
    assert any(
        note.startswith("1 row without patient and eye: the name is neither NAME_left nor NAME_right (odd)")
        for note in made.notes
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("13_right,5", r"trainLabels.csv row 5: grade '5' is not in 0\.\.4; correct or delete the row"),
        ("13_right,-1", r"row 5: grade '-1' is not in 0\.\.4"),
        ("13_right,2.5", r"row 5: grade '2.5' is not in 0\.\.4"),
        ("13_right,severe", r"row 5: grade 'severe' is not in 0\.\.4"),
        ("13_right", "row 5 has 1 cells, the header has 2"),
        ("99_right,1", r"1 file not found \(.*trainLabels.csv row 5: image 'train/99_right'"),
        ("10_left,1", r"image 'train/10_left.jpeg' is in 2 rows: .* row 2 and .* row 5"),
    ],
)
def test_rows_of_eyepacs_that_make_no_sense(tmp_path, row, message):
    eyepacs(tmp_path)
    write(tmp_path / "trainLabels.csv", "image,level", "10_left,0", "10_right,0", "13_left,2", row)
    with pytest.raises(InputError, match=message) as raised:
        load_manifest(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_blank_grade_is_no_grade(tmp_path):
    eyepacs(tmp_path)
    write(tmp_path / "trainLabels.csv", "image,level", "10_left,0", "10_right,", "13_left,2", "13_right,1")
    made = load_manifest(tmp_path)
    assert len(made) == 7
    assert "left out: 1 image without a label" in made.notes


def test_a_usage_that_is_neither_public_nor_private(tmp_path):
    eyepacs(tmp_path)
    write(tmp_path / "retinopathy_solution.csv", "image,level,Usage", "1_left,0,Secret")
    with pytest.raises(InputError, match=r"row 2: Usage is 'Secret'; write Public or Private"):
        load_manifest(tmp_path)


def test_a_name_of_two_files_is_one_line(tmp_path):
    eyepacs(tmp_path)
    touch(tmp_path, "train/10_left.png")
    with pytest.raises(
        InputError,
        match=r"row 2: '10_left' is the name of several files \(train/10_left.jpeg, train/10_left.png\)",
    ):
        load_manifest(tmp_path)


def test_a_table_with_labels_or_a_split_of_its_own_is_not_overruled(tmp_path):
    (eyepacs(tmp_path, solution=False) / "sampleSubmission.csv").unlink()
    rows = ("10_left,0,sick,train", "10_right,0,well,train", "13_left,2,well,test", "13_right,4,sick,test")
    write(tmp_path / "trainLabels.csv", "image,level,label,split", *rows)
    made = load_manifest(tmp_path)
    assert made.classes() == ["sick", "well"]
    assert made.table["split"].tolist() == ["train", "train", "test", "test"]
    write(aptos(tmp_path / "aptos") / "train.csv", "id_code,diagnosis,split", "000c1434d8d7,2,train")
    assert load_manifest(tmp_path / "aptos").table["split"].tolist() == ["train"]


# APTOS 2019 ----------------------------------------------------------------------------------------------------


def aptos(folder: Path) -> Path:
    touch(
        folder,
        "train_images/000c1434d8d7.png",
        "train_images/001639a390f0.png",
        "test_images/0005cfc8afb6.png",
    )
    write(folder / "train.csv", "id_code,diagnosis", "000c1434d8d7,2", "001639a390f0,4")
    write(folder / "test.csv", "id_code", "0005cfc8afb6")
    write(folder / "sample_submission.csv", "id_code,diagnosis", "0005cfc8afb6,0")
    return folder


def test_aptos_leaves_the_test_images_out(tmp_path):
    made = load_manifest(aptos(tmp_path))
    assert made.table.columns.tolist() == ["image", "label"]
    assert by_image(made, "label") == {
        "train_images/000c1434d8d7.png": "2",
        "train_images/001639a390f0.png": "4",
    }
    assert "left out: 1 image without a row in train.csv (test_images/0005cfc8afb6.png)" in made.notes
    write(tmp_path / "train.csv", "id_code,diagnosis", "000c1434d8d7,2", "001639a390f0,7")
    with pytest.raises(InputError, match=r"train.csv row 3: grade '7' is not in 0\.\.4"):
        load_manifest(tmp_path)


def test_aptos_in_three_parts(tmp_path):
    touch(
        tmp_path,
        "train_images/train_images/a.png",
        "val_images/val_images/b.png",
        "test_images/test_images/c.png",
    )
    for name, image in (("train_1", "a"), ("valid", "b"), ("test", "c")):
        write(tmp_path / f"{name}.csv", "id_code,diagnosis", f"{image},1")
    made = load_manifest(tmp_path)
    assert made.table["split"].tolist() == ["train", "val", "test"]
    assert made.table["image"].iloc[2] == "test_images/test_images/c.png"


def test_a_table_like_that_of_aptos_with_classes_of_its_own_is_read_as_before(tmp_path):
    touch(tmp_path, "train_images/a.png", "train_images/b.png")
    write(tmp_path / "train.csv", "id_code,diagnosis", "a,healthy", "b,glaucoma")
    assert load_manifest(tmp_path).classes() == ["glaucoma", "healthy"]


# Messidor-2 ----------------------------------------------------------------------------------------------------

MESSIDOR = "image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable"


def messidor(folder: Path, pairs: bool = True) -> Path:
    names = (
        "20051020_43808_0100_PP.png",
        "20051020_43832_0100_PP.png",
        "IM000013.JPG",
        "IM000014.JPG",
        "IM9.JPG",
    )
    touch(folder, *(f"IMAGES/{name}" for name in names))
    write(
        folder / "messidor_data.csv",
        MESSIDOR,
        "20051020_43808_0100_PP.png,0,0,1",
        "20051020_43832_0100_PP.png,1,0,1",
        "IM000013.jpg,3,1,1",
        "IM000014.jpg,,,0",
    )
    if pairs:
        rows = ("20051020_43808_0100_PP.png;20051020_43832_0100_PP.png", "IM000013.JPG;IM000014.JPG")
        write(folder / "messidor-2.csv", "left;right", *rows)
    return folder


def test_messidor_sets_ungradable_images_aside_and_pairs_eyes(tmp_path):
    made = load_manifest(messidor(tmp_path))
    assert by_image(made, "label") == {
        "IMAGES/20051020_43808_0100_PP.png": "0",
        "IMAGES/20051020_43832_0100_PP.png": "1",
        "IMAGES/IM000013.JPG": "3",
    }
    assert made.table["eye"].tolist() == ["L", "R", "L"]
    assert made.table["patient"].tolist() == ["20051020_43808_0100_PP"] * 2 + ["IM000013"]
    assert made.table["macular_edema"].tolist() == ["0", "0", "1"]
    assert "split" not in made.table
    assert "left out: 1 ungradable image (IM000014.jpg)" in made.notes
    assert "left out: 1 image without a row in messidor_data.csv (IMAGES/IM9.JPG)" in made.notes


def test_messidor_without_its_pairs_says_where_they_are(tmp_path):
    made = load_manifest(messidor(tmp_path, pairs=False))
    assert not {"patient", "eye"} & {*made.table}
    assert "patients and eyes are not known: they are in messidor-2.csv of the publisher" in made.notes


def test_messidor_without_grades_is_its_pairs(tmp_path):
    (messidor(tmp_path) / "messidor_data.csv").unlink()
    made = load_manifest(tmp_path)
    assert made.table.columns.tolist() == ["image", "patient", "eye"]
    assert made.table["eye"].tolist() == ["L", "R", "L", "R"]


def test_images_of_messidor_in_two_pairs_or_none(tmp_path):
    messidor(tmp_path)
    write(tmp_path / "messidor-2.csv", "left;right", "IM000013.JPG;IM000014.JPG")
    made = load_manifest(tmp_path)
    assert any("2 images without patient and eye: in no pair" in note for note in made.notes)
    write(tmp_path / "messidor-2.csv", "left;right", "IM000013.JPG;IM000014.JPG", "im000013.jpg;IM9.JPG")
    with pytest.raises(InputError, match=r"messidor-2.csv row 3: 'im000013.jpg' is in another pair too"):
        load_manifest(tmp_path)


# IDRiD ---------------------------------------------------------------------------------------------------------

IDRID = "B. Disease Grading"
IDRID_HEADER = "Image name,Retinopathy grade,Risk of macular edema ,,,"


def idrid(folder: Path) -> Path:
    for part, count in (("a. Training Set", 2), ("b. Testing Set", 1)):
        touch(folder, *(f"{IDRID}/1. Original Images/{part}/IDRiD_{n:03}.jpg" for n in range(1, count + 1)))
    truth = folder / IDRID / "2. Groundtruths"
    write(
        truth / "a. IDRiD_Disease Grading_Training Labels.csv",
        IDRID_HEADER,
        "IDRiD_001,3,2,,,",
        "IDRiD_002,0,0,,,",
        ",,,,,",
    )
    write(truth / "b. IDRiD_Disease Grading_Testing Labels.csv", IDRID_HEADER, "IDRiD_001,4,0,,,")
    return folder


def test_idrid_counts_each_part_from_one(tmp_path):
    made = load_manifest(idrid(tmp_path))
    images = f"{IDRID}/1. Original Images"
    assert by_image(made, "label") == {
        f"{images}/a. Training Set/IDRiD_001.jpg": "3",
        f"{images}/a. Training Set/IDRiD_002.jpg": "0",
        f"{images}/b. Testing Set/IDRiD_001.jpg": "4",
    }
    assert made.table["split"].tolist() == ["train", "train", "test"]
    assert made.table["macular_edema_risk"].tolist() == ["2", "0", "0"]
    assert {*made.table} == {"image", "label", "macular_edema_risk", "split"}
    same = load_manifest(tmp_path / IDRID)
    assert same.table["label"].tolist() == ["3", "0", "4"]


def test_a_whole_idrid_is_its_lesions_and_says_where_the_grades_are(tmp_path):
    idrid(tmp_path)
    base = "A. Segmentation"
    for part in ("a. Training Set", "b. Testing Set"):
        touch(tmp_path, f"{base}/1. Original Images/{part}/IDRiD_01.jpg")
        touch(tmp_path, f"{base}/2. All Segmentation Groundtruths/{part}/1. Microaneurysms/IDRiD_01_MA.tif")
    made = load_manifest(tmp_path)
    assert made.table["masks:MA"].notna().all()
    assert f"the grades are in '{IDRID}': pass that folder for them" in made.notes
    assert len(load_manifest(tmp_path, layout="idrid-grading")) == 3


def test_idrid_of_which_a_grade_or_a_part_is_wrong(tmp_path):
    truth = idrid(tmp_path) / IDRID / "2. Groundtruths"
    (truth / "b. IDRiD_Disease Grading_Testing Labels.csv").unlink()
    made = load_manifest(tmp_path)
    assert "split" not in made.table
    assert any(note.startswith("left out: 1 image without a row in a. IDRiD") for note in made.notes)
    write(truth / "a. IDRiD_Disease Grading_Training Labels.csv", IDRID_HEADER, "IDRiD_001,9,2,,,")
    with pytest.raises(InputError, match=r"Training Labels.csv row 2: grade '9' is not in 0\.\.4"):
        load_manifest(tmp_path)


# DDR -----------------------------------------------------------------------------------------------------------


def ddr(folder: Path) -> Path:
    for part, rows in (
        ("train", ("007-0004-000.jpg 0", "007-0025-000.jpg 5")),
        ("valid", ("007-0006-000.jpg 4",)),
        ("test", ("20170323.jpg 2", "")),
    ):
        touch(folder / "DR_grading", *(f"{part}/{row.split()[0]}" for row in rows if row))
        write(folder / "DR_grading" / f"{part}.txt", *rows)
    return folder


def test_ddr_reads_its_lists_and_sets_ungradable_images_aside(tmp_path):
    made = load_manifest(ddr(tmp_path))
    assert by_image(made, "label") == {
        "DR_grading/train/007-0004-000.jpg": "0",
        "DR_grading/valid/007-0006-000.jpg": "4",
        "DR_grading/test/20170323.jpg": "2",
    }
    assert made.table["split"].tolist() == ["train", "val", "test"]
    assert "left out: 1 ungradable image, of grade 5 (007-0025-000.jpg)" in made.notes
    assert len(load_manifest(tmp_path / "DR_grading")) == 3


def test_a_whole_ddr_is_its_lesions_and_says_where_the_grades_are(tmp_path):
    ddr(tmp_path)
    touch(tmp_path / "lesion_segmentation", "train/image/1.jpg", "train/label/EX/1.tif")
    made = load_manifest(tmp_path)
    assert made.table["masks:EX"].notna().all()
    assert "the grades are in 'DR_grading': pass that folder for them" in made.notes


@pytest.mark.parametrize("line", ["007-0004-000.jpg 6", "007-0004-000.jpg", "007-0004-000.jpg mild"])
def test_lines_of_ddr_that_make_no_sense(tmp_path, line):
    write(ddr(tmp_path) / "DR_grading" / "valid.txt", line)
    with pytest.raises(InputError, match=rf"valid.txt row 1: '{line}' is not a name and a grade of 0 to 5"):
        load_manifest(tmp_path)


def test_lists_beside_folders_of_another_name_are_not_ddr(tmp_path):
    touch(tmp_path, "train/a.png", "test/b.png")
    write(tmp_path / "train.txt", "a.png 17")
    assert "label" not in load_manifest(tmp_path).table


# Together ------------------------------------------------------------------------------------------------------


def test_sets_with_grades_together_are_domains(tmp_path):
    aptos(tmp_path / "APTOS")
    messidor(tmp_path / "Messidor-2")
    made = load_manifest(tmp_path)
    assert Counter(made.table["domain"]) == {"APTOS": 2, "Messidor-2": 3}
    assert made.classes() == ["0", "1", "2", "3", "4"]
    assert any(note.startswith("Messidor-2: left out: 1 ungradable image") for note in made.notes)


def test_a_set_without_a_split_beside_one_with_a_split_says_what_can_be_done(tmp_path):
    aptos(tmp_path / "APTOS")
    eyepacs(tmp_path / "EyePACS")
    made = load_manifest(tmp_path)
    assert "no published split of APTOS: hold a domain out for the test (--set held_out=APTOS)" in made.notes
    assert not any("no published split" in note for note in load_manifest(tmp_path / "EyePACS").notes)


def test_a_set_of_another_name_below_is_found(tmp_path):
    eyepacs(tmp_path / "diabetic-retinopathy-detection")
    made = load_manifest(tmp_path)
    assert "read as layout 'eyepacs', from 'diabetic-retinopathy-detection'" in made.notes
    assert made.table["image"].iloc[0] == "diabetic-retinopathy-detection/train/10_left.jpeg"
