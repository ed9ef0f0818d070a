"""Saliency beside an image: from files of any depth to batches, with the image's geometry."""

import numpy as np
import pytest
import torch
from PIL import Image

from modicum.data.image import ImageRef
from modicum.data.prepared import StoreSettings, read_prepared
from modicum.engine.inference.dense_evaluation import read_truth
from modicum.engine.inputs.auxiliary_images import with_auxiliary_images
from modicum.engine.inputs.batches import BatchPlan, StageData, Stored
from modicum.engine.inputs.preparation import prepare
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.run_folder import RunFolder
from modicum.errors import BrokenImageError, InputError
from modicum.tasks import Classification
from modicum.tasks.base import AuxiliaryImage
from modicum.transforms import Augmentation

SIDE, COUNT = 24, 6


class Weighted(Classification):
    """A task that sees beside each image how much its pixels matter, where that is known."""

    auxiliary_images = (AuxiliaryImage("saliency", "saliency", required=False),)


def table(folder, bits=8, absent=(2,)):
    """Images whose saliency is their own grey value; none for rows ``absent``."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    lines = ["image,label,saliency,split"]
    for row in range(COUNT):
        pixels = generator.integers(
            0, 200, (SIDE, SIDE), dtype=np.uint8
        )  # nowhere the most that there could be
        Image.fromarray(pixels).save(folder / f"i{row}.png")
        shown = pixels if bits == 8 else pixels.astype(np.uint16) * 257
        Image.fromarray(shown).save(folder / f"s{row}.png")
        cell = "" if row in absent else f"s{row}.png"
        lines.append(f"i{row}.png,{row % 2},{cell},{'train' if row < 4 else 'val'}")
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    return folder / "data.csv"


def prepared(source, folder, task=None, **settings):
    given = {"image_size": SIDE, "device": "cpu", "backbone": "test_vit", "weights": "random", **settings}
    recipe = make_recipe(source, "linear", given)
    found = prepare(recipe, RunFolder(folder / "run"), folder / "stores", 0)
    task = task or Weighted("multi-class", ["0", "1"])
    return with_auxiliary_images(found, task, recipe, folder / "stores", 0, folder / "broken.csv")


def batch_of(found):
    rows = np.arange(len(found.manifest))
    read, positions = found.images
    stored = {"image": Stored(read, positions[None])}
    stored |= {name: Stored(get, at[None]) for name, (get, at) in found.auxiliary_images.items()}
    data = StageData(stored, {}, rows, rows[:0], rows, kinds=found.kinds)
    return data.on_device(data.batches(BatchPlan([rows]))[0])


@pytest.mark.parametrize(("levels", "dtype"), [(256, np.uint8), (65536, np.uint16)])
@pytest.mark.parametrize("bits", [8, 16])
def test_saliency_is_the_share_of_what_its_file_could_hold_and_nothing_where_there_is_none(
    tmp_path, monkeypatch, bits, levels, dtype
):
    monkeypatch.setattr(Classification, "levels", levels)
    found = prepared(table(tmp_path / "data", bits), tmp_path)
    read, positions = found.auxiliary_images["saliency"]
    assert read(positions).dtype == dtype
    assert found.kinds == {"saliency": "saliency"}
    batch = batch_of(found)
    assert batch["saliency"].shape == (COUNT, 1, SIDE, SIDE)
    named = [row for row in range(COUNT) if row != 2]
    torch.testing.assert_close(batch["saliency"][named], batch["image"][named, :1], rtol=0, atol=1e-6)
    assert not batch["saliency"][2].any()


@pytest.mark.parametrize("resize", ["stretch", "pad", "crop"])
def test_saliency_is_resized_as_its_image_is_and_augmented_with_it(tmp_path, resize):
    found = prepared(table(tmp_path / "data", absent=()), tmp_path, image_size=(16, 12), resize=resize)
    batch = batch_of(found)
    torch.testing.assert_close(batch["saliency"], batch["image"][:, :1], rtol=0, atol=1e-6)
    augment = Augmentation(["rotate", "random_resized_crop", "horizontal_flip"], kinds=found.kinds)
    moved = augment(batch, torch.Generator().manual_seed(0))
    torch.testing.assert_close(moved["saliency"], moved["image"][:, :1], rtol=0, atol=1e-5)


def test_saliency_of_another_size_than_its_image_is_named_with_its_row(tmp_path):
    source = table(tmp_path / "data")
    Image.new("L", (SIDE + 1, SIDE), 9).save(tmp_path / "data" / "s3.png")
    with pytest.raises(InputError, match="row 5: its saliency is 24 x 25 pixels, the image 24 x 24"):
        prepared(source, tmp_path)


def test_a_crop_that_saliency_would_not_follow_is_refused(tmp_path):
    with pytest.raises(
        InputError, match="crop 'fundus' does not go with column 'saliency', which would not follow"
    ):
        prepared(table(tmp_path / "data"), tmp_path, crop="fundus")


def test_saliency_that_is_needed_and_missing_says_how_to_name_it(tmp_path):
    source = table(tmp_path / "data")
    source.write_text(source.read_text().replace("saliency", "heat"))

    class Needy(Weighted):
        auxiliary_images = (AuxiliaryImage("saliency", "saliency"),)

    task = Needy("multi-class", ["0", "1"])
    with pytest.raises(InputError, match=r"no column 'saliency'.*--saliency COLUMN"):
        prepared(source, tmp_path, task)
    named = prepared(table(tmp_path / "data", absent=()), tmp_path, task, columns={"saliency": "saliency"})
    assert "saliency" in named.auxiliary_images


def test_saliency_outside_the_datas_folder_is_refused(tmp_path):
    source = table(tmp_path / "data")
    source.write_text(source.read_text().replace("s3.png", "../s3.png"))
    with pytest.raises(InputError, match=r"saliency '\.\./s3\.png' is outside the data's folder"):
        prepared(source, tmp_path)


# --- values -----------------------------------------------------------------------------------------------------------


def read(path, **settings):
    settings = StoreSettings(
        **{"height": 4, "width": 4, "channels": 1, "kind": "saliency", "levels": 65536, **settings}
    )
    return read_prepared(ImageRef(path), settings)[1][..., 0] / 65535


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.full((4, 4), 51, np.uint8), 0.2),
        (np.full((4, 4), 13107, np.uint16), 0.2),
        (np.full((4, 4), 0.2, np.float32), 0.2),
        (np.full((4, 4), 1, np.float32), 1.0),
        (np.zeros((4, 4), np.uint8), 0.0),
        (np.ones((4, 4), bool), 1.0),
    ],
)
@pytest.mark.parametrize("form", ["png", "tiff"])
def test_one_value_means_the_same_in_every_file(tmp_path, values, expected, form):
    if form == "png" and values.dtype == np.float32:
        pytest.skip("PNG has no numbers with fractions")
    Image.fromarray(values).save(tmp_path / f"s.{form}")
    np.testing.assert_allclose(read(tmp_path / f"s.{form}"), expected, atol=1e-5)


def test_saliency_of_a_volumes_slice_is_what_the_file_says(tmp_path):
    import nibabel

    values = np.random.default_rng(0).random((4, 4, 3), dtype=np.float32) / 2
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "s.nii")
    found = np.sort(read(tmp_path / "s.nii").ravel())
    np.testing.assert_allclose(found, np.sort(values[:, :, 1].ravel()), atol=1e-5)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full((4, 4), 1.5, np.float32), "holds values that are no saliency; give 8 or 16 bits"),
        (np.full((4, 4), -0.5, np.float32), "holds values that are no saliency"),
        (np.eye(4, dtype=np.uint8), "holds only 0 and 1; as saliency write 255 where a pixel matters most"),
        (np.eye(4, dtype=np.uint16), "holds only 0 and 1; as saliency write 65535"),
        (
            np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8),
            "is in colour; saliency is one number a pixel",
        ),
    ],
)
def test_what_is_no_saliency_is_a_broken_file(tmp_path, values, reason):
    Image.fromarray(values).save(tmp_path / "s.tiff")
    with pytest.raises(BrokenImageError, match=reason):
        read(tmp_path / "s.tiff")


def test_settings_that_saliency_does_not_have_are_refused_and_its_store_is_its_own():
    for wrong in ({"channels": 3}, {"crop": "fundus"}, {"window": (0.0, 1.0)}):
        with pytest.raises(InputError, match="saliency has one channel, no window and no crop"):
            StoreSettings(8, 8, kind="saliency", **{"channels": 1, **wrong})
    kinds = [
        StoreSettings(8, 8, channels=1, kind=kind).as_dict() for kind in ("image", "label_map", "saliency")
    ]
    assert [settings.get("content") for settings in kinds] == [None, "codes", "saliency"]


def test_saliency_is_read_at_its_own_size_for_the_truth_of_a_dense_task(tmp_path):
    from modicum.data.layouts import load_manifest

    manifest = load_manifest(table(tmp_path / "data"))

    class Task:
        auxiliary_images = Weighted.auxiliary_images

        @staticmethod
        def ground_truth(found):
            return dict(found)

    truth = read_truth(Task(), manifest, 0)["saliency"]
    expected = np.asarray(Image.open(tmp_path / "data" / "s0.png")) / 255
    np.testing.assert_allclose(truth[0], expected, atol=1e-6)
    assert truth.shape == (1, SIDE, SIDE)
