"""What lies beside an image lies where the image does: NIfTI, DICOM, photographs."""

import shutil

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest
from PIL import Image

from modicum.data.image import ImageRef
from modicum.data.prepared import StoreSettings
from modicum.data.readers import read_image
from modicum.data.same_place import PlacedImage, check_same_place
from modicum.data.stores.image_catalogue import FACTS, Catalogue
from modicum.data.stores.image_store import ImageStore
from modicum.engine.inference.dense_evaluation import read_truth
from modicum.engine.inputs.auxiliary_images import with_auxiliary_images
from modicum.engine.inputs.preparation import prepare, task_for
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError

SIDE = 20
LPS = np.diag([-1.0, -1, 2, 1])
POSITION, DIRECTIONS, SPACING = [-10.0, 20, 30], [1, 0, 0, 0, 1, 0], [0.5, 0.5]


def box():
    pixels = np.zeros((SIDE, SIDE), np.int16)
    pixels[8:13, 10:15] = 1
    return pixels


def nifti(path, affine, pixels=None):
    nib.save(nib.Nifti1Image((box() if pixels is None else pixels)[..., None], affine), path)
    return path


def dicom(path, **changes):
    elements = {
        "ImagePositionPatient": POSITION,
        "ImageOrientationPatient": DIRECTIONS,
        "PixelSpacing": SPACING,
        **changes,
    }
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    ds = pydicom.dataset.FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    ds.Rows = ds.Columns = SIDE
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelData = box().astype(np.uint8).tobytes()
    for name, value in elements.items():
        if value is not None:
            setattr(ds, name, value)
    ds.save_as(path, enforce_file_format=True)
    return path


def table_of(folder, images, masks, column="mask"):
    rows = []
    for at, (image, mask) in enumerate(zip(images, masks, strict=True)):
        shutil.copy(image, folder / f"{at}_{image.name}")
        rows.append(f"{at}_{image.name},{mask.name},train")
    (folder / "data.csv").write_text("\n".join([f"image,{column},split", *rows]) + "\n")
    return folder / "data.csv"


def read(folder, images, masks, column="mask", method="segment"):
    given = {"image_size": SIDE, "device": "cpu"}
    recipe = make_recipe(table_of(folder, images, masks, column), method, given)
    found = prepare(recipe, RunFolder(folder / "run"), folder / "stores", 0)
    task = task_for(found.manifest, recipe)
    return with_auxiliary_images(found, task, recipe, folder / "stores", 0, folder / "broken.csv"), task


def moved(affine, *shift):
    changed = affine.copy()
    changed[: len(shift), 3] += shift
    return changed


@pytest.mark.parametrize(
    ("affine", "said"),
    [
        (np.eye(4), "to the next row"),
        (moved(LPS, 3), r"up to 3 mm from the image \(0.1 mm are allowed\)"),
        (moved(LPS, 0, 0, 2), r"up to 2 mm from the image"),
        (LPS @ np.diag([1.1, 1.1, 1, 1]), "up to"),
        (np.diag([1.0, -1, 2, 1]), "up to 19 mm"),
    ],
    ids=["identity affine", "origin", "the slice above", "spacing", "mirrored"],
)
def test_a_mask_of_other_geometry_is_refused_with_both_geometries(tmp_path, affine, said):
    image, mask = nifti(tmp_path / "i.nii", LPS), nifti(tmp_path / "m.nii", affine)
    with pytest.raises(InputError, match=said) as raised:
        read(tmp_path, [image] * 2, [mask] * 2)
    assert "row 2: its mask lies up to" in raised.value.problem
    assert raised.value.problem.count("first pixel at (") == 2
    assert "resample" in raised.value.remedy


def test_what_lies_there_within_the_tolerance_is_read_however_it_is_stored(tmp_path):
    image = nifti(tmp_path / "i.nii", LPS)
    near = nifti(tmp_path / "near.nii", moved(LPS, 0.05, -0.05, 0.05))
    other_way = LPS @ np.diag([-1.0, 1, 1, 1])
    other_way[0, 3] = -(SIDE - 1)
    turned = nifti(tmp_path / "turned.nii", other_way, box()[::-1])
    found, _ = read(tmp_path, [image] * 2, [near, turned])
    reader, positions = found.auxiliary_images["mask"]
    first, second = reader(positions)
    assert np.array_equal(first, second)
    assert first.any()


