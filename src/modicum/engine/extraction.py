"""Runs a stage without gradients over all images once, and keeps its records in a feature store."""

from pathlib import Path

import numpy as np
import torch

from modicum.data.stores.image_store import ImageStore
from modicum.data.stores.shard_format import RecordSpec, store_folder
from modicum.data.stores.shard_writer import ShardWriter
from modicum.data.stores.shards import ShardStore
from modicum.engine.batches import in_batches, to_unit_range
from modicum.engine.devices import autocast
from modicum.methods.base import ExtractStage
from modicum.progress import bar


@torch.no_grad()
def extract(
    stage: ExtractStage,
    store: ImageStore,
    positions: np.ndarray,
    folder: Path,
    *,
    backbone: dict[str, str],
    batch_size: int,
    precision: str,
    device: torch.device,
    dtype: str = "float32",
) -> tuple[ShardStore, np.ndarray]:
    """Fills (or finds) the feature store of a stage for images of an image store.

    Args:
        stage: makes the records; its network must hold its final weights.
        store: decoded images.
        positions: which of them, by their place in ``store``.
        folder: where stores are kept.
        backbone: name and digest of the frozen network, part of what the store is keyed by.
        batch_size: images in one forward pass.
        precision: the run's precision setting.
        device: where to compute.
        dtype: of the stored records.

    Returns:
        The feature store, and where the record of each of ``positions`` stands in it.
    """
    stage.to(device).eval()
    keys = store.keys_of(positions)
    shape = tuple(_run(stage, store, positions[:1], device, precision).shape[1:])
    settings = {
        "stage": stage.name,
        **stage.settings(),
        "backbone": backbone,
        "images": store.settings.as_dict(),
        "precision": precision,
        "device": device.type,  # the last bits differ between devices
    }
    place = store_folder(folder, "features", settings)
    with ShardWriter(place, settings, RecordSpec(dtype, shape)) as writer:
        todo = np.array(
            [p for p, key in zip(positions, keys, strict=True) if key not in writer], dtype=np.int64
        )
        if len(todo):
            writer.check_space(len(todo))
            with bar(stage.name, len(todo)) as shown:
                for part in in_batches(todo, batch_size):
                    records = _run(stage, store, part, device, precision).float().cpu().numpy().astype(dtype)
                    for key, record in zip(store.keys_of(part), records, strict=True):
                        writer.add(key, record)
                    shown.advance(len(part))
        features = writer.finalise()
    return features, np.array([features.position_of(key) for key in keys], dtype=np.int64)


def _run(
    stage: ExtractStage, store: ImageStore, positions: np.ndarray, device: torch.device, precision: str
) -> torch.Tensor:
    images = to_unit_range(torch.from_numpy(store.get(positions)).to(device))
    with autocast(precision, device):
        return stage({"image": images})
