"""Public sets with masks, made small: each file is found by name, whatever the order, the case, or what is missing."""

import gzip
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from modicum.data.layouts import load_manifest
from modicum.data.readers import read_image
from modicum.errors import InputError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".gz"):
            path.write_bytes(gzip.compress(b"P5 4 4 255\n" + bytes(16)))
        else:
            Image.new("L", (4, 4)).save(path, "PNG" if path.suffix == ".bmp" else None)
    return folder


def by_image(manifest, column: str) -> dict[str, str]:
    return manifest.table.set_index("image")[column].dropna().to_dict()


# Vessels -------------------------------------------------------------------------------------------------------


def drive(folder: Path, second: bool = True) -> Path:
    for part, numbers in (("training", ("21", "22")), ("test", ("01", "02"))):
        for number in numbers:
            touch(folder / part, f"images/{number}_{part}.tif", f"mask/{number}_{part}_mask.gif")
            if part == "training" or second:
                touch(folder / part, f"1st_manual/{number}_manual1.gif")
    return folder


def test_drive_as_released(tmp_path):
    made = load_manifest(drive(tmp_path / "DRIVE"))
    assert made.table.iloc[0].dropna().to_dict() == {
        "image": "training/images/21_training.tif",
        "mask": "training/1st_manual/21_manual1.gif",
        "fov": "training/mask/21_training_mask.gif",
        "split": "train",
    }
    assert Counter(made.table["split"]) == {"train": 2, "test": 2}
    assert made.notes[0] == "read as layout 'drive'"
    assert read_image(made.refs("mask")[0]).pixels.shape[0] == 1


def test_drive_without_the_vessels_of_the_test_images(tmp_path):
    made = load_manifest(drive(tmp_path, second=False))
    assert made.part("test").table["mask"].isna().all()
    assert made.part("test").table["fov"].notna().all()


def test_one_mask_less_is_an_error_that_names_the_image(tmp_path):
    drive(tmp_path)
    (tmp_path / "training/1st_manual/22_manual1.gif").unlink()
    with pytest.raises(
        InputError, match=r"1 image in 'images' without a mask in '1st_manual' \(22_training.tif\)"
    ):
        load_manifest(tmp_path)
    touch(tmp_path, "training/1st_manual/22_manual1.gif", "training/1st_manual/22_manual1.png")
    with pytest.raises(
        InputError, match=r"'22_manual1.gif' and '22_manual1.png' in '1st_manual' are both for '22'"
    ):
        load_manifest(tmp_path)


@pytest.mark.parametrize("folders", [("", "", ""), ("stare-images/", "labels-ah/", "labels-vk/")])
def test_stare_takes_the_first_annotator_and_leaves_out_what_nobody_drew(tmp_path, folders):
    images, first, second = folders
    touch(tmp_path, *(f"{images}im{n:04}.ppm.gz" for n in range(1, 24)))
    touch(tmp_path, *(f"{first}im{n:04}.ah.ppm.gz" for n in range(1, 21)))
    touch(tmp_path, *(f"{second}im{n:04}.vk.ppm.gz" for n in range(1, 21)))
    made = load_manifest(tmp_path)
    assert len(made) == 20
    assert by_image(made, "mask")[f"{images}im0005.ppm.gz"] == f"{first}im0005.ah.ppm.gz"
    assert made.table["split"].tolist() == ["train"] * 10 + ["test"] * 10
    assert "left out: 3 images without vessels" in made.notes
    assert read_image(made.refs()[0]).source.height == 4


def test_chase_keeps_the_eyes_of_a_child_together(tmp_path):
    for child in range(1, 15):
        for eye in "LR":
            name = f"Image_{child:02}{eye}"
            touch(tmp_path, f"{name}.jpg", f"{name}_1stHO.png", f"{name}_2ndHO.png")
    made = load_manifest(tmp_path)
    assert by_image(made, "mask")["Image_03R.jpg"] == "Image_03R_1stHO.png"
    assert Counter(made.table["split"]) == {"train": 20, "test": 8}
    parts = made.table.groupby("patient")["split"].nunique()
    assert (len(parts), set(parts)) == (14, {1})
    assert Counter(made.table["eye"]) == {"L": 14, "R": 14}


