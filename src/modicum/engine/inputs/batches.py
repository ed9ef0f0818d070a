"""Assembles batches from stores and targets."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from modicum.batch import (
    FELLOW,
    PARTNER,
    Batch,
    Kind,
    Kinds,
    for_each_relative,
    names_of,
    prefix_of,
    without_prefix,
)
from modicum.data.sampling import epoch_order
from modicum.engine.inputs.prefetching import Prefetched
from modicum.engine.randomness import derive_seed
from modicum.transforms import apply_views_to_batch

# Batches of at least this many bytes are read in a separate thread.
_LARGE = 1 << 20


def _as_it_is(batch: Batch) -> Batch:
    return batch


@dataclass(frozen=True)
class Stored:
    """One input of a batch that is read from a store.

    Attributes:
        read: maps positions in the store to an array, first axis the batch.
        positions: position of each row of the manifest in the store, for each view ``[views, rows]``.
    """

    read: Callable[[np.ndarray], np.ndarray]
    positions: Int[np.ndarray, "views rows"]

    def of(self, rows: np.ndarray, views: np.ndarray | None) -> np.ndarray:
        """Records of rows of the manifest, each in its view; the first view if there is only one."""
        several = views is not None and len(self.positions) > 1
        return self.read(self.positions[views[rows] if several and views is not None else 0, rows])


@dataclass(frozen=True)
class BatchPlan:
    """The rows of the manifest in each batch of an epoch.

    Attributes:
        rows: rows of each batch.
        other_rows: by prefix of further inputs (``fellow_``, ``partner_``), the rows they are taken from, as ``rows``.
        views: number of the view of each row of the manifest; None where there is one only.
        pairs: by input without pairs, the row that each row of the manifest takes it from.
    """

    rows: Sequence[np.ndarray]
    other_rows: Mapping[str, Sequence[np.ndarray]] = field(default_factory=dict)
    views: np.ndarray | None = None
    pairs: Mapping[str, np.ndarray] = field(default_factory=dict)

    def after(self, batches: int) -> "BatchPlan":
        """The plan without the first batches."""
        others = {prefix: rows[batches:] for prefix, rows in self.other_rows.items()}
        return replace(self, rows=self.rows[batches:], other_rows=others)


class StoredBatches(Dataset[Batch]):
    """Whole batches by number: inputs from stores, with targets and rows.

    Args:
        stored: inputs by the name they have in a batch.
        targets: arrays over all rows of the manifest.
        plan: rows of each batch.
    """

    def __init__(
        self, stored: Mapping[str, Stored], targets: Mapping[str, np.ndarray], plan: BatchPlan
    ) -> None:
        self._stored = stored
        self._targets = targets
        self._plan = plan

    def __len__(self) -> int:
        return len(self._plan.rows)

    def __getitem__(self, number: int) -> Batch:
        plan = self._plan
        batch = self._of(plan.rows[number], "")
        for prefix, rows in plan.other_rows.items():
            batch |= self._of(rows[number], prefix)
        if FELLOW in plan.other_rows:
            same = plan.other_rows[FELLOW][number] == plan.rows[number]
            batch["fellow_missing"] = torch.from_numpy(same)
        return batch

    def _of(self, rows: np.ndarray, prefix: str) -> Batch:
        batch = {
            f"{prefix}{name}": torch.from_numpy(np.ascontiguousarray(values[rows]))
            for name, values in self._targets.items()
        }
        batch[f"{prefix}row"] = torch.from_numpy(np.asarray(rows, dtype=np.int64))
        if self._plan.views is not None:
            batch[f"{prefix}view"] = torch.from_numpy(self._plan.views[rows])
        pairs = self._plan.pairs if not prefix else {}
        for name, stored in self._stored.items():
            if prefix_of(name) == prefix:
                taken = pairs[name][rows] if name in pairs else rows
                batch[name] = torch.from_numpy(stored.of(taken, self._plan.views))
        return batch


@dataclass(frozen=True)
class StageData:
    """The training and validation data of a stage.

    Attributes:
        stored: inputs of a batch that are read from stores, by name.
        targets: arrays over all rows of the manifest.
        train_rows: rows to learn from.
        val_rows: rows to validate on.
        sampling_labels: class of each training row, for balanced sampling.
        live: inputs that are computed from the image ``source`` of a batch, on its device, by name.
        views: names of the views an image can be shown in.
        aligned: whether ``image``, with all that lies on it, is shown in the view of the features.
        assemble: makes targets of auxiliary images, see :meth:`~modicum.tasks.base.Task.assemble`.
        shuffled: inputs that each training row takes from another one, anew in every epoch (data without pairs).
        fellows: of each row of the manifest, the row of the patient's other eye, or the row itself; None where no
            input is a fellow's.
        partner_sampling: how partners of training rows are drawn; None where no input is a partner's.
        kinds: of inputs whose names have none by convention (:data:`~modicum.batch.KINDS`).
    """

    stored: Mapping[str, Stored]
    targets: Mapping[str, np.ndarray]
    train_rows: np.ndarray
    val_rows: np.ndarray
    sampling_labels: np.ndarray
    live: Mapping[str, Callable[[Batch], Tensor]] = field(default_factory=dict)
    views: tuple[str, ...] = ("identity",)
    aligned: bool = False
    assemble: Callable[[Batch], Batch] = _as_it_is
    shuffled: tuple[str, ...] = ()
    fellows: np.ndarray | None = None
    partner_sampling: str | None = None
    kinds: Kinds = None

    @property
    def shows_images(self) -> bool:
        """Whether batches have an ``image`` to augment."""
        return "image" in self.stored or "image" in self.live

    def batches(self, plan: BatchPlan) -> StoredBatches:
        """Batches of a plan."""
        return StoredBatches(self.stored, self.targets, plan)

    def in_order(self, rows: np.ndarray, batch_size: int) -> StoredBatches:
        """Batches of rows in their order, every row in its first view, with its fellow and always the same partner."""
        parts = in_batches(rows, batch_size)
        others = self._fellows_of(parts)
        if self.partner_sampling is not None:
            partners = self._fixed_partners(self.partner_sampling)
            others[PARTNER] = [partners[part] for part in parts]
        return self.batches(BatchPlan(parts, others))

    def _fixed_partners(self, sampling: str) -> np.ndarray:
        """The partner of each row of the manifest, a training row; the same in every process and epoch."""
        order = epoch_order(self.sampling_labels, sampling, seed=derive_seed("partners in order"))
        return self.train_rows[np.resize(order, self._manifest_rows)]

    @property
    def _manifest_rows(self) -> int:
        return max(len(stored.positions[0]) for stored in self.stored.values())

    def training_plan(
        self, batches: Sequence[np.ndarray], partners: Sequence[np.ndarray], *seed_key: int | str
    ) -> BatchPlan:
        """The plan of one training epoch.

        Args:
            batches: rows of each batch.
            partners: rows of each batch's partners; not used where no input is a partner's.
            seed_key: of the epoch: the run's seed, the stage's name, the epoch.
        """
        others = self._fellows_of(batches)
        if self.partner_sampling is not None:
            others[PARTNER] = partners
        return BatchPlan(batches, others, self.drawn_views(*seed_key), self.drawn_pairs(*seed_key))

    def _fellows_of(self, batches: Sequence[np.ndarray]) -> dict[str, Sequence[np.ndarray]]:
        fellows = self.fellows
        return {} if fellows is None else {FELLOW: [fellows[rows] for rows in batches]}

    def drawn_pairs(self, *seed_key: int | str) -> dict[str, np.ndarray]:
        """For unpaired inputs, the training row that each row takes them from."""
        drawn = {}
        for name in self.shuffled:
            generator = np.random.default_rng(derive_seed("partners", name, *seed_key))
            rows = np.arange(len(self.stored[name].positions[0]))
            rows[self.train_rows] = generator.permutation(self.train_rows)
            drawn[name] = rows
        return drawn

    def drawn_views(self, *seed_key: int | str) -> np.ndarray | None:
        """The view of each row; None if there is only one."""
        if len(self.views) == 1:
            return None
        generator = np.random.default_rng(derive_seed("views", *seed_key))
        return generator.integers(len(self.views), size=self._manifest_rows)

    def on_device(self, batch: Batch) -> Batch:
        """A loaded batch as the network gets it: images in ``[0, 1]``, live inputs computed, views aligned."""
        batch = as_network_input(batch, self.kinds)
        if self.live:
            batch = as_network_input(self._with_live(batch), self.kinds)
        if self.aligned:
            batch = apply_views_to_batch(batch, self.views, self.kinds)
        return for_each_relative(batch, lambda part, kinds: self.assemble(part), self.kinds)

    def _with_live(self, batch: Batch) -> Batch:
        made: Batch = {}
        for name, compute in self.live.items():
            prefix = prefix_of(name)
            images = without_prefix(batch, prefix) if prefix else batch
            made[name] = compute({**images, "image": images["source"]})
        kept = {
            name: tensor for name, tensor in batch.items() if name.removeprefix(prefix_of(name)) != "source"
        }
        return {**kept, **made}


def loader(batches: StoredBatches, workers: int, pin: bool) -> Iterable[Batch]:
    """Whole batches in order; large ones are read ahead by a thread if there are no worker processes."""
    made: DataLoader[Batch] = DataLoader(
        batches,
        batch_size=None,
        shuffle=False,
        num_workers=workers,
        pin_memory=pin,
        multiprocessing_context="spawn" if workers else None,
        persistent_workers=False,
    )
    return made if workers else Prefetched(made, lambda batch: batch_bytes(batch) >= _LARGE)


def batch_bytes(batch: Mapping[str, Any]) -> int:
    """Bytes of the tensors of a batch."""
    return sum(tensor.nbytes for tensor in batch.values() if isinstance(tensor, Tensor))


def in_batches(rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Rows in their order, cut into batches; the last may be smaller."""
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


