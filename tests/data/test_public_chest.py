"""Sets of chest radiographs, made small, and their published lists with their quirks."""

import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from modicum.data.layouts import load_manifest
from modicum.data.layouts.public.chest_tables import CHEXPERT_ORDER, FINDINGS
from modicum.data.layouts.public.nih import NIH_ORDER
from modicum.data.reports import read_reports, split_sections
from modicum.errors import InputError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(folder / name, "PNG")
    return folder


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def values(manifest, *findings: str) -> list[list[float]]:
    return manifest.table[[f"labels:{name}" for name in findings]].to_numpy().tolist()


# NIH ChestX-ray14 ----------------------------------------------------------------------------------------------

NIH_HEADER = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,\n"


def nih(folder: Path) -> Path:
    rows = [
        "00000001_000.png,Cardiomegaly|Emphysema,0,1,58,M,PA,",
        "00000002_000.png,No Finding,0,2,81,M,AP,",
        "00000003_000.png,Hernia,0,3,81,F,PA,",
    ]
    write(folder / "Data_Entry_2017.csv", NIH_HEADER + "\n".join(rows))
    touch(folder, "images_001/images/00000001_000.png", "images_001/images/00000002_000.png")
    return touch(folder, "images_012/images/00000003_000.png")


def test_nih_finds_images_in_its_folders_and_findings_by_name(tmp_path):
    made = load_manifest(nih(tmp_path))
    assert made.findings == list(NIH_ORDER)
    assert made.table["image"].tolist()[2] == "images_012/images/00000003_000.png"
    assert values(made, "Cardiomegaly", "Emphysema", "Hernia") == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert made.table["patient"].tolist() == ["1", "2", "3"]
    assert "split" not in made.table
    assert (
        len(load_manifest(tmp_path, layout_options={"views": "lateral"}, missing="keep", layout="folder"))
        == 3
    )


def test_nih_takes_the_lists_beside_its_table(tmp_path):
    nih(tmp_path)
    write(tmp_path / "train_val_list.txt", "00000001_000.png\n00000003_000.png")
    write(tmp_path / "test_list.txt", "00000002_000.png\n")
    assert load_manifest(tmp_path).table["split"].tolist() == ["train", "test", "train"]
    write(tmp_path / "train_list.txt", "00000001_000.png 0 1\n")
    write(tmp_path / "val_list.txt", "00000003_000.png 0 0 \n")
    assert load_manifest(tmp_path).table["split"].tolist() == ["train", "test", "val"]
    write(tmp_path / "val_list.txt", "00000009_000.png\n")
    with pytest.raises(InputError, match=r"val_list.txt names 1 image that Data_Entry_2017.csv does not"):
        load_manifest(tmp_path)


def test_nih_with_something_wrong_names_the_row(tmp_path):
    nih(tmp_path)
    (tmp_path / "images_012/images/00000003_000.png").unlink()
    with pytest.raises(
        InputError,
        match=r"1 file not found \(row 4: image 'images/00000003_000.png'; 'images_001/images/00000002_000.png' is there",
    ):
        load_manifest(tmp_path)
    write(tmp_path / "Data_Entry_2017.csv", NIH_HEADER + "00000001_000.png,Cardiomegally,0,1,58,M,PA,\n")
    with pytest.raises(InputError, match=r"Data_Entry_2017.csv row 2: unknown finding 'Cardiomegally'"):
        load_manifest(tmp_path)
    write(tmp_path / "Data_Entry_2017.csv", "Image Index,Finding Labels,Patient\n00000001_000.png,Hernia,1\n")
    with pytest.raises(InputError, match="no column 'Patient ID'; did you mean 'Patient'"):
        load_manifest(tmp_path)


# CheXpert ------------------------------------------------------------------------------------------------------