def test_hrf_pairs_in_any_case_and_splits_by_group(tmp_path):
    for number in range(1, 16):
        for group in ("h", "g", "dr"):
            ending = "JPG" if group == "dr" else "jpg"
            name = f"{number:02}_{group}"
            touch(tmp_path, f"images/{name}.{ending}", f"manual1/{name}.tif", f"mask/{name}_mask.tif")
    made = load_manifest(tmp_path)
    row = made.table.set_index("image").loc["images/03_dr.JPG"]
    assert (row["mask"], row["fov"], row["split"]) == ("manual1/03_dr.tif", "mask/03_dr_mask.tif", "train")
    assert Counter(made.table["split"]) == {"train": 15, "test": 30}


def prepared(folder: Path) -> Path:
    for part, name in (("train", "21_training"), ("test", "01_test")):
        where = f"DRIVE/{part}"
        touch(
            folder,
            f"{where}/image/{name}.tif",
            f"{where}/mask/{name[:2]}_manual1.tif",
            f"{where}/roi/{name}_mask.gif",
        )
        touch(folder, *(f"CHASEDB1/{part}/{n}" for n in ("image/Image_01L.jpg", "mask/Image_01L_1stHO.png")))
        touch(
            folder, *(f"HRF/{part}/{n}" for n in ("image/01_dr.JPG", "mask/01_dr.tif", "roi/01_dr_mask.tif"))
        )
    for number in range(1, 21):
        touch(
            folder / "STARE",
            f"image/im{number:04}.ppm",
            f"mask/im{number:04}.ah.ppm",
            f"roi/im{number:04}.png",
        )
    return folder


def test_prepared_sets_side_by_side_are_domains(tmp_path):
    made = load_manifest(prepared(tmp_path / "RVS"))
    assert Counter(made.table["domain"]) == {"CHASE_DB1": 2, "DRIVE": 2, "HRF": 2, "STARE": 20}
    row = made.table.set_index("image").loc["DRIVE/train/image/21_training.tif"]
    assert (row["mask"], row["fov"]) == (
        "DRIVE/train/mask/21_manual1.tif",
        "DRIVE/train/roi/21_training_mask.gif",
    )
    assert by_image(made, "fov")["STARE/image/im0007.ppm"] == "STARE/roi/im0007.png"
    stare = made.table[made.table["domain"] == "STARE"]
    assert stare["split"].tolist() == ["train"] * 10 + ["test"] * 10


def test_files_pair_by_name_where_their_orders_differ(tmp_path):
    # Sorted, the masks stand as 1, 10, 2 beside images 1, 2, 10.
    touch(
        tmp_path,
        *(f"image/{n}.png" for n in ("1", "2", "10")),
        *(f"mask/{n}_mask.png" for n in ("1", "2", "10")),
    )
    assert by_image(load_manifest(tmp_path), "mask") == {
        f"image/{n}.png": f"mask/{n}_mask.png" for n in ("1", "2", "10")
    }


def test_endings_that_belong_to_names_stay(tmp_path):
    names = ["x.png", "x_test.png"]
    touch(tmp_path, *(f"{folder}/{name}" for folder in ("image", "mask") for name in names))
    assert by_image(load_manifest(tmp_path), "mask") == {f"image/{name}": f"mask/{name}" for name in names}


def test_folders_that_only_sound_like_masks_are_classes_or_plain_images(tmp_path):
    touch(tmp_path / "a", "image/a.png", "mask/b.png")
    assert list(load_manifest(tmp_path / "a").table) == ["image"]
    touch(tmp_path / "b", "images/a.png", "masks/a.png")
    assert "mask" in load_manifest(tmp_path / "b").table
    assert "mask" not in load_manifest(tmp_path / "b", layout="folder").table
    touch(tmp_path / "c", "image/a.png", "mask/a.png")
    assert "mask" in load_manifest(tmp_path / "c").table
    assert "mask" not in load_manifest(tmp_path / "c", layout="folder").table


