"""Public sets of skin lesions, made small: ids without endings, lesions as patients, splits, what is set aside."""

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


def rows(manifest, *columns: str) -> list[list[str]]:
    return manifest.table[list(columns)].to_numpy().tolist()


def test_ham10000_has_two_folders_and_lesions_as_patients(tmp_path):
    touch(tmp_path, "HAM10000_images_part_1/ISIC_0001.jpg", "HAM10000_images_part_2/ISIC_0002.jpg")
    touch(tmp_path, "HAM10000_images_part_2/ISIC_0003.jpg")
    write(
        tmp_path / "HAM10000_metadata.csv",
        "lesion_id,image_id,dx,dx_type,age,sex,localization",
        "HAM_7,ISIC_0001,nv,histo,80.0,male,scalp",
        "HAM_7,ISIC_0002,nv,histo,80.0,male,scalp",
        "HAM_9,ISIC_0003,df,consensus,,female,back",
    )
    made = load_manifest(tmp_path)
    assert made.notes[0] == "read as layout 'ham10000'"
    assert rows(made, "image", "label", "patient") == [
        ["HAM10000_images_part_1/ISIC_0001.jpg", "nv", "HAM_7"],
        ["HAM10000_images_part_2/ISIC_0002.jpg", "nv", "HAM_7"],
        ["HAM10000_images_part_2/ISIC_0003.jpg", "df", "HAM_9"],
    ]
    assert "split" not in made.table
    assert "age" not in made.table  # nothing about the person


def test_kaggles_copy_of_ham10000_has_the_photographs_twice(tmp_path):
    for folder in ("HAM10000_images_part_1", "copy/ham10000_images_part_1"):
        touch(tmp_path, f"{folder}/ISIC_0001.jpg", f"{folder}/ISIC_0002.jpg")
    write(
        tmp_path / "HAM10000_metadata.csv",
        "lesion_id,image_id,dx",
        "HAM_7,ISIC_0001,nv",
        "HAM_8,ISIC_0002,mel",
    )
    found = load_manifest(tmp_path).table["image"].tolist()
    assert found == ["HAM10000_images_part_1/ISIC_0001.jpg", "HAM10000_images_part_1/ISIC_0002.jpg"]


def isic_2018(folder: Path, *, groupings: bool = True) -> Path:
    head = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC"
    for word, names in (("Training", ("1", "2", "3")), ("Validation", ("4",))):
        touch(folder, *(f"ISIC2018_Task3_{word}_Input/ISIC_000{name}.jpg" for name in names))
        marks = {"1": "0.0,1.0", "2": "0.0,1.0", "3": "1.0,0.0", "4": "1.0,0.0"}
        lines = [f"ISIC_000{name},{marks[name]},0.0,0.0,0.0,0.0,0.0" for name in names]
        place = folder / f"ISIC2018_Task3_{word}_GroundTruth"
        write(place / f"ISIC2018_Task3_{word}_GroundTruth.csv", head, *lines)
    if groupings:
        write(
            folder / "ISIC2018_Task3_Training_LesionGroupings.csv",
            "image,lesion_id,diagnosis_confirm_type",
            *(
                f"ISIC_000{name},HAM_{lesion},histopathology"
                for name, lesion in (("1", 5), ("2", 5), ("3", 6))
            ),
        )
    return folder


def test_isic_2018_has_the_challenges_split_and_lesions_as_patients(tmp_path):
    made = load_manifest(isic_2018(tmp_path))
    assert rows(made, "label", "split") == [
        ["NV", "train"],
        ["NV", "train"],
        ["MEL", "train"],
        ["MEL", "val"],
    ]
    assert made.table["patient"].fillna("").tolist() == ["HAM_5", "HAM_5", "HAM_6", ""]
    assert made.table["image"][3] == "ISIC2018_Task3_Validation_Input/ISIC_0004.jpg"


def test_missing_lesion_ids_are_said_and_two_diagnoses_refused(tmp_path):
    made = load_manifest(isic_2018(tmp_path / "a", groupings=False))
    assert "no lesion ids" in made.notes[-1]
    folder = isic_2018(tmp_path / "b")
    write(
        folder / "ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv",
        "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC",
        "ISIC_0001,1.0,1.0,0.0,0.0,0.0,0.0,0.0",
    )
    with pytest.raises(InputError, match=r"GroundTruth.csv row 2: 2 diagnoses are marked with 1"):
        load_manifest(folder)


def test_isic_2019_leaves_the_unknown_class_out(tmp_path):
    head = "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK"
    touch(
        tmp_path,
        "ISIC_2019_Training_Input/ISIC_0000002_downsampled.jpg",
        "ISIC_2019_Training_Input/ISIC_3.jpg",
    )
    touch(tmp_path, "ISIC_2019_Test_Input/ISIC_4.jpg", "ISIC_2019_Test_Input/ISIC_5.jpg")
    write(
        tmp_path / "ISIC_2019_Training_GroundTruth.csv",
        head,
        "ISIC_0000002_downsampled,1.0,0,0,0,0,0,0,0,0",
        "ISIC_3,0,0,0,0,0,0,0,1.0,0",
    )
    write(
        tmp_path / "ISIC_2019_Training_Metadata.csv",
        "image,age_approx,anatom_site_general,lesion_id,sex",
        "ISIC_0000002_downsampled,55.0,anterior torso,MSK4_0000001,female",
        "ISIC_3,,,,male",
    )
    write(
        tmp_path / "ISIC_2019_Test_GroundTruth.csv",
        f"{head},score_weight,validation_weight",
        "ISIC_4,0,1.0,0,0,0,0,0,0,0,1,0",
        "ISIC_5,0,0,0,0,0,0,0,0,1.0,1,0",
    )
    made = load_manifest(tmp_path)
    assert rows(made, "label", "split") == [["MEL", "train"], ["SCC", "train"], ["NV", "test"]]
    assert made.table["patient"].fillna("").tolist() == ["MSK4_0000001", "", ""]
    assert "left out: 1 images of class UNK, which training does not have" in made.notes


def test_pad_ufes_20_has_patients(tmp_path):
    touch(tmp_path, "images/imgs_part_1/PAT_1516_1765_530.png", "images/imgs_part_2/PAT_46_881_939.png")
    write(
        tmp_path / "metadata.csv",
        "patient_id,lesion_id,smoke,age,diagnostic,itch,img_id,biopsed",
        "PAT_1516,1765,,8,NEV,FALSE,PAT_1516_1765_530.png,FALSE",
        "PAT_46,881,FALSE,55,BCC,TRUE,PAT_46_881_939.png,TRUE",
    )
    made = load_manifest(tmp_path)
    assert made.notes[0] == "read as layout 'pad-ufes-20'"
    assert rows(made, "image", "label", "patient") == [
        ["images/imgs_part_1/PAT_1516_1765_530.png", "NEV", "PAT_1516"],
        ["images/imgs_part_2/PAT_46_881_939.png", "BCC", "PAT_46"],
    ]
    write(tmp_path / "metadata.csv", "patient_id,lesion_id,diagnostic,img_id", "PAT_1,2,,PAT_46_881_939.png")
    with pytest.raises(InputError, match=r"metadata.csv row 2: 'diagnostic' is blank"):
        load_manifest(tmp_path)