def chexpert(folder: Path, *rows: dict[str, str], part: str = "train") -> Path:
    """Rows of the official table, with the findings named and the others blank."""
    header = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *FINDINGS]
    lines = [",".join(header)]
    for number, row in enumerate(rows, start=1):
        view = row.get("view", "frontal")
        path = f"CheXpert-v1.0-small/{part}/patient{number:05}/study1/view1_{view}.jpg"
        touch(folder, path.partition("/")[2])
        cells = {"Path": path, "Sex": "F", "Age": "60", "Frontal/Lateral": view.title()} | row
        lines.append(",".join(cells.get(name, "") for name in header))
    write(folder / f"{part}.csv", "\n".join(lines) + "\n")
    return folder


def test_uncertain_findings_count_as_in_the_published_lists(tmp_path):
    uncertain = dict.fromkeys(CHEXPERT_ORDER, "-1.0")
    folder = chexpert(tmp_path / "CheXpert-v1.0-small", uncertain, {"Edema": "1.0", "Cardiomegaly": "0.0"})
    made = load_manifest(folder)
    assert made.findings == ["Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"]
    assert values(made, *CHEXPERT_ORDER) == [[1, 0, 0, 1, 1], [0, 0, 0, 1, 0]]
    assert made.table["patient"].tolist() == ["patient00001", "patient00002"]
    ignored = load_manifest(
        folder, layout_options={"uncertain": "ignore", "unmentioned": "ignore"}, unlabelled="keep"
    )
    assert np.isnan(values(ignored, *CHEXPERT_ORDER)[0]).all()
    assert np.isnan(values(ignored, "Atelectasis")[1]).all()
    own = load_manifest(folder, layout_options={"uncertain": {"Edema": "zeros"}, "findings": ["Edema"]})
    assert values(own, "Edema") == [[0], [1]]


def test_an_uncertain_finding_without_a_policy_is_an_error(tmp_path):
    chexpert(tmp_path, {"Fracture": "-1.0"})
    with pytest.raises(
        InputError, match=r"train.csv row 2: finding 'Fracture' is uncertain \(-1\), and no policy is set"
    ):
        load_manifest(tmp_path, layout_options={"findings": ["Edema", "Fracture"]})
    with pytest.raises(InputError, match="unknown finding 'Fractur'; did you mean 'Fracture'"):
        load_manifest(tmp_path, layout_options={"findings": ["Fractur"]})
    chexpert(tmp_path, {"Edema": "2"})
    with pytest.raises(
        InputError, match=r"train.csv row 2: finding 'Edema' is '2'; write 1, 0, -1 or leave the cell blank"
    ):
        load_manifest(tmp_path)


def test_chexpert_parts_and_views(tmp_path):
    folder = tmp_path / "CheXpert-v1.0-small"
    chexpert(folder, {"view": "frontal"}, {"view": "lateral"})
    chexpert(folder, {"view": "frontal"}, part="valid")
    made = load_manifest(folder)
    assert Counter(made.table["split"]) == {"train": 2, "val": 1}
    frontal = load_manifest(folder, layout_options={"views": "frontal"})
    assert all("frontal" in image for image in frontal.table["image"])
    assert "left out: 1 image of other views than frontal" in frontal.notes


# RSNA Pneumonia ------------------------------------------------------------------------------------------------

RSNA_HEADER = "patientId,x,y,width,height,Target\n"


def rsna(folder: Path, rows: str) -> Path:
    write(folder / "stage_2_train_labels.csv", RSNA_HEADER + rows)
    return folder