def test_real_photographs_in_the_layouts_of_their_releases(tmp_path, real_images):
    source = real_images("vessels")
    table = pd.read_csv(source / "manifest.csv", dtype=str)
    for row in table.itertuples():
        number = row.id
        names = {
            "DRIVE": (f"training/images/{number}_training.png", f"training/1st_manual/{number}_manual1.png"),
            "CHASE_DB1": (f"{number}.jpg", f"{number}_1stHO.png"),
            "STARE": (f"stare-images/{number}.png", f"labels-vk/{number}.vk.png"),
        }[row.domain]
        for name, file in zip(names, (row.image, row.mask), strict=True):
            target = tmp_path / row.domain / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / file, target)
    made = load_manifest(tmp_path)
    assert Counter(made.table["domain"]) == {"DRIVE": 20, "CHASE_DB1": 20, "STARE": 10}
    for at in (0, 15, 25, 45):
        image, mask = read_image(made.refs()[at]), read_image(made.refs("mask")[at])
        assert image.pixels.shape[1:] == mask.pixels.shape[1:]
        # Vessels are darker than what surrounds them, in the green channel.
        green, vessels = image.pixels[1], mask.pixels[0] > 0.5
        assert green[vessels].mean() < green[~vessels & (image.pixels[0] > 0.2)].mean()
    assert any("second annotator's (vk)" in note for note in made.notes)


# Optic disc and cup --------------------------------------------------------------------------------------------


def test_four_domains_by_the_names_of_their_images(tmp_path):
    names = {"Domain1": "gdrishtiGS_002", "Domain2": "G-1-L", "Domain3": "g0001", "Domain4": "V0001"}
    for domain, name in names.items():
        for part in ("train", "test"):
            touch(
                tmp_path / "Fundus" / domain,
                *(f"{part}/ROIs/{kind}/{name}.png" for kind in ("image", "mask")),
            )
    made = load_manifest(tmp_path / "Fundus")
    splits = made.table.groupby("domain")["split"].agg(list).to_dict()
    assert splits == {domain: ["test", "train"] for domain in names}
    row = made.table.set_index("image").loc["Domain2/train/ROIs/image/G-1-L.png"]
    assert (row["patient"], row["eye"], row["mask"]) == ("G-1", "L", "Domain2/train/ROIs/mask/G-1-L.png")
    touch(tmp_path / "Fundus" / "Domain3", *(f"train/ROIs/{kind}/V0002.png" for kind in ("image", "mask")))
    with pytest.raises(InputError, match=r"'V0002.png' in 'Domain3' has a name of Domain4"):
        load_manifest(tmp_path / "Fundus")


def test_domains_mixed_in_one_folder_are_told_apart_by_case(tmp_path):
    for name in ("ndrishtiGS_003", "N-2-R", "n0003", "V0007"):
        touch(tmp_path, *(f"train/ROIs/{kind}/{name}.png" for kind in ("image", "mask")))
    domains = by_image(load_manifest(tmp_path), "domain")
    assert {Path(image).stem: domain for image, domain in domains.items()} == {
        "ndrishtiGS_003": "Domain1",
        "N-2-R": "Domain2",
        "n0003": "Domain3",
        "V0007": "Domain4",
    }


def test_refuge(tmp_path):
    touch(
        tmp_path,
        "Training400/Glaucoma/g0001.jpg",
        "Training400/Non-Glaucoma/n0001.jpg",
        "REFUGE-Validation400/V0001.jpg",
    )
    masks = "Annotation-Training400/Disc_Cup_Masks"
    touch(tmp_path, f"{masks}/Glaucoma/g0001.bmp", f"{masks}/Non-Glaucoma/n0001.bmp")
    made = load_manifest(tmp_path, unlabelled="keep")  # only images to train have a label
    assert by_image(made, "label") == {
        "Training400/Glaucoma/g0001.jpg": "1",
        "Training400/Non-Glaucoma/n0001.jpg": "0",
    }
    assert by_image(made, "mask")["Training400/Non-Glaucoma/n0001.jpg"] == f"{masks}/Non-Glaucoma/n0001.bmp"
    assert Counter(made.table["split"]) == {"train": 2, "val": 1}
    assert set(made.table["domain"]) == {"REFUGE-train", "REFUGE-val"}


def test_drishti_has_a_map_of_each_structure(tmp_path):
    truth = "GT/drishtiGS_002/SoftMap/drishtiGS_002"
    touch(
        tmp_path / "Training",
        "Images/drishtiGS_002.png",
        f"{truth}_ODsegSoftmap.png",
        f"{truth}_cupsegSoftmap.png",
    )
    touch(tmp_path / "Test", "Images/drishtiGS_001.png")
    made = load_manifest(tmp_path)
    assert by_image(made, "masks:disc") == {
        "Training/Images/drishtiGS_002.png": f"Training/{truth}_ODsegSoftmap.png"
    }
    assert by_image(made, "masks:cup") == {
        "Training/Images/drishtiGS_002.png": f"Training/{truth}_cupsegSoftmap.png"
    }
    assert made.table["split"].tolist() == ["test", "train"]


