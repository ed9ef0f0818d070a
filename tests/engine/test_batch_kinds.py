"""From stores to a network's input: what is stored as levels becomes what its kind says, relatives and all."""

import numpy as np
import pytest
import torch

from modicum.engine.inputs.batches import BatchPlan, StageData, Stored, as_network_input, in_channels_last
from modicum.engine.inputs.stage_inputs import StageInputs
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.tasks.segmentation.targets import MaskCodes
from modicum.tasks.segmentation.task import Segmentation, SegmentationOptions
from modicum.transforms import Augmentation

LEVELS = torch.randint(0, 256, (2, 5, 7, 3), dtype=torch.uint8)
CODES = torch.randint(0, 2, (2, 1, 5, 7), dtype=torch.uint8)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
@pytest.mark.parametrize(
    "name", ["image", "target", "source", "fellow_image", "partner_image", "saliency", "partner_saliency"]
)
def test_stored_levels_become_images_whatever_they_are_called(name, dtype):
    levels = LEVELS[..., :1] if "saliency" in name else LEVELS
    made = as_network_input({name: levels.to(dtype)})[name]
    highest = 255 if dtype == torch.uint8 else 65535
    torch.testing.assert_close(made, levels.permute(0, 3, 1, 2).float() / highest)


def test_codes_features_and_images_that_are_ready_stay_as_they_are():
    ready = torch.rand(2, 3, 5, 7)
    batch = {
        "mask": CODES,
        "fellow_mask": CODES,
        "masks:disc": CODES,
        "features": LEVELS,
        "image": ready,
        "map": LEVELS,
    }
    made = as_network_input(batch)
    assert all(made[name] is batch[name] for name in batch)
    assert as_network_input(batch, {"map": "saliency"})["map"].shape == (2, 3, 5, 7)


def test_all_images_of_a_batch_get_the_layout_that_convolutions_want():
    images = torch.rand(2, 3, 5, 7)
    batch = {
        "image": images,
        "target": images,
        "fellow_image": images,
        "t2": images,
        "mask": images,
        "label": torch.zeros(2),
    }
    laid = in_channels_last(batch, {"t2": "image"})
    last = {
        name
        for name, value in laid.items()
        if value.ndim == 4 and value.is_contiguous(memory_format=torch.channels_last)
    }
    assert last == {"image", "target", "fellow_image", "t2"}


def test_relatives_and_views_reach_a_stage_as_the_rows_themselves_do():
    rows = np.arange(4)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
    codes = np.moveaxis(pixels > 127, 3, 1).astype(np.uint8)
    read, read_codes = Stored(lambda at: pixels[at], rows[None]), Stored(lambda at: codes[at], rows[None])
    codes_of = MaskCodes("binary", ("lesion",), {"lesion": ((1, 255),), "background": ((0, 0),)})
    task = Segmentation("binary", {"mask": codes_of}, SegmentationOptions())
    data = StageData(
        {name: stored for prefix in ("", "partner_") for name, stored in
         ((f"{prefix}image", read), (f"{prefix}mask", read_codes))} | {"heat": read},
        {}, rows[:3], rows[3:], rows[:3], views=("identity", "rot90"), aligned=True, assemble=task.assemble,
        kinds={"heat": "saliency"},
    )  # fmt: skip
    plan = BatchPlan([rows], {"partner_": [rows[::-1].copy()]}, views=np.array([0, 1, 1, 1]))
    batch = data.on_device(data.batches(plan)[0])
    assert batch["view"].tolist() == [0, 1, 1, 1]
    assert batch["partner_view"].tolist() == [1, 1, 1, 0]  # each row has one view wherever it is shown
    for prefix in ("", "partner_"):
        assert torch.equal(batch[prefix + "mask"], (batch[prefix + "image"] > 127.5 / 255).float())
        assert batch[prefix + "fov"].all()
    assert torch.equal(batch["heat"], batch["image"])
    assert torch.equal(batch["image"].flip(0), batch["partner_image"])
    moved = Augmentation("segmentation", 8, kinds=data.kinds)(batch, torch.Generator().manual_seed(0))
    torch.testing.assert_close(moved["heat"], moved["image"])


def test_what_an_extract_stage_provides_is_features_unless_its_name_says_otherwise():
    recipe = make_recipe("made", "linear", {"backbone": "test_vit", "weights": "random"})
    inputs = StageInputs(recipe, None, None, {}, None, torch.device("cpu"))
    for name in ("image", "tokens_of_patches", "features"):
        inputs._made[name] = None
    assert inputs._kinds_of_records() == {"tokens_of_patches": "features"}
