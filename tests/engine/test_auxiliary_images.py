"""What is seen beside each image, from files to batches, on made pairs."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import modicum
from modicum.data.image import ImageRef
from modicum.data.prepared import StoreSettings, read_prepared
from modicum.data.stores.image_store import ImageStore
from modicum.engine.inputs.auxiliary_images import with_auxiliary_images
from modicum.engine.inputs.batches import StageData, Stored, to_unit_range
from modicum.engine.inputs.preparation import prepare, task_for
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.run_folder import RunFolder
from modicum.errors import BrokenImageError, InputError

SIDE = 24
TINY = {
    "image_size": SIDE, "width": 4, "blocks": 1, "discriminator_width": 4, "registration_width": 4, "epochs": 1,
    "batch_size": 3, "fractions": [1, 0, 0], "resamples": 0, "device": "cpu",
}  # fmt: skip


def pairs(folder, count=6, side=SIDE, bits=8):
    """Grey images and their negatives, one patient each; rows 0 to 3 to learn from."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    lines = ["image,target,patient,split"]
    for row in range(count):
        pixels = generator.integers(0, 2**bits, (side, side)).astype(np.uint8 if bits == 8 else np.uint16)
        pixels[0, :2] = 0, 2**bits - 1  # the range that an image of more than 8 bits is shown in
        Image.fromarray(pixels).save(folder / f"a{row}.png")
        Image.fromarray(2**bits - 1 - pixels).save(folder / f"b{row}.png")
        lines.append(f"a{row}.png,b{row}.png,p{row},{'train' if row < 4 else 'test'}")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n")
    return folder / "pairs.csv"


def prepared_pairs(table, folder, **settings):
    recipe = make_recipe(table, "reggan", {**TINY, **settings})
    found = prepare(recipe, RunFolder(folder / "run"), folder / "stores", 0)
    task = task_for(found.manifest, recipe)
    return with_auxiliary_images(found, task, recipe, folder / "stores", 0, folder / "broken.csv"), task


@pytest.mark.parametrize("bits", [8, 16])
def test_stored_pairs_are_the_files_to_the_last_level(tmp_path, bits):
    found, _ = prepared_pairs(pairs(tmp_path / "data", bits=bits), tmp_path)
    read, positions = found.auxiliary_images["target"]
    images = found.store.get(found.positions)
    targets = read(positions)
    assert images.shape == targets.shape == (6, SIDE, SIDE, 1)
    assert images.dtype == np.uint16
    for row in range(6):
        pixels = np.asarray(Image.open(tmp_path / "data" / f"a{row}.png")).astype(int)
        assert np.array_equal(images[row, ..., 0], pixels * (257 if bits == 8 else 1))
    assert np.array_equal(images.astype(int) + targets, np.full(images.shape, 65535))
    both = to_unit_range(torch.from_numpy(images)) + to_unit_range(torch.from_numpy(targets))
    torch.testing.assert_close(both, torch.ones(6, 1, SIDE, SIDE), rtol=0, atol=1e-6)


def test_a_target_of_another_size_is_named_with_both_sizes(tmp_path):
    table = pairs(tmp_path / "data")
    Image.new("L", (SIDE, SIDE + 1)).save(tmp_path / "data" / "b3.png")
    with pytest.raises(InputError, match=r"row 5: its target is 25 x 24 pixels, the image 24 x 24"):
        prepared_pairs(table, tmp_path)


def test_a_row_without_target_is_named(tmp_path):
    table = pairs(tmp_path / "data")
    table.write_text(table.read_text().replace("b2.png", ""))
    with pytest.raises(InputError, match=r"row 4 names no target \(1 of 6 rows\)"):
        prepared_pairs(table, tmp_path)


def test_a_table_without_targets_says_how_to_name_them(tmp_path):
    table = pairs(tmp_path / "data")
    table.write_text(table.read_text().replace("target", "wanted"))
    with pytest.raises(InputError, match=r"no column 'target'.*--target COLUMN"):
        prepared_pairs(table, tmp_path)