# Lesions -------------------------------------------------------------------------------------------------------

IDRID = "A. Segmentation"
TRUTH = f"{IDRID}/2. All Segmentation Groundtruths"


def idrid(folder: Path) -> Path:
    for part, number in (("a. Training Set", "01"), ("a. Training Set", "02"), ("b. Testing Set", "55")):
        touch(folder, f"{IDRID}/1. Original Images/{part}/IDRiD_{number}.jpg")
        touch(folder, f"{TRUTH}/{part}/1. Microaneurysms/IDRiD_{number}_MA.tif")
        if number != "02":
            touch(folder, f"{TRUTH}/{part}/4. Soft Exudates/IDRiD_{number}_SE.tif")
    return folder


def test_idrid_has_a_blank_where_an_image_has_none_of_a_lesion(tmp_path):
    made = load_manifest(idrid(tmp_path))
    table = made.table
    assert table["split"].tolist() == ["train", "train", "test"]
    assert table["masks:MA"].notna().all()
    assert table["masks:SE"].isna().tolist() == [False, True, False]
    assert table["masks:SE"].iloc[0] == f"{TRUTH}/a. Training Set/4. Soft Exudates/IDRiD_01_SE.tif"
    shutil.rmtree(tmp_path / TRUTH / "b. Testing Set" / "4. Soft Exudates")
    with pytest.raises(InputError, match=r"IDRiD: 'b. Testing Set' has no masks of SE, but another part has"):
        load_manifest(tmp_path)


def test_ddr_names_its_masks_otherwise_in_its_validation_part(tmp_path):
    for part, label in (("train", "label"), ("valid", "segmentation label"), ("test", "label")):
        base = f"lesion_segmentation/{part}"
        touch(tmp_path, f"{base}/image/007-1-{part}.jpg", f"{base}/{label}/EX/007-1-{part}.tif")
    made = load_manifest(tmp_path)
    assert made.table["split"].tolist() == ["train", "val", "test"] or set(made.table["split"]) == {
        "train",
        "val",
        "test",
    }
    image = "lesion_segmentation/valid/image/007-1-valid.jpg"
    assert (
        by_image(made, "masks:EX")[image] == "lesion_segmentation/valid/segmentation label/EX/007-1-valid.tif"
    )


def e_ophtha(folder: Path, kind: str) -> Path:
    ending = "_EX" if kind == "EX" else ""
    base = folder / f"e_optha_{kind}"
    touch(base, f"{kind}/E0000404/C0001.jpg", f"Annotation_{kind}/E0000404/C0001{ending}.png")
    return touch(base, "healthy/E0000999/C0009.jpg").parent


def test_e_ophtha_by_patient(tmp_path):
    made = load_manifest(e_ophtha(tmp_path, "EX") / "e_optha_EX")
    assert by_image(made, "masks:EX") == {"EX/E0000404/C0001.jpg": "Annotation_EX/E0000404/C0001_EX.png"}
    assert by_image(made, "patient") == {
        "EX/E0000404/C0001.jpg": "E0000404",
        "healthy/E0000999/C0009.jpg": "E0000999",
    }


def test_sets_of_lesions_together_keep_what_all_of_them_mark(tmp_path):
    idrid(tmp_path / "IDRiD")
    e_ophtha(tmp_path, "MA")
    made = load_manifest(tmp_path)
    assert [name for name in made.table if name.startswith("masks:")] == ["masks:MA"]
    assert "left out: masks of SE, which not all of the sets have" in made.notes
    e_ophtha(tmp_path, "EX")
    with pytest.raises(InputError, match="have no kind of lesion in common"):
        load_manifest(tmp_path)


def test_sets_of_different_kinds_are_not_mixed(tmp_path):
    idrid(tmp_path / "IDRiD")
    drive(tmp_path / "DRIVE")
    with pytest.raises(
        InputError,
        match=r"data sets of different kinds: DRIVE \(drive\), IDRiD \(idrid\); pass the folder of one of them",
    ):
        load_manifest(tmp_path)


# Angiograms ----------------------------------------------------------------------------------------------------


def octa(folder: Path, *subjects: int) -> Path:
    for subject in subjects:
        touch(
            folder,
            *(
                f"Projection Maps/{layer}/{subject}.bmp"
                for layer in ("OCT(FULL)", "OCTA(FULL)", "OCTA(ILM_OPL)")
            ),
        )
        touch(folder, f"GroundTruth/{subject}.bmp")
    return folder