def test_rsna_gathers_the_boxes_of_a_patient(tmp_path):
    touch(tmp_path, "stage_2_train_images/a.dcm", "stage_2_train_images/b.dcm", "stage_2_test_images/c.dcm")
    rsna(tmp_path, "a,264.0,152.0,213.0,379.0,1\nb,,,,,0\na,562.0,152.0,256.0,453.0,1\n")
    made = load_manifest(tmp_path)
    assert made.table["label"].tolist() == ["1", "0"]
    first, second = map(json.loads, made.table["boxes"])
    assert first["boxes"] == [[264, 152, 264 + 213, 152 + 379], [562, 152, 562 + 256, 152 + 453]]
    assert (first["units"], second["boxes"]) == ("pixels", [])
    assert "left out: 1 image without a label" in made.notes
    lists = tmp_path / "lists"
    # As published: a blank after the label, and no line end at the end.
    write(lists / "train_list.txt", "stage_2_train_images/a.dcm 1 \n")
    write(lists / "val_list.txt", "stage_2_train_images/b.dcm 0 ")
    write(lists / "test_list.txt", "stage_2_test_images/c.dcm 1 \n")
    listed = load_manifest(tmp_path, split_lists=lists)
    assert listed.table["split"].tolist() == ["train", "val", "test"]
    assert listed.table["label"].tolist() == ["1", "0", "1"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            "a,1,1,1,1,1\na,,,,,0\n",
            "stage_2_train_labels.csv row 3: Target 0 contradicts .* row 2 of the same image",
        ),
        ("a,1,1,1,1,2\n", "row 2: Target is '2'"),
        ("a,1,1,,1,1\n", "row 2: its box is not four numbers"),
        ("a,1,1,0,1,1\n", "row 2: its box has no area"),
        ("a,1,1,1\n", "row 2 has 4 cells, the header has 6"),
    ],
)
def test_rsna_rows_that_make_no_sense(tmp_path, rows, message):
    touch(tmp_path, "stage_2_train_images/a.dcm")
    with pytest.raises(InputError, match=message):
        load_manifest(rsna(tmp_path, rows))


# SIIM-ACR Pneumothorax -----------------------------------------------------------------------------------------


def siim(folder: Path) -> Path:
    """With blanks before the second name and before the marker, as in the original."""
    rows = ["u.1, 0 2 1022 2", "u.2, -1", "u.1, 1048574 2"]
    write(folder / "train-rle.csv", "ImageId, EncodedPixels\n" + "\n".join(rows))
    write(folder / "sample_submission.csv", "ImageId,EncodedPixels\nu.9,-1\n")
    return touch(folder, "dicom-images-train/x/u.1.dcm", "dicom-images-train/y/u.2.png", "z/u.7.png")


def test_siim_unites_the_rows_of_an_image(tmp_path):
    made = load_manifest(siim(tmp_path))
    assert made.table["label"].tolist() == ["1", "0"]
    assert made.table["mask_runs"].tolist() == ["0 2 1022 2 1047548 2", "-1"]
    assert made.table["image"].tolist() == ["dicom-images-train/x/u.1.dcm", "dicom-images-train/y/u.2.png"]
    assert "left out: 1 image that train-rle.csv does not name" in made.notes


def test_siim_masks_as_files(tmp_path):
    folder = siim(tmp_path)
    made = load_manifest(folder, layout_options={"write_masks": True})
    assert made.table["mask"].tolist() == ["masks/u.1.png", "masks/none.png"]
    mask = np.asarray(Image.open(folder / "masks" / "u.1.png"))
    # Down the columns: two pixels at the top of the first two, two at the end of the last.
    expected = np.zeros((1024, 1024), np.uint8)
    expected[:2, :2] = expected[-2:, -1] = 255
    np.testing.assert_array_equal(mask, expected)
    assert not np.asarray(Image.open(folder / "masks" / "none.png")).any()
    assert len(load_manifest(folder, layout_options={"write_masks": True})) == 2


