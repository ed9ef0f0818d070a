"""Feature stores: made once for one backbone and one way of preparing images, and made anew for others."""

import numpy as np
import pytest
import torch
from torch import nn

from modicum.data.phantoms import write_fundus_dataset
from modicum.engine.inputs.extraction import Extraction, extracted
from modicum.engine.inputs.preparation import store_settings, stored
from modicum.engine.recipe.backbones import backbone_digest
from modicum.engine.recipe.settings import ImageSettings
from modicum.methods.linear import PooledFeatures
from modicum.nn import Backbone, Frozen


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    import modicum

    folder = tmp_path_factory.mktemp("extraction")
    manifest = modicum.load(write_fundus_dataset(folder, 5, 40, seed=3, masks=False))
    _, store, positions = stored(
        manifest, store_settings(ImageSettings(size=(32, 32))), folder / "stores", 0, False, None
    )
    assert store.settings == store_settings(ImageSettings(size=(32, 32)))
    return store, positions


class Counted(PooledFeatures):
    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        super().__init__(Frozen(Backbone("test_resnet", (32, 32))))
        self.images = 0

    def forward(self, batch):
        self.images += len(batch["image"])
        return super().forward(batch)


def run(stage, images, folder, positions=None, precision="32"):
    store, all_positions = images
    backbone = {"name": "test_resnet", "sha256": backbone_digest(stage.backbone.module)}
    asked = all_positions if positions is None else positions
    before = stage.images
    made = extracted(
        Extraction(stage, store, asked, folder, backbone, 4, precision, torch.device("cpu")), mode="store"
    )
    return made.of(np.arange(len(asked)), None), stage.images - before


def test_records_are_the_backbones_outputs_in_the_order_asked(images, tmp_path):
    stage = Counted()
    store, positions = images
    shuffled = positions[::-1].copy()
    records, _ = run(stage, images, tmp_path, shuffled)
    pixels = torch.from_numpy(store.get(shuffled)).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        expected = stage.backbone.module.eval()(pixels)
    np.testing.assert_allclose(records, expected.numpy(), atol=1e-5)


def test_nothing_is_computed_twice_and_new_images_are_added(images, tmp_path):
    stage, (_, positions) = Counted(), images
    some, first = run(stage, images, tmp_path, positions[:6])
    assert first <= 6 + 1
    every, second = run(stage, images, tmp_path)
    assert second <= len(positions) - 6 + 1
    again, third = run(stage, images, tmp_path)
    assert third <= 1
    assert np.array_equal(again, every)
    assert np.array_equal(some, every[:6])


def test_other_weights_or_another_precision_have_a_store_of_their_own(images, tmp_path):
    first, _ = run(Counted(), images, tmp_path)
    other, computed = run(Counted(seed=1), images, tmp_path)
    assert computed >= len(images[1])
    assert not np.allclose(first, other)
    _, computed = run(Counted(), images, tmp_path, precision="bf16")
    assert computed >= len(images[1])


def test_a_kill_in_the_middle_loses_only_the_batch_at_hand(images, tmp_path):
    class Killed(Counted):
        def forward(self, batch):
            if self.images >= 5:  # one for the shape, one batch of four
                raise KeyboardInterrupt
            return super().forward(batch)

    with pytest.raises(KeyboardInterrupt):
        run(Killed(), images, tmp_path)
    whole, _ = run(Counted(), images, tmp_path / "other")
    records, computed = run(Counted(), images, tmp_path)
    assert computed <= len(images[1]) - 4 + 1
    np.testing.assert_array_equal(records, whole)


def test_a_frozen_network_is_in_evaluation_mode_even_in_a_training_parent():
    parent = nn.Sequential(Frozen(nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5))))
    parent.train()
    images = torch.rand(4, 3, 8, 8)
    assert torch.equal(parent(images), parent(images))
    assert parent[0].module[0].num_batches_tracked == 0