def test_octa_500_is_split_by_subject(tmp_path):
    octa(tmp_path / "OCTA_3M" / "OCTA_3M", 10301, 10440, 10441, 10450, 10451, 10500)
    octa(tmp_path / "OCTA_6M", 10001, 10180, 10181, 10200, 10201, 10300)
    made = load_manifest(tmp_path)
    assert made.table["split"].tolist() == ["train", "train", "val", "val", "test", "test"] * 2
    assert set(made.table["domain"]) == {"OCTA_3M", "OCTA_6M"}
    assert made.table["image"].iloc[0] == "OCTA_3M/OCTA_3M/Projection Maps/OCTA(ILM_OPL)/10301.bmp"
    other = load_manifest(tmp_path / "OCTA_6M", layout_options={"projection": "OCTA(FULL)"})
    assert other.table["image"].iloc[0] == "Projection Maps/OCTA(FULL)/10001.bmp"
    with pytest.raises(InputError, match=r"unknown projection 'OCTA\(FUL\)'; did you mean 'OCTA\(FULL\)'"):
        load_manifest(tmp_path / "OCTA_6M", layout_options={"projection": "OCTA(FUL)"})


def test_the_split_of_octa_500_is_that_of_its_copy(tmp_path, real_images):
    source = real_images("octa_vessels")
    table = pd.read_csv(source / "manifest.csv", dtype=str).set_index("subject")
    for subject in table.index:
        for folder, kind in (("Projection Maps/OCTA(ILM_OPL)", "images"), ("GroundTruth", "masks")):
            (tmp_path / "OCTA_3M" / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(source / kind / f"{subject}.png", tmp_path / "OCTA_3M" / folder)
    made = load_manifest(tmp_path / "OCTA_3M").table.set_index("patient")
    assert made["split"].to_dict() == table["split"].to_dict()
    vessels = read_image(tmp_path / "OCTA_3M" / made["mask"].iloc[3]).pixels
    assert abs(float(vessels.mean()) - float(table["vessel_fraction"].iloc[3])) < 1e-3


def test_rose(tmp_path):
    for layer in ("SVC", "DVC", "SVC_DVC"):
        for part in ("train", "test"):
            touch(tmp_path / "ROSE-1" / layer / part, "img/01.tif", "gt/01.tif")
    touch(
        tmp_path / "ROSE-2", "train/original/1.png", "train/gt/1.png", "test/original/2.png", "test/gt/2.png"
    )
    one = load_manifest(tmp_path / "ROSE-1")
    assert Counter(one.table["split"]) == {"train": 3, "test": 3}
    assert one.table["patient"].nunique() == 2
    assert len(load_manifest(tmp_path / "ROSE-1", layout_options={"projection": "SVC"})) == 2
    both = load_manifest(tmp_path)
    assert Counter(both.table["domain"]) == {"ROSE-1": 6, "ROSE-2": 2}
    assert by_image(both, "mask")["ROSE-2/test/original/2.png"] == "ROSE-2/test/gt/2.png"


# Asking for a layout -------------------------------------------------------------------------------------------


def test_layouts_and_their_options_are_checked(tmp_path):
    drive(tmp_path)
    assert len(load_manifest(tmp_path, layout="drive")) == 4
    with pytest.raises(InputError, match="unknown layout 'driv'; did you mean 'drive'"):
        load_manifest(tmp_path, layout="driv")
    with pytest.raises(InputError, match="contains no images of the data set"):
        load_manifest(tmp_path, layout="stare")
    with pytest.raises(InputError, match="unknown layout option 'view'; did you mean 'views'"):
        load_manifest(tmp_path, layout_options={"view": "frontal"})
    with pytest.raises(InputError, match="views is 'side'; use one of all, frontal, lateral"):
        load_manifest(tmp_path, layout_options={"views": "side"})


def test_a_table_of_the_user_goes_before_any_layout(tmp_path):
    drive(tmp_path)
    (tmp_path / "labels.csv").write_text("image,label\ntraining/images/21_training.tif,1\n")
    assert len(load_manifest(tmp_path)) == 1


def test_masks_are_arrays_of_two_values_after_reading(tmp_path):
    drive(tmp_path)
    values = np.unique(read_image(load_manifest(tmp_path).refs("mask")[0]).pixels)
    assert values.tolist() == [0.0]