def test_siim_lists_share_images_which_is_said_dropped_or_kept(tmp_path):
    names = [f"u.{n}" for n in range(6)]
    touch(tmp_path / "set", *(f"{name}.png" for name in names))
    write(
        tmp_path / "set" / "train-rle.csv",
        "ImageId, EncodedPixels\n" + "\n".join(f"{name}, -1" for name in names),
    )
    lists = tmp_path / "lists"
    for split, numbers in (("train", (0, 1, 2, 3)), ("val", (3, 4)), ("test", (2, 4, 5))):
        write(lists / f"{split}.txt", "\n".join(names[n] for n in numbers))
    with pytest.raises(
        InputError, match=r"'u.\d' is in two splits: .*\(and 2 other images\); .*overlaps to drop or keep"
    ):
        load_manifest(tmp_path / "set", split_lists=lists)
    dropped = load_manifest(tmp_path / "set", split_lists=lists, layout_options={"overlaps": "drop"})
    assert dropped.table["split"].tolist() == ["train", "train", "test", "val", "test", "test"]
    assert "leak: test and train share 1 image (33% of test), kept in the first only" in dropped.notes
    kept = load_manifest(tmp_path / "set", split_lists=lists, layout_options={"overlaps": "keep"})
    assert Counter(kept.table["split"]) == {"train": 4, "val": 2, "test": 3}
    assert (
        "leak: val and train share 1 image (50% of val), kept in both, so that scores are optimistic"
        in kept.notes
    )


def test_siim_rows_that_make_no_sense(tmp_path):
    folder = siim(tmp_path)
    write(folder / "train-rle.csv", "ImageId, EncodedPixels\nu.1, 0 2 1022\nu.1, 3 4\n")
    with pytest.raises(InputError, match=r"train-rle.csv row 2: 3 numbers are not pairs"):
        load_manifest(folder)
    write(folder / "train-rle.csv", "ImageId, EncodedPixels\nu.1, 0 2\nu.1, -1\n")
    with pytest.raises(InputError, match="row 3: the marker for no region, but another row"):
        load_manifest(folder)


# COVID-19 Image Data Collection --------------------------------------------------------------------------------

COVID_HEADER = "patientid,offset,sex,age,finding,view,modality,folder,filename,clinical_notes\n"


def test_covid_collection(tmp_path):
    rows = [
        '2,0,M,65,Pneumonia/Viral/COVID-19,PA,X-ray,images,a.b-1.PNG,"Fever,\nthen cough."',
        "2,3,M,65,Pneumonia/Viral/COVID-19,Axial,CT,volumes,x.nii.gz,",
        "4,0,F,50,todo,L,X-ray,images,c.JPG,",
    ]
    write(tmp_path / "metadata.csv", COVID_HEADER + "\n".join(rows))
    touch(tmp_path, "images/a.b-1.PNG", "images/c.JPG")
    made = load_manifest(tmp_path)
    assert made.table["image"].tolist() == ["images/a.b-1.PNG", "images/c.JPG"]
    assert [text and text.split() for text in read_reports(made).texts] == [
        ["Fever,", "then", "cough."],
        None,
    ]
    assert any(note == "left out: 1 image of other modalities or views" for note in made.notes)
    assert len(load_manifest(tmp_path, layout_options={"views": "frontal"})) == 1
    write(tmp_path / "lists" / "iscovid_train.txt", "a.b-1.PNG 1\nc.JPG 0")
    listed = load_manifest(tmp_path, split_lists=tmp_path / "lists")
    assert listed.table["label"].tolist() == ["1", "0"]


def test_reports_of_public_tables_that_are_not_utf8_are_listed(tmp_path):
    rows = [
        f"{n},0,F,50,todo,PA,X-ray,images,{n}.png,{note}"
        for n, note in enumerate(["Fièvre", "Élevé", "Clear"])
    ]
    lines = [COVID_HEADER.strip().encode(), rows[0].encode(), rows[1].encode("cp1252"), rows[2].encode()]
    touch(tmp_path, "covid/images/0.png", "covid/images/1.png", "covid/images/2.png")
    (tmp_path / "covid" / "metadata.csv").write_bytes(b"\n".join(lines))
    reports = read_reports(load_manifest(tmp_path / "covid"))
    assert reports.texts == ["Fièvre", "Élevé", "Clear"]
    assert [item.origin for item in reports.changed] == ["metadata.csv row 3"]
    folder = tmp_path / "indiana"
    touch(folder, "images/a.png", "images/b.png", "images/c.png")
    projections = "uid,filename,projection\n1,a.png,Frontal\n1,b.png,Lateral\n2,c.png,Frontal\n"
    write(folder / "indiana_projections.csv", projections)
    texts = [b"uid,findings,impression", "1,Élevé,Normal.".encode("cp1252"), "2,Élevé,".encode()]
    (folder / "indiana_reports.csv").write_bytes(b"\n".join(texts))
    reports = read_reports(load_manifest(folder))
    assert [item.row for item in reports.changed] == [0, 1]
    assert reports.texts[2] == "FINDINGS: Élevé"


