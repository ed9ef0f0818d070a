"""A run that learned inside fields of view predicts inside them: given, found as those were, or else it says so."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

import modicum
from modicum.data.field_of_view import field_of_view
from modicum.data.image import ImageRef
from modicum.data.readers import read_image
from modicum.tasks.segmentation.task import Segmentation

SIZE = 48
REAL = Path(__file__).parents[3] / "shared" / "data"
SETTINGS = {
    "method": "segment", "backbone": "test_resnet", "weights": "random", "image_size": SIZE, "epochs": 1, "batch_size": 4,
    "workers": 0, "resamples": 20, "device": "cpu", "augment": "none", "write_report": False, "threshold": 1e-9,
}  # fmt: skip


def disc(centre=(24, 24), radius=18, size=(SIZE, SIZE)):
    rows, columns = np.indices(size)
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def photograph(inside, seed=0, surround=6):
    """Bright inside, with noise and a dark vessel; outside nearly black."""
    generator = np.random.default_rng(seed)
    pixels = generator.normal(surround, 1.5, (*inside.shape, 3))
    pixels[inside] = generator.normal(120, 12, (inside.sum(), 3)) * (1, 0.6, 0.4)
    pixels[:, inside.shape[1] // 2] *= 0.4
    return pixels.clip(0, 255).astype(np.uint8)


def data_set(folder, fields, rows=8):
    """A table of photographs with masks of the vessel; ``fields``: from a row to its field's pixels, or None."""
    folder.mkdir(parents=True)
    lines = []
    for row in range(rows):
        inside = disc((24 + row % 3, 23))
        Image.fromarray(photograph(inside, row)).save(folder / f"i{row}.png")
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[12:36, SIZE // 2] = 255
        Image.fromarray(mask).save(folder / f"m{row}.png")
        given = fields(row, inside)
        if given is not None:
            Image.fromarray(given.astype(np.uint8) * 255).save(folder / f"f{row}.png")
        lines.append({"image": f"i{row}.png", "mask": f"m{row}.png", "fov": "" if given is None else f"f{row}.png",
                      "split": ("train", "train", "val", "test")[row % 4]})  # fmt: skip
    pd.DataFrame(lines).to_csv(folder / "data.csv", index=False)
    return folder / "data.csv"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fields")


@pytest.fixture(scope="module")
def data(place):
    return data_set(place / "data", lambda row, inside: inside)


@pytest.fixture(scope="module")
def run(data, place):
    return modicum.fit(data, name="run", runs=place, **SETTINGS)


def predicted(run, data, out, **settings):
    run.predict(data, out, **settings)
    table = pd.read_csv(out / "predictions.csv")
    return table, [np.asarray(Image.open(out / file)) > 0 for file in table["file"].dropna()]


# The finder


@pytest.mark.parametrize("surround", [0, 10, 30])
@pytest.mark.parametrize("size", [(200, 240), (120, 90)])
def test_a_disc_on_a_dark_surround_is_found_without_its_vessels(surround, size):
    inside = disc((size[0] / 2, size[1] / 2), 0.45 * min(size), size)
    pixels = np.moveaxis(photograph(inside, surround=surround), 2, 0)
    for given in (pixels, pixels.astype(np.float32) / 255, pixels[:1]):
        found = field_of_view(given)
        assert (found & inside).sum() / (found | inside).sum() > 0.97


def test_a_light_in_one_corner_does_not_hide_the_field():
    inside = disc((100, 100), 80, (200, 200))
    pixels = np.moveaxis(photograph(inside), 2, 0).copy()
    pixels[:, :12, :12] = 255
    found = field_of_view(pixels)
    assert (found & inside).sum() / (found | inside).sum() > 0.97


def test_images_without_a_surround_have_no_field():
    generator = np.random.default_rng(0)
    assert field_of_view(generator.integers(60, 256, (3, 100, 100), dtype=np.uint8)) is None
    assert field_of_view(np.zeros((1, 100, 100), np.uint8)) is None
    spot = np.moveaxis(photograph(disc((50, 50), 10, (100, 100))), 2, 0)
    assert field_of_view(spot) is None  # a reflex, not a field
    assert field_of_view(np.zeros((1, 8, 8), np.uint8)) is None


@pytest.mark.skipif(not (REAL / "vessels").is_dir(), reason="the shared real images are not here")
def test_fields_of_real_photographs_are_those_of_their_data_set():
    root = REAL / "vessels"
    table = pd.read_csv(root / "manifest.csv").dropna(subset=["fov"])
    overlaps = []
    for _, row in table[::4].iterrows():
        found = field_of_view(read_image(ImageRef(root / row["image"]), empty=True).pixels)
        given = read_image(ImageRef(root / row["fov"]), empty=True).pixels[0] > 0
        overlaps.append((found & given).sum() / (found | given).sum())
    assert min(overlaps) > 0.98


# Runs


def test_fields_that_are_found_as_they_were_given_are_found_for_new_images(run, place, tmp_path, capsys):
    known = json.loads((run.path / "model.json").read_text())["field_of_view"]
    assert known["images"] == 4
    assert known["agreement"] > 0.95
    assert known["finds"]
    new = disc((20, 27), 17)
    Image.fromarray(photograph(new, 99)).save(tmp_path / "new.png")
    table, (mask,) = predicted(run, tmp_path / "new.png", tmp_path / "out")
    assert (mask & new).sum() > 0.97 * new.sum()  # the threshold marks every pixel that may be marked
    assert (mask & ~new).sum() < 0.03 * new.sum()
    assert table.filter(like="area_pixels").iloc[0, 0] == mask.sum()
    assert "1 field of view found" in capsys.readouterr().err


def test_a_field_in_the_table_is_the_one_that_counts(run, tmp_path, capsys):
    left = np.zeros((SIZE, SIZE), bool)
    left[:, :20] = True
    table = data_set(tmp_path / "d", lambda row, inside: left if row else None, rows=2)
    _, masks = predicted(run, table, tmp_path / "out")
    assert not masks[0][disc((24, 23), 22) == 0].any()  # found
    assert (masks[1] == left).all()
    assert "1 field of view given; 1 field of view found" in capsys.readouterr().err


def test_a_field_of_another_size_is_the_images_error(run, tmp_path):
    table = data_set(tmp_path / "d", lambda row, inside: np.ones((10, 12), bool), rows=1)
    run.predict(table, tmp_path / "out")
    error = pd.read_csv(tmp_path / "out" / "predictions.csv")["error"].iloc[0]
    assert "its field of view has 12 x 10 pixels, it has 48 x 48" in error


def test_files_as_written_score_as_the_evaluation_does(run, data, tmp_path):
    content = run.evaluate(data, split="test", name="again", workers=0, write_report=False)
    table, masks = predicted(run, data, tmp_path / "out")
    dice = []
    for row in (3, 7):
        true = np.asarray(Image.open(data.parent / f"m{row}.png")) > 0
        mask = masks[list(table["image"]).index(f"i{row}.png")]
        dice.append(2 * (mask & true).sum() / (mask.sum() + true.sum()))
    assert content["metrics"]["dice"]["value"] == pytest.approx(np.mean(dice), abs=1e-6)


def test_without_a_surround_it_is_said_that_the_outside_was_never_learned(run, tmp_path, capsys):
    bright = np.random.default_rng(0).integers(80, 200, (SIZE, SIZE, 3), dtype=np.uint8)
    Image.fromarray(bright).save(tmp_path / "bright.png")
    _, (mask,) = predicted(run, tmp_path / "bright.png", tmp_path / "out")
    assert mask.all()
    assert "none for 1 image, predicted outside too, which was not learned" in capsys.readouterr().err


def test_fields_that_the_finder_does_not_give_are_not_looked_for(place, tmp_path, capsys):
    upper = np.zeros((SIZE, SIZE), bool)
    upper[:24] = True
    table = data_set(tmp_path / "d", lambda row, inside: upper)
    run = modicum.fit(table, name="upper", runs=place, **SETTINGS)
    assert not json.loads((run.path / "model.json").read_text())["field_of_view"]["finds"]
    _, (mask,) = predicted(run, tmp_path / "d" / "i0.png", tmp_path / "out")
    assert mask.all()
    assert "predicted outside too" in capsys.readouterr().err


def test_runs_without_fields_and_older_ones_predict_everywhere(run, data, tmp_path, capsys):
    model = json.loads((run.path / "model.json").read_text())
    kept = model.pop("field_of_view")
    (run.path / "model.json").write_text(json.dumps(model))
    try:
        _, (mask,) = predicted(run, data.parent / "i0.png", tmp_path / "out")
    finally:
        (run.path / "model.json").write_text(json.dumps({**model, "field_of_view": kept}))
    assert mask.all()
    assert "field of view" not in capsys.readouterr().err


# Relatives: fields that are named otherwise, lie in volumes, or are left behind by what is made of a run


def without_words(run, place, change):
    """A copy of a run whose recipe is changed."""
    copy = shutil.copytree(run.path, place)
    recipe = yaml.safe_load((copy / "recipe.yaml").read_text())
    change(recipe)
    (copy / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return modicum.Run.open(copy)


def left_of(width, size=SIZE):
    inside = np.zeros((size, size), bool)
    inside[:, :width] = True
    return inside


@pytest.mark.parametrize("how", ["as in training", "asked for"])
def test_a_column_of_another_name_is_the_field(run, tmp_path, how):
    table = data_set(tmp_path / "d", lambda row, inside: left_of(20), rows=2)
    pd.read_csv(table).rename(columns={"fov": "roi"}).to_csv(table, index=False)
    if how == "asked for":
        _, masks = predicted(run, table, tmp_path / "out", columns={"fov": "roi"})
    else:
        copy = without_words(
            run, tmp_path / "run", lambda recipe: recipe["data"].update(columns={"fov": "roi"})
        )
        _, masks = predicted(copy, table, tmp_path / "out")
    assert all((mask == left_of(20)).all() for mask in masks)


@pytest.mark.parametrize(
    "settings", [{"native": True}, {"tile": 32}, {"native": True, "tile": 16}, {"batch_size": 3}]
)
def test_tiles_and_sizes_do_not_lose_the_field(run, tmp_path, settings):
    table = data_set(tmp_path / "d", lambda row, inside: left_of(20), rows=3)
    _, masks = predicted(run, table, tmp_path / "out", **settings)
    assert all((mask == left_of(20)).all() for mask in masks)


def volumes(folder, depth=3, moved=0.0, of_field=None, form=".nii.gz"):
    """A volume whose field grows from slice to slice, and a table that names both."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    affine, elsewhere = np.diag([1.0, 1, 2, 1]), np.diag([1.0, 1, 2, 1])
    elsewhere[0, 3] = moved
    field = np.zeros((24, 24, of_field or depth), np.uint8)
    for index in range(field.shape[2]):
        field[: 4 + 5 * index, :, index] = 1
    voxels = generator.integers(80, 200, (24, 24, depth)).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, affine), folder / f"v{form}")
    nib.save(nib.Nifti1Image(field, elsewhere), folder / f"f{form}")
    (folder / "data.csv").write_text(f"image,fov\nv{form},f{form}\n")
    return folder / "data.csv", field


@pytest.mark.parametrize("form", [".nii.gz", ".nii"])
def test_a_volume_is_predicted_inside_the_field_of_each_slice(run, tmp_path, capsys, form):
    table, field = volumes(tmp_path / "d", form=form)
    run.predict(table, tmp_path / "out")
    mask = nib.load(tmp_path / "out" / f"v_predicted{form}").get_fdata() > 0
    assert np.array_equal(mask, field > 0)
    assert "3 fields of view given" in capsys.readouterr().err


def test_a_field_of_one_slice_lies_beside_all_of_them(run, tmp_path):
    table, field = volumes(tmp_path / "d")
    Image.fromarray(np.flipud(field[..., 0].T).astype(np.uint8) * 255).save(tmp_path / "d" / "one.png")
    table.write_text("image,fov\nv.nii.gz,one.png\n")
    run.predict(table, tmp_path / "out")
    mask = nib.load(tmp_path / "out" / "v_predicted.nii.gz").get_fdata() > 0
    assert mask.any()
    assert np.array_equal(mask, np.repeat(mask[..., :1], 3, 2))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"moved": 3.0}, "its field of view lies up to 3 mm from the image"),
        ({"of_field": 5}, "has 5 slices, the image 3"),
    ],
)
def test_a_field_that_does_not_lie_there_is_the_volumes_error(run, tmp_path, changes, said):
    table, _ = volumes(tmp_path / "d", **changes)
    run.predict(table, tmp_path / "out")
    assert said in pd.read_csv(tmp_path / "out" / "predictions.csv")["error"].iloc[0]


def test_a_field_elsewhere_is_resampled_on_request(run, tmp_path):
    table, field = volumes(tmp_path / "d", moved=3.0)
    run.predict(table, tmp_path / "out", align_geometry="resample")
    mask = nib.load(tmp_path / "out" / "v_predicted.nii.gz").get_fdata() > 0
    expected = np.zeros_like(field)
    expected[3:] = field[:-3]
    assert np.array_equal(mask, expected > 0)


def test_the_training_itself_evaluates_as_evaluate_does(place, tmp_path):
    """Test images without a field of their own: it is found in them, at the end of the training too."""
    table = data_set(tmp_path / "d", lambda row, inside: inside if row % 4 < 2 else None)
    run = modicum.fit(table, name="partly", runs=place, **SETTINGS)
    at_end = run.metrics["evaluations"]["test"]["metrics"]["dice"]["value"]
    later = run.evaluate(table, split="test", name="later", workers=0, write_report=False)
    assert later["metrics"]["dice"]["value"] == at_end
    written, masks = predicted(run, table, tmp_path / "out")
    true = np.asarray(Image.open(tmp_path / "d" / "m3.png")) > 0
    mask = masks[list(written["image"]).index("i3.png")]
    of_file = 2 * (mask & true).sum() / (mask.sum() + true.sum())
    row = pd.read_csv(run.path / "evaluations" / "test" / "predictions.csv").set_index("image").loc["i3.png"]
    assert row.filter(like="dice").iloc[0] == pytest.approx(of_file, abs=1e-6)


def test_an_exported_network_says_where_it_learned(run, tmp_path):
    file = run.export(tmp_path / "net.safetensors")
    card = json.loads(file.with_suffix(".json").read_text())
    assert card["field_of_view"] == json.loads((run.path / "model.json").read_text())["field_of_view"]
    assert modicum.load_exported(file) is not None


@pytest.mark.parametrize(
    ("levels", "cautioned"), [([0, 255], 0), ([0, 1], 0), ([0, 3, 120, 251, 255], 1), ([0, 64, 128], 1), ([0, 2, 3], 0)]
)  # fmt: skip
def test_fields_with_the_noise_of_jpeg_are_said(levels, cautioned):
    held = np.zeros((3, 256), bool)
    held[:, levels] = True
    notes = Segmentation.from_options({}).validate_label_values("fov", held, ["a", "b", "c"])
    assert len(notes) == cautioned
    assert not notes or "3 of 3 fields of view hold levels between" in notes[0]
