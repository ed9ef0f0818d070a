"""Neighbouring slices as channels: the same in training and in prediction."""

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from made_dense import predictor_of, write_volume
from torch import nn

from modicum.data.volumes import nifti_volumes
from modicum.engine.inputs.auxiliary_images import with_auxiliary_images
from modicum.engine.inputs.batches import BatchPlan
from modicum.engine.inputs.preparation import prepare, task_for
from modicum.engine.inputs.stage_inputs import StageInputs
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError
from modicum.methods.reggan import RegGanStage
from modicum.methods.reggan.config import RegGanConfig

SIDE = 32


@pytest.fixture
def data(tmp_path):
    """Slice k of the image is k/5 all over, and of the target its negative; the table has every second slice."""
    levels = np.arange(6, dtype=np.float32) / 5
    write_volume(tmp_path / "x.nii", np.broadcast_to(levels, (SIDE, SIDE, 6)))
    write_volume(tmp_path / "y.nii", np.broadcast_to(1 - levels, (SIDE, SIDE, 6)))
    rows = [(f"x.nii#axis=2&index={at}", f"y.nii#axis=2&index={at}") for at in (0, 2, 4)]
    table = pd.DataFrame(rows, columns=["image", "target"]).assign(patient=list("abc"), split="train")
    table.to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


def inputs_of(data, stage, **settings):
    recipe = make_recipe(
        data, "reggan", {"image_size": SIDE, "leaks": "allow", "adjacent_slices": 1, **settings}
    )
    prepared = prepare(recipe, RunFolder(data.parent / "run"), data.parent / "stores", 0)
    task = task_for(prepared.manifest, recipe)
    prepared = with_auxiliary_images(prepared, task, recipe, data.parent / "stores", 0, None)
    return StageInputs(recipe, prepared, task, {}, data.parent / "stores", torch.device("cpu")).of(stage)


@pytest.fixture(scope="module")
def stage():
    config = RegGanConfig(width=4, blocks=0, discriminator_width=4, registration_width=4)
    return RegGanStage(config, (SIDE, SIDE), (3, 1))


def test_training_sees_slices_that_the_table_does_not_have(data, stage):
    loaded = inputs_of(data, stage)
    batch = loaded.on_device(loaded.batches(BatchPlan([np.array([2, 0])]))[0])
    assert batch["image"].shape == (2, 3, SIDE, SIDE)
    assert batch["target"].shape == (2, 1, SIDE, SIDE)
    seen = batch["image"][:, :, 5, 5]
    torch.testing.assert_close(seen, torch.tensor([[0.6, 0.8, 1.0], [0.0, 0.0, 0.2]]), atol=1e-4, rtol=0)
    assert {*stage.generator_losses(batch)} == {"adversarial", "correction", "smoothness"}


def test_a_volume_is_predicted_with_the_slices_that_training_sees(data):
    seen = []

    class Watched(nn.Module):
        def forward(self, images):
            seen.append(images[:, :, 5, 5])
            return images[:, 1:2]

    predictor = predictor_of(Watched(), size=(SIDE, SIDE), adjacent_slices=1)
    (volume,) = nifti_volumes(data.parent / "x.nii")
    made = [one.activated[0, 5, 5] for one in predictor.predict(enumerate(volume.refs))]
    levels = np.arange(6) / 5
    np.testing.assert_allclose(made, levels, atol=1e-4)
    expected = [[levels[max(at - 1, 0)], levels[at], levels[min(at + 1, 5)]] for at in range(6)]
    np.testing.assert_allclose(torch.cat(seen), expected, atol=1e-4)


def test_slices_of_one_folder_with_their_targets_are_refused(tmp_path, stage):
    rows = []
    for number in range(3):
        for kind in (1, 2):
            picture = np.full((SIDE, SIDE), 40 * number + kind, np.uint8)
            cv2.imwrite(str(tmp_path / f"s{number}_t{kind}.png"), picture)
        rows.append((f"s{number}_t1.png", f"s{number}_t2.png", f"p{number}", "train"))
    pd.DataFrame(rows, columns=["image", "target", "patient", "split"]).to_csv(
        tmp_path / "t.csv", index=False
    )
    with pytest.raises(InputError, match="is a target or mask"):
        inputs_of(tmp_path / "t.csv", stage)


def test_a_broken_neighbour_is_named_or_the_slice_stands_in_for_it(tmp_path, stage):
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"x{number}.png"), np.full((SIDE, SIDE), 50 * number, np.uint8))
        (tmp_path / "y").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / f"y/x{number}.png"), np.full((SIDE, SIDE), 9 * number, np.uint8))
    (tmp_path / "x1.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    rows = [(f"x{n}.png", f"y/x{n}.png", f"p{n}", "train") for n in (0, 2)]
    pd.DataFrame(rows, columns=["image", "target", "patient", "split"]).to_csv(
        tmp_path / "t.csv", index=False
    )
    with pytest.raises(InputError, match="neighbouring slices cannot be read"):
        inputs_of(tmp_path / "t.csv", stage)
    loaded = inputs_of(tmp_path / "t.csv", stage, skip_broken=True)
    batch = loaded.on_device(loaded.batches(BatchPlan([np.array([1])]))[0])
    levels = [100 / 255, 100 / 255, 150 / 255]
    torch.testing.assert_close(batch["image"][0, :, 5, 5], torch.tensor(levels), atol=1e-4, rtol=0)