def test_a_row_without_its_file_is_named(tmp_path):
    write(tmp_path / "metadata.csv", COVID_HEADER + "2,0,M,65,todo,PA,X-ray,images,,\n")
    with pytest.raises(InputError, match=r"metadata.csv row 2: 'filename' is blank"):
        load_manifest(tmp_path)


def test_the_slip_in_a_published_list_is_named_and_can_be_overruled(real_images):
    folder = real_images("cxr_covid")
    options = {"split_lists": folder / "official_lists" / "viral1", "missing": "keep"}
    with pytest.raises(InputError) as raised:
        load_manifest(folder / "images", **options)
    assert str(raised.value) == (
        "isviral_test.txt row 1: label '11' is not in 0..1; correct the line, or set layout option relabel, for "
        "instance {'11': '1'}"
    )
    made = load_manifest(folder / "images", layout_options={"relabel": {"11": "1"}}, **options)
    assert Counter(made.part("test").table["label"]) == {"1": 57, "0": 8}
    assert "1 label of 'viral1' changed by option relabel: 11 as 1" in made.notes


@pytest.mark.parametrize("number", range(1, 6))
def test_covid_lists_have_the_published_sizes(tmp_path, real_images, number):
    lists = real_images("cxr_covid") / "official_lists" / f"covid{number}"
    names = {
        line.rsplit(" ", 1)[0]
        for path in lists.glob("*.txt")
        for line in path.read_text().splitlines()
        if line
    }
    assert len(names) == 509
    write(tmp_path / "set.csv", "image\n" + "".join(f'"{name}"\n' for name in sorted(names)))
    made = load_manifest(tmp_path / "set.csv", split_lists=lists, missing="keep")
    assert len(made) == 509
    if number == 1:
        assert Counter(made.table["split"]) == {"train": 354, "val": 51, "test": 104}
    assert made.classes() == ["0", "1"]


# MIMIC-CXR -----------------------------------------------------------------------------------------------------


def mimic(folder: Path, packed: str = "") -> Path:
    where = "files/p10/p10000032/s50414267"
    touch(folder, f"{where}/d1.jpg", f"{where}/d2.jpg", "files/p11/p11000001/s5000/d3.jpg")
    header = "dicom_id,subject_id,study_id,ViewPosition\n"
    rows = "d1,10000032,50414267,PA\nd2,10000032,50414267,LATERAL\nd3,11000001,5000,AP\n"
    write(folder / f"mimic-cxr-2.0.0-metadata.csv{packed}", header + rows)
    split = "dicom_id,study_id,subject_id,split\nd1,50414267,10000032,train\nd2,50414267,10000032,train\n"
    write(folder / f"mimic-cxr-2.0.0-split.csv{packed}", split + "d3,5000,11000001,validate\n")
    columns = ["subject_id", "study_id", *FINDINGS]
    cells = {"subject_id": "10000032", "study_id": "50414267", "Atelectasis": "-1.0", "Edema": "0.0"}
    write(
        folder / f"mimic-cxr-2.0.0-chexpert.csv{packed}",
        ",".join(columns) + "\n" + ",".join(cells.get(name, "") for name in columns) + "\n",
    )
    write(folder / "mimic-cxr-reports" / f"{where}.txt", "FINDINGS:\nClear lungs.\nIMPRESSION:\nNormal.\n")
    return folder


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_mimic_joins_its_tables_and_reports(tmp_path, packed):
    made = load_manifest(mimic(tmp_path, packed), unlabelled="keep")
    assert made.table["split"].tolist() == ["train", "train", "val"]
    assert made.table["patient"].tolist() == ["10000032", "10000032", "11000001"]
    assert values(made, "Atelectasis", "Edema")[:2] == [[1, 0], [1, 0]]
    assert np.isnan(values(made, "Atelectasis")[2]).all()
    reports = read_reports(made)
    assert "Clear lungs." in reports.texts[0]
    assert reports.texts[2] is None
    assert "1 image without a report" in made.notes
    assert len(load_manifest(tmp_path, layout_options={"views": "lateral"})) == 1


