"""Masks and fields of view, from files to batches: what is wrong with them is named with its row, before training."""

import numpy as np
import pytest
import torch
from PIL import Image

from modicum.engine.inference.dense_evaluation import read_truth
from modicum.engine.inputs.auxiliary_images import with_auxiliary_images
from modicum.engine.inputs.batches import BatchPlan, StageData, Stored
from modicum.engine.inputs.preparation import prepare, task_for
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.run_folder import RunFolder
from modicum.errors import BrokenImageError, InputError
from modicum.transforms import Augmentation

SIZE = (20, 28)
COUNT = 6


def masks(folder, *, fov=False, classes=(), **changed):
    """Pictures with masks that are 255 in the upper half, by row or as ``changed`` says (``mask3=array``)."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    columns = ["mask"] if not classes else [f"masks:{name}" for name in classes]
    columns += ["fov"] if fov else []
    lines = [",".join(["image", *columns, "split"])]
    upper = np.zeros(SIZE, np.uint8)
    upper[: SIZE[0] // 2] = 255
    for row in range(COUNT):
        Image.fromarray(generator.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(folder / f"i{row}.png")
        cells = [f"i{row}.png"]
        for column in columns:
            name = column.replace("masks:", "")
            pixels = changed.get(f"{name}{row}", np.full(SIZE, 255, np.uint8) if name == "fov" else upper)
            if pixels is not None:
                Image.fromarray(pixels).save(folder / f"{name}{row}.png")
            cells.append("" if pixels is None else f"{name}{row}.png")
        lines.append(",".join([*cells, "train" if row < 4 else "val"]))
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    return folder / "data.csv"


def read(table, folder, **settings):
    given = {"image_size": SIZE, "device": "cpu", **settings}
    recipe = make_recipe(table, "segment", given)
    found = prepare(recipe, RunFolder(folder / "run"), folder / "stores", 0)
    task = task_for(found.manifest, recipe)
    return with_auxiliary_images(found, task, recipe, folder / "stores", 0, folder / "broken.csv"), task


def batch_of(found, task, rows=range(COUNT)):
    rows = np.array(list(rows))
    read_images, positions = found.images
    stored = {"image": Stored(read_images, positions[None])} | {
        name: Stored(reader, places[None]) for name, (reader, places) in found.auxiliary_images.items()
    }
    data = StageData(stored, {}, rows, rows[:0], np.zeros(len(rows)), assemble=task.assemble)
    return data.on_device(data.batches(BatchPlan([rows]))[0])


def test_a_batch_has_channels_of_0_and_1_that_are_the_file(tmp_path):
    half = np.zeros(SIZE, np.uint8)
    half[:, 10:] = 255
    batch = batch_of(*read(masks(tmp_path / "d", mask2=half), tmp_path))
    assert batch["mask"].shape == (COUNT, 1, *SIZE)
    assert batch["mask"].dtype == torch.float32
    assert torch.equal(batch["mask"][2, 0], torch.from_numpy(half > 0).float())
    assert batch["image"].shape == (COUNT, 3, *SIZE)


def test_without_a_field_of_view_every_pixel_counts_but_those_that_augmentation_opens(tmp_path):
    batch = batch_of(*read(masks(tmp_path / "d"), tmp_path))
    assert batch["fov"].dtype == torch.bool
    assert batch["fov"].all()
    shrink = Augmentation([{"name": "random_scale_crop", "p": 1.0, "factor": [0.5, 0.5]}], SIZE)
    moved = shrink(batch, torch.Generator().manual_seed(0))
    inside = moved["fov"].sum((1, 2, 3))
    assert inside.tolist() == [SIZE[0] * SIZE[1] // 4] * COUNT
    assert not moved["image"][
        ~moved["fov"].expand(-1, 3, -1, -1)
    ].any()  # what does not count is what is black
    assert not moved["mask"][~moved["fov"]].any()


def test_what_lies_outside_the_field_of_view_adds_nothing_to_the_loss(tmp_path):
    inside = np.zeros(SIZE, np.uint8)
    inside[:, :14] = 255
    found, task = read(
        masks(tmp_path / "d", fov=True, **{f"fov{row}": inside for row in range(COUNT)}), tmp_path
    )
    batch, loss = batch_of(found, task), task.loss({}, {"loss": "auto"})
    torch.manual_seed(0)
    outputs = torch.randn(COUNT, 1, *SIZE)
    changed = outputs.clone()
    changed[..., 14:] = 9.0
    assert loss(outputs, batch) == loss(changed, batch)
    changed[..., 13] = 9.0
    assert loss(outputs, batch) != loss(changed, batch)


def test_a_row_without_a_field_of_view_counts_everywhere(tmp_path):
    inside = np.zeros(SIZE, np.uint8)
    inside[5:, 5:] = 1
    table = masks(tmp_path / "d", fov=True, fov0=inside, fov1=None)
    batch = batch_of(*read(table, tmp_path))
    assert batch["fov"][0].sum() == 15 * 23
    assert batch["fov"][1].all()


def test_an_empty_field_of_view_is_named_with_its_row(tmp_path):
    table = masks(tmp_path / "d", fov=True, fov3=np.zeros(SIZE, np.uint8))
    with pytest.raises(InputError, match=r"data\.csv row 5: its fov is 0 everywhere"):
        read(table, tmp_path)


def test_a_mask_of_another_size_is_named_with_both_sizes(tmp_path):
    table = masks(tmp_path / "d", mask4=np.full((10, 14), 255, np.uint8))
    with pytest.raises(InputError, match=r"data\.csv row 6: its mask is 10 x 14 pixels, the image 20 x 28"):
        read(table, tmp_path)


def test_a_value_without_a_meaning_is_named_with_its_row(tmp_path):
    odd = np.zeros(SIZE, np.uint8)
    odd[3, 3] = 7
    table = masks(tmp_path / "d", mask5=odd)
    with pytest.raises(
        InputError, match=r"data\.csv row 7: its mask has pixels of code 7, which has no meaning"
    ):
        read(table, tmp_path, codes={"vessel": 255, "background": 0})


def test_a_value_that_a_resize_has_skipped_is_named_with_its_row_where_masks_are_compared(tmp_path):
    odd = np.zeros(SIZE, np.uint8)
    odd[0, 0] = 7
    table = masks(tmp_path / "d", mask5=odd)
    found, task = read(table, tmp_path, codes={"vessel": 255, "background": 0}, image_size=(4, 4))
    with pytest.raises(InputError, match=r"data\.csv row 7: the mask has pixels of code 7"):
        read_truth(task, found.manifest, 5)


def test_empty_masks_are_learned_from_and_counted(tmp_path):
    empty = np.zeros(SIZE, np.uint8)
    found, task = read(masks(tmp_path / "d", mask0=empty, mask4=empty), tmp_path)
    assert "2 of 6 mask files show no class." in found.notes
    assert batch_of(found, task)["mask"].sum((1, 2, 3)).tolist() == [0, 280, 280, 280, 0, 280]


def test_a_missing_mask_is_named_with_its_row(tmp_path):
    with pytest.raises(InputError, match=r"data\.csv row 3 names no mask \(1 of 6 rows\)"):
        read(masks(tmp_path / "d", mask1=None), tmp_path)


def test_one_file_a_class_makes_channels_that_may_overlap_and_an_absent_file_an_empty_one(tmp_path):
    left = np.zeros(SIZE, np.uint8)
    left[:, :14] = 255
    changed = {f"MA{row}": left for row in range(COUNT)} | {"EX2": None}
    found, task = read(masks(tmp_path / "d", classes=("MA", "EX"), **changed), tmp_path)
    batch = batch_of(found, task)
    assert (task.kind, task.classes) == ("multi-label", ("MA", "EX"))
    assert batch["mask"].sum((2, 3)).tolist() == [[280, 280]] * 2 + [[280, 0]] + [[280, 280]] * 3
    assert (batch["mask"].sum(1) == 2).any()
    assert batch["fov"].all()
    assert "masks:MA" not in batch


def test_masks_in_red_are_learned_from_and_green_ones_are_named_with_their_colours(tmp_path):
    def colour(folder, channel):
        table = masks(folder)
        for path in folder.glob("mask*.png"):
            grey = np.asarray(Image.open(path))
            pixels = np.zeros((*grey.shape, 3), np.uint8)
            pixels[..., channel] = grey
            Image.fromarray(pixels).save(path)
        return table

    found, task = read(colour(tmp_path / "red", 0), tmp_path / "a")
    batch = batch_of(found, task)
    assert batch["mask"].float().mean() == 0.5
    with pytest.raises(BrokenImageError, match=r"colours are \(0, 0, 0\), \(0, 255, 0\)"):
        read(colour(tmp_path / "green", 1), tmp_path / "b")
