"""A small extraction of keys and values, and a count of the images it was run over."""

import time
from pathlib import Path

import numpy as np
import torch

from modicum.data.stores.image_store import ImageStore
from modicum.engine.inputs.batches import Stored
from modicum.engine.inputs.extraction import Extraction, extracted
from modicum.engine.recipe.backbones import backbone_digest
from modicum.methods.fpt.stages import KeysValues
from modicum.nn import Backbone
from modicum.nn.feature_codec import FeatureCodec
from modicum.nn.key_value_taps import KeyValueTaps
from modicum.nn.normalisation import Normalisation

SIZE = 64  # 17 tokens of test_vit


class Counted(KeysValues):
    """Keys and values of ``test_vit``; counts images, and takes a while for each batch if asked to."""

    def __init__(
        self, *, layers=(2, 4, 5), rho=0.5, score="global", keep=True, seed=0, dtype="float16", mean=0.5,
        views=("identity",), size=SIZE, seconds=0.0,
    ) -> None:  # fmt: skip
        torch.manual_seed(seed)
        taps = KeyValueTaps(Backbone("test_vit", (size, size)), layers, rho, score, keep)
        super().__init__(taps, Normalisation([mean], [0.25]), FeatureCodec(dtype, taps.tokens, 32), views)
        self.images = 0
        self._seconds = seconds

    def forward(self, batch):
        self.images += len(batch["image"])
        time.sleep(self._seconds)
        return super().forward(batch)


def extraction(
    stage: Counted,
    images: ImageStore,
    positions: np.ndarray,
    folder: Path,
    rank: int = 0,
    world: int = 1,
) -> Extraction:
    """The stage over some images, with its store below ``folder``, four images at a time."""
    backbone = {"name": "test_vit", "sha256": backbone_digest(stage.taps.module.backbone)}
    return Extraction(stage, images, positions, folder, backbone, 4, "32", torch.device("cpu"), rank, world)


def stored_records(
    stage: Counted, images: tuple[ImageStore, np.ndarray], folder: Path, **ranks: int
) -> tuple[np.ndarray, int]:
    """Records of all images in all views, and how many images the stage was run over for them."""
    store, positions = images
    before = stage.images
    made = extracted(extraction(stage, store, positions, folder, **ranks), mode="store")
    assert isinstance(made, Stored)
    return np.stack([made.read(view) for view in made.positions]), stage.images - before