def test_mimic_with_a_cut_table(tmp_path):
    mimic(tmp_path, ".gz")
    path = tmp_path / "mimic-cxr-2.0.0-split.csv.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"mimic-cxr-2.0.0-split.csv.gz is damaged or cut short"):
        load_manifest(tmp_path)
    write(path, "dicom_id,split\nd1,trian\n")
    with pytest.raises(InputError, match=r"split.csv.gz row 2: unknown split 'trian'"):
        load_manifest(tmp_path)


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_mimic_with_a_finding_missing_from_its_table(tmp_path, packed):
    mimic(tmp_path, packed)
    write(
        tmp_path / f"mimic-cxr-2.0.0-chexpert.csv{packed}",
        "subject_id,study_id,Atelectasis,Consolidation,Edema,Pleural Effusion\n10000032,50414267,1.0,,0.0,\n",
    )
    with pytest.raises(InputError, match=rf"mimic-cxr-2.0.0-chexpert.csv{packed}: no column 'Cardiomegaly'"):
        load_manifest(tmp_path)
    made = load_manifest(tmp_path, layout_options={"findings": ["Edema", "Atelectasis"]}, unlabelled="keep")
    assert values(made, "Edema", "Atelectasis")[0] == [0, 1]


# Indiana University --------------------------------------------------------------------------------------------


def test_indiana_reports_go_to_each_projection(tmp_path):
    write(
        tmp_path / "indiana_projections.csv",
        "uid,filename,projection\n1,a.dcm.png,Frontal\n1,b.dcm.png,Lateral\n2,c.png,Frontal\n",
    )
    header = "uid,MeSH,Problems,image,indication,comparison,findings,impression\n"
    write(tmp_path / "indiana_reports.csv", header + '1,normal,normal,Xray,,,"Clear, XXXX.",Normal.\n')
    touch(
        tmp_path, "images/images_normalized/a.dcm.png", "images/images_normalized/b.dcm.png", "images/c.png"
    )
    made = load_manifest(tmp_path)
    assert made.table["image"].tolist()[0] == "images/images_normalized/a.dcm.png"
    assert made.table["report"].tolist()[:2] == ["FINDINGS: Clear, XXXX.\nIMPRESSION: Normal."] * 2
    assert "1 image without a report (indiana_projections.csv row 4)" in made.notes
    assert len(load_manifest(tmp_path, layout_options={"views": "frontal"})) == 2


def test_real_indiana_reports_without_their_images(real_images):
    folder = real_images("cxr_reports")
    with pytest.raises(InputError, match="5,604 files not found"):
        load_manifest(folder)
    made = load_manifest(folder, missing="keep")
    table = pd.read_csv(folder / "indiana_projections.csv")
    assert len(made) == len(table) == 5604
    assert made.table["patient"].nunique() == table["uid"].nunique() == 2896
    assert Counter(made.table["view"]) == Counter(table["projection"])
    reports = read_reports(made)
    original = pd.read_csv(folder / "indiana_reports.csv").set_index("uid")
    first = split_sections(reports.texts[0])
    assert original["impression"].iloc[0].replace("XXXX", "___") in first["impression"]