def test_a_broken_target_stops_or_is_set_aside_with_its_row(tmp_path):
    table = pairs(tmp_path / "data")
    (tmp_path / "data" / "b1.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="1 of 6 targets cannot be read"):
        prepared_pairs(table, tmp_path)
    found, _ = prepared_pairs(table, tmp_path, skip_broken=True)
    assert found.manifest.table["image"].tolist() == [f"a{row}.png" for row in (0, 2, 3, 4, 5)]
    assert len(found.positions) == len(found.auxiliary_images["target"][1]) == 5
    assert "b1.png" in (tmp_path / "broken.csv").read_text()


def test_grey_pairs_with_one_in_colour_are_refused_by_its_name(tmp_path):
    table = pairs(tmp_path / "data")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(
        tmp_path / "data/a5.png"
    )
    with pytest.raises(InputError, match=r"'a5\.png' is in colour and others are grey"):
        prepared_pairs(table, tmp_path)


def test_a_crop_that_targets_would_not_follow_is_refused(tmp_path):
    with pytest.raises(InputError, match="crop 'fundus' does not work with task 'image-to-image'"):
        prepared_pairs(pairs(tmp_path / "data"), tmp_path, crop="fundus")


# --- codes ------------------------------------------------------------------------------------------------------------


def test_codes_are_kept_as_they_are_and_never_mixed(tmp_path):
    codes = np.random.default_rng(0).choice(np.array([0, 1, 7, 255], np.uint8), (60, 40))
    Image.fromarray(codes).save(tmp_path / "mask.png")
    exact = StoreSettings(60, 40, channels=1, kind="label_map")
    small = StoreSettings(17, 23, channels=1, kind="label_map")
    assert np.array_equal(read_prepared(ImageRef(tmp_path / "mask.png"), exact)[1][..., 0], codes)
    assert set(np.unique(read_prepared(ImageRef(tmp_path / "mask.png"), small)[1])) <= {0, 1, 7, 255}


def test_a_mask_of_two_levels_keeps_its_own_numbers(tmp_path):
    Image.fromarray(np.eye(8, dtype=bool)).save(tmp_path / "mask.png")
    record = read_prepared(
        ImageRef(tmp_path / "mask.png"), StoreSettings(8, 8, channels=1, kind="label_map")
    )[1]
    assert np.array_equal(record[..., 0] > 0, np.eye(8, dtype=bool))


def test_a_mask_in_colour_is_a_broken_one(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)).save(
        tmp_path / "mask.png"
    )
    with pytest.raises(BrokenImageError, match="is in colour; a mask holds one code a pixel"):
        read_prepared(ImageRef(tmp_path / "mask.png"), StoreSettings(8, 8, channels=1, kind="label_map"))


def test_stores_of_images_are_where_they_were_before_there_were_codes(tmp_path):
    usual = StoreSettings(8, 8).as_dict()
    assert not {"levels", "content", "intensity"} & set(usual)
    folders = set()
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    for settings in (StoreSettings(8, 8), StoreSettings(8, 8, levels=65536)):
        folders.add(ImageStore.build_or_open([ImageRef(tmp_path / "a.png")], tmp_path / "s", settings).folder)
    assert len(folders) == 2


# --- data without pairs ---------------------------------------------------------------------------------------------


def test_shuffled_targets_are_drawn_anew_each_epoch_among_training_rows_only():
    pixels = np.arange(10, dtype=np.uint8)[:, None, None, None]
    rows = np.arange(10)
    data = StageData(
        {"image": Stored(lambda p: pixels[p], rows[None]), "target": Stored(lambda p: pixels[p], rows[None])},
        {}, rows[:7], rows[7:], np.zeros(7, np.int64), shuffled=("target",),
    )  # fmt: skip
    seen = []
    for epoch in range(3):
        plan = data.training_plan([rows], [], 0, "translate", epoch)
        batch = data.batches(plan)[0]
        assert batch["image"].flatten().tolist() == list(range(10))
        targets = batch["target"].flatten().tolist()
        assert sorted(targets[:7]) == list(range(7))
        assert targets[7:] == [7, 8, 9]
        seen.append(targets)
        again = data.batches(data.training_plan([rows], [], 0, "translate", epoch))[0]
        assert targets == again["target"].flatten().tolist()
    assert len({tuple(targets) for targets in seen}) == 3


# --- a run ------------------------------------------------------------------------------------------------------------


def test_a_run_of_pairs_keeps_translator_and_registration_and_no_picture_of_a_patient(tmp_path):
    from safetensors.torch import load_file

    table = pairs(tmp_path / "data")
    run = modicum.fit(table, "reggan", runs=tmp_path / "runs", name="a", fakes="pool", **TINY)
    kept = load_file(run.path / "weights.safetensors")
    assert {name.split(".")[1] for name in kept} <= {"base", "generator", "registration"}
    assert not any("pool" in name or "discriminator" in name for name in kept)
    scores = run.metrics["evaluations"]["test"]["metrics"]
    assert set(scores) == {
        "nmae",
        "psnr_foreground",
        "psnr_release",
        "psnr",
        "ssim_release",
        "ssim_foreground",
        "ssim_gaussian",
        "sharpness_error",
    }
    assert 0 < scores["nmae"]["value"] < 1
    again = run.evaluate(table, split="test", name="again")
    for name, entry in scores.items():
        assert again["metrics"][name]["value"] == pytest.approx(entry["value"], rel=1e-4)
    examples = json.loads((run.path / "evaluations/test/examples/examples.json").read_text())
    names = [panel["name"] for panel in examples[0]["panels"]]
    assert names[:4] == ["source", "output", "target", "error"]
    assert (run.path / "report.html").is_file()
