"""From stores and targets to batches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from modicum.tasks.base import Batch


class StoredBatches(Dataset[Batch]):
    """Whole batches by number: uint8 images or stored features, with targets and the rows they belong to.

    Args:
        name: ``image`` or ``features``: what the batch's input is called.
        read: from positions in the store to an array, first axis the batch.
        targets: arrays over all rows of the manifest.
        batches: rows of the manifest of each batch.
        store_positions: where each row of the manifest stands in the store.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[np.ndarray], np.ndarray],
        targets: Mapping[str, np.ndarray],
        batches: Sequence[np.ndarray],
        store_positions: np.ndarray,
    ) -> None:
        self._name = name
        self._read = read
        self._targets = targets
        self._batches = batches
        self._store_positions = store_positions

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> Batch:
        rows = self._batches[number]
        batch = {
            name: torch.from_numpy(np.ascontiguousarray(values[rows]))
            for name, values in self._targets.items()
        }
        batch["position"] = torch.from_numpy(np.asarray(rows, dtype=np.int64))
        batch[self._name] = torch.from_numpy(self._read(self._store_positions[rows]))
        return batch


@dataclass(frozen=True)
class StageData:
    """What a stage learns from.

    Attributes:
        name: ``image`` or ``features``: the batch's input.
        read: from positions in the store to an array.
        targets: arrays over all rows of the manifest.
        store_positions: where each row stands in the store.
        train_rows: rows to learn from.
        val_rows: rows to validate on.
        sampling_labels: class of each training row, for balanced sampling.
    """

    name: str
    read: Callable[[np.ndarray], np.ndarray]
    targets: Mapping[str, np.ndarray]
    store_positions: np.ndarray
    train_rows: np.ndarray
    val_rows: np.ndarray
    sampling_labels: np.ndarray

    def batches(self, rows: list[np.ndarray]) -> StoredBatches:
        """Batches of rows of the manifest."""
        return StoredBatches(self.name, self.read, self.targets, rows, self.store_positions)


def loader(batches: StoredBatches, workers: int, pin: bool) -> DataLoader[Batch]:
    """A loader of whole batches in their order."""
    return DataLoader(
        batches,
        batch_size=None,
        shuffle=False,
        num_workers=workers,
        pin_memory=pin,
        multiprocessing_context="spawn" if workers else None,
        persistent_workers=False,
    )


def in_batches(rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Rows in their order, cut into batches; the last may be smaller."""
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


def as_network_input(batch: Batch) -> Batch:
    """Stored images ``[b, h, w, c]`` uint8 to ``[b, c, h, w]`` float32 in ``[0, 1]``; all else as it is."""
    image = batch.get("image")
    if image is None or image.dtype != torch.uint8:
        return batch
    return {**batch, "image": to_unit_range(image)}


def to_unit_range(images: Tensor) -> Tensor:
    """uint8 ``[b, h, w, c]`` to float32 ``[b, c, h, w]`` in ``[0, 1]``, on the device where the images are."""
    return images.permute(0, 3, 1, 2).contiguous().float().div_(255)
