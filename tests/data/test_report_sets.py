"""Public sets of radiographs with reports or captions, made small, and their quirks."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modicum.data.layouts import load_manifest
from modicum.data.reports import read_reports, split_sections
from modicum.errors import InputError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(folder / name, "PNG")
    return folder


# Open-i ---------------------------------------------------------------------------------------------------------------

XML = """<?xml version="1.0" encoding="utf-8"?><eCitation><uId id="CXR{n}"/><MedlineCitation><Article><Abstract>
<AbstractText Label="COMPARISON"/><AbstractText Label="FINDINGS">Heart &amp; lungs clear.
Next line.</AbstractText><AbstractText Label="IMPRESSION">{impression}</AbstractText></Abstract></Article>
</MedlineCitation>
<MeSH><major>normal</major><major>Nodule/small</major></MeSH>{images}</eCitation>"""


def open_i(
    folder: Path, images='<parentImage id="CXR1_a"/><parentImage id="CXR1_b"/>', impression="Normal."
) -> Path:
    reports = folder / "NLMCXR_reports" / "ecgen-radiology"
    reports.mkdir(parents=True)
    (reports / "1.xml").write_text(XML.format(n=1, images=images, impression=impression))
    (reports / "2.xml").write_text(XML.format(n=2, images="", impression=""))
    return touch(folder, "NLMCXR_png/CXR1_a.png", "NLMCXR_png/CXR1_b.png")


def test_open_i_has_a_row_an_image_and_sections_of_its_xml(tmp_path):
    made = load_manifest(open_i(tmp_path))
    assert made.table["image"].tolist() == ["NLMCXR_png/CXR1_a.png", "NLMCXR_png/CXR1_b.png"]
    assert made.table["patient"].tolist() == ["CXR1", "CXR1"]
    assert made.table["problems"][0] == "normal;Nodule/small"
    sections = split_sections(read_reports(made).texts[0])
    assert sections == {"findings": "Heart & lungs clear. Next line.", "impression": "Normal."}
    assert "left out: 1 report without an image" in made.notes


def test_open_i_files_that_are_no_xml_or_declare_entities_are_refused(tmp_path):
    open_i(tmp_path, images='<parentImage id="gone"/>')
    with pytest.raises(InputError, match="contains no images"):
        load_manifest(tmp_path)
    file = tmp_path / "NLMCXR_reports/ecgen-radiology/2.xml"
    file.write_text('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')
    with pytest.raises(InputError, match=r"2.xml declares entities"):
        load_manifest(tmp_path)
    file.write_text("<a>secret words")
    with pytest.raises(InputError, match=r"2.xml is not XML") as error:
        load_manifest(tmp_path)
    assert "secret" not in str(error.value)


# CheXpert Plus --------------------------------------------------------------------------------------------------------

PLUS = (
    "path_to_image,frontal_lateral,ap_pa,deid_patient_id,report,section_findings,section_impression,split\n"
)


def test_chexpert_plus_joins_sections_and_finds_pngs(tmp_path):
    rows = [
        "train/patient1/study1/view1_frontal.jpg,Frontal,AP,patient1,whole,Clear.,Normal.,train",
        "train/patient2/study1/view1_lateral.jpg,Lateral,,patient2,Only this.,,,valid",
    ]
    (tmp_path / "df_chexpert_plus_240401.csv").write_text(PLUS + "\n".join(rows))
    touch(tmp_path, "PNG/train/patient1/study1/view1_frontal.png", "train/patient2/study1/view1_lateral.jpg")
    made = load_manifest(tmp_path)
    assert made.table["image"][0] == "PNG/train/patient1/study1/view1_frontal.png"
    assert made.table["report"].tolist() == ["FINDINGS: Clear.\nIMPRESSION: Normal.", "Only this."]
    assert made.table["split"].tolist() == ["train", "val"]
    assert made.table["view"].tolist() == ["AP", "Lateral"]
    frontal = load_manifest(tmp_path, layout_options={"views": "frontal"})
    assert frontal.table["patient"].tolist() == ["patient1"]
    (tmp_path / "df_chexpert_plus_240401.csv").write_text(PLUS + rows[0].replace(",train", ",practice"))
    with pytest.raises(InputError, match="row 2: unknown split 'practice'"):
        load_manifest(tmp_path)


# PadChest -------------------------------------------------------------------------------------------------------------

PADCHEST = "ImageID,ImageDir,StudyID,PatientID,Projection,Report,Labels\n"


def padchest(folder: Path, *rows: str) -> Path:
    (folder / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv").write_text(
        PADCHEST + "\n".join(rows), "utf-8"
    )
    return touch(folder, "0/a.png", "0/b.png", "1/c.png")


def test_padchest_reads_lists_of_labels_and_keeps_spanish(tmp_path):
    made = load_manifest(padchest(
        tmp_path,
        "a.png,0,s1,p1,PA,silueta cardíaca aumentada .,\"['cardiomegaly', ' pleural effusion']\"",
        "b.png,0,s1,p1,L,sin hallazgos .,\"['normal', '']\"",
        "c.png,1,s2,p2,AP_horizontal,sin etiquetas .,",
    ), unlabelled="keep")  # fmt: skip
    assert made.findings == ["cardiomegaly", "normal", "pleural effusion"]
    labels = made.table[[f"labels:{name}" for name in made.findings]].to_numpy()
    assert labels[:2].tolist() == [[1, 0, 1], [0, 1, 0]]
    assert np.isnan(labels[2].astype(float)).all()
    assert read_reports(made).texts[0] == "silueta cardíaca aumentada ."
    frontal = load_manifest(tmp_path, layout_options={"views": "frontal"}, unlabelled="keep")
    assert len(frontal) == 2
    with pytest.raises(InputError, match="unknown finding 'cardiomegali'; did you mean 'cardiomegaly'"):
        load_manifest(tmp_path, layout_options={"findings": ["cardiomegali"]})


@pytest.mark.parametrize("cell", ["cardiomegaly", "\"__import__('os').system('true')\"", "{1: 2}", "[1]"])
def test_padchest_labels_that_are_no_list_are_refused_and_never_run(tmp_path, cell):
    padchest(tmp_path, f"a.png,0,s1,p1,PA,texto,{cell}")
    with pytest.raises(InputError, match=r"row 2: 'Labels' is not a list"):
        load_manifest(tmp_path)


# Captions -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tables", "header"),
    [
        (("radiologytraindata.csv", "radiologyvaldata.csv"), "id,name,caption"),
        (("train_captions.csv", "valid_captions.csv"), "ID,Caption"),
    ],
)
def test_tables_of_captions_are_a_split_each(tmp_path, tables, header):
    lead = "x," if "name" in header else ""
    for table, name in zip(tables, ("one", "two"), strict=True):
        file = f"{name}.jpg" if lead else name
        (tmp_path / table).write_text(f"{header}\n{lead}{file},A caption of {name}.\n")
    touch(tmp_path, "images/one.jpg", "images/two.jpg")
    made = load_manifest(tmp_path)
    assert made.table["image"].tolist() == ["images/one.jpg", "images/two.jpg"]
    assert made.table["split"].tolist() == ["train", "val"]
    assert made.table["report"][1] == "A caption of two."


# CheXpert 5x200 -------------------------------------------------------------------------------------------------------


def test_the_list_of_five_times_two_hundred_has_a_class_an_image(tmp_path):
    content = {
        "68": {"image_path": "train/patient00032/study1/view1_frontal.jpg", "label": [0, 1, 0, 0, 0]},
        "99": {"image_path": "train/patient00044/study2/view1_frontal.jpg", "label": [0, 0, 0, 0, 1]},
    }
    (tmp_path / "chexpert_5x200.json").write_text(json.dumps(content))
    touch(tmp_path, *(entry["image_path"] for entry in content.values()))
    made = load_manifest(tmp_path)
    assert made.table["label"].tolist() == ["Cardiomegaly", "Pleural Effusion"]
    assert made.table["patient"].tolist() == ["patient00032", "patient00044"]
    assert set(made.table["split"]) == {"test"}
    content["68"]["label"] = [1, 1, 0, 0, 0]
    (tmp_path / "chexpert_5x200.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="entry 68: 'label' is not one of 5 findings"):
        load_manifest(tmp_path)
    (tmp_path / "chexpert_5x200.json").write_text("[]")
    with pytest.raises(InputError, match="is not a list of images with labels"):
        load_manifest(tmp_path)