def test_targets_are_compared_too(tmp_path):
    pixels = np.arange(SIDE * SIDE, dtype=np.int16).reshape(SIDE, SIDE)
    image, target = nifti(tmp_path / "i.nii", LPS, pixels), nifti(tmp_path / "t.nii", np.eye(4), pixels)
    with pytest.raises(InputError, match="row 2: its target lies up to"):
        read(tmp_path, [image] * 3, [target] * 3, "target", "reggan")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ImagePositionPatient": [-10, 20, 33]}, "up to 3 mm"),
        ({"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, "up to"),
        ({"PixelSpacing": [0.6, 0.5]}, "up to 1.9 mm"),
        ({"ImagePositionPatient": None, "PixelSpacing": [1, 1]}, "has pixels of 1 x 1 mm, the image of 0.5 x 0.5"),
    ],
)  # fmt: skip
def test_dicom_masks_are_compared_by_position_orientation_and_spacing(tmp_path, changes, said):
    image, mask = dicom(tmp_path / "i.dcm"), dicom(tmp_path / "m.dcm", **changes)
    with pytest.raises(InputError, match=said):
        read(tmp_path, [image] * 2, [mask] * 2)


def test_a_picture_beside_a_dicom_file_has_no_place_and_is_read(tmp_path):
    image = dicom(tmp_path / "i.dcm")
    Image.fromarray(box().astype(np.uint8) * 255).save(tmp_path / "m.png")
    found, _ = read(tmp_path, [image] * 2, [tmp_path / "m.png"] * 2)
    assert "mask" in found.auxiliary_images


def test_nifti_and_dicom_of_one_place_have_one_plane(tmp_path):
    # RAS+ affine whose first voxel is at (10, -20, 30): to the right and back, as LPS (-10, 20, 30).
    affine = np.array([[-0.5, 0, 0, 10], [0, -0.5, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]])
    a = read_image(nifti(tmp_path / "i.nii", affine, box().T))
    b = read_image(dicom(tmp_path / "i.dcm"))
    assert a.plane == b.plane
    assert a.plane.origin == (-10, 20, 30)
    assert a.plane.row_step == (0, 0.5, 0)
    assert np.array_equal(a.values(), b.values())
    check_same_place(PlacedImage.of_image(a), PlacedImage.of_image(b), "row 2: its mask")


def test_a_mask_without_orientation_is_noted(tmp_path):
    image = nifti(tmp_path / "i.nii", LPS)
    silent = nifti(tmp_path / "m.nii", None)
    assert read_image(silent).plane is None
    found, _ = read(tmp_path, [image] * 2, [silent] * 2)
    assert any("2 masks" in note and "no orientation" in note for note in found.notes)


def test_a_turned_photograph_with_a_mask_that_is_not_turned_is_noted(tmp_path):
    photograph = Image.fromarray(np.full((SIDE, SIDE, 3), 90, np.uint8))
    exif = photograph.getexif()
    exif[0x0112] = 6
    photograph.save(tmp_path / "i.jpg", exif=exif)
    Image.fromarray(box().astype(np.uint8) * 255).save(tmp_path / "m.png")
    found, _ = read(tmp_path, [tmp_path / "i.jpg"] * 2, [tmp_path / "m.png"] * 2)
    assert any("2 images and their mask are turned differently by EXIF" in note for note in found.notes)


def test_evaluation_compares_places_with_the_file_itself(tmp_path):
    image, mask = nifti(tmp_path / "i.nii", LPS), nifti(tmp_path / "m.nii", LPS)
    found, task = read(tmp_path, [image] * 2, [mask] * 2)
    assert read_truth(task, found.manifest, 0, read_image(image))
    nifti(tmp_path / "m.nii", moved(LPS, 0, 4))
    with pytest.raises(InputError, match="row 2: its mask lies up to 4 mm"):
        read_truth(task, found.manifest, 0, read_image(image))


def test_a_store_of_before_learns_where_its_images_lie(tmp_path):
    image = nifti(tmp_path / "i.nii", LPS)
    settings = StoreSettings(SIDE, SIDE, channels=1)
    store = ImageStore.build_or_open([ImageRef(image)], tmp_path / "stores", settings)
    assert store.facts[0].plane is not None
    facts = store.folder / FACTS
    pq.write_table(pq.read_table(facts).drop_columns("plane"), facts)
    assert not Catalogue(store.folder).has_facts(store.facts[0].sha256)
    again = ImageStore.build_or_open([ImageRef(image)], tmp_path / "stores", settings)
    assert again.facts[0].plane == store.facts[0].plane
    assert np.array_equal(again.get(np.array([0])), store.get(np.array([0])))