def as_network_input(batch: Batch, kinds: Kinds = None) -> Batch:
    """Converts stored images and saliency ``[b, h, w, c]`` to ``[b, c, h, w]`` float32 in ``[0, 1]``; other inputs stay.

    Args:
        batch: as it was loaded; images of whole numbers (uint8 or uint16) are stored ones.
        kinds: of names that have none by convention.
    """
    stored = {
        name: to_unit_range(batch[name])
        for name in names_of(batch, Kind.IMAGE, Kind.SALIENCY, kinds=kinds)
        if batch[name].dtype in (torch.uint8, torch.uint16)
    }
    return {**batch, **stored}


def to_unit_range(images: Tensor) -> Tensor:
    """Converts uint8 or uint16 ``[b, h, w, c]`` to float32 ``[b, c, h, w]`` in ``[0, 1]``, on the images' device."""
    highest = 255 if images.dtype == torch.uint8 else 65535
    if images.dtype == torch.uint8:
        images = images.permute(0, 3, 1, 2).contiguous().float()
    else:  # few operations support uint16
        images = images.float().permute(0, 3, 1, 2).contiguous()
    return images.div_(highest)


def in_channels_last(batch: Batch, kinds: Kinds = None) -> Batch:
    """Images in the memory layout that is fastest for convolutions on a GPU (channels last)."""
    images = {
        name: batch[name].contiguous(memory_format=torch.channels_last)
        for name in names_of(batch, Kind.IMAGE, kinds=kinds)
    }
    return {**batch, **images}
