"""Runs a stage without gradients over all images once, and keeps its records in a feature store.

What the disk cannot hold is computed for every batch instead, behind the same names.
"""

import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from modicum.data.stores.image_store import ImageStore
from modicum.data.stores.shard_format import RecordSpec, StoreManifest, plain, store_folder
from modicum.data.stores.shard_journal import journalled_keys
from modicum.data.stores.shard_writer import SPARE_BYTES, ShardWriter, size_text
from modicum.data.stores.shards import ShardStore
from modicum.engine.devices import autocast, uses_bf16
from modicum.engine.inputs.batches import Stored, in_batches, to_unit_range
from modicum.engine.inputs.prefetching import Prefetched
from modicum.errors import ModicumError, ResourceError
from modicum.methods.base import ExtractStage, RecordPart
from modicum.progress import bar, say
from modicum.tasks.base import Batch
from modicum.transforms import apply_view, apply_views

# Records of megabytes start at whole pages of the disk and of memory.
_PAGE = 4096
# Of records of megabytes: a store of 100,000 images has some hundred files.
_SHARD = 1 << 30

# Seconds between two looks at what other processes have done, and after which silence means that they are gone.
_POLL = 0.2
_PATIENCE = 1800.0


@dataclass(frozen=True)
class Extraction:
    """Inputs and settings of an extraction.

    Attributes:
        stage: makes the records; its network must hold its final weights.
        images: decoded images.
        positions: index in ``images`` of each row of the manifest.
        folder: folder of the stores.
        backbone: name and digest of the frozen network.
        batch_size: images in one forward pass.
        precision: the run's precision setting.
        device: where to compute.
        rank: rank of this process among those that extract together.
        world: number of these processes.
    """

    stage: ExtractStage
    images: ImageStore
    positions: np.ndarray
    folder: Path
    backbone: Mapping[str, str]
    batch_size: int
    precision: str
    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def settings(self) -> dict[str, Any]:
        """All that determines the content of the store."""
        timm = ".".join(version("timm").split(".")[:2])  # a block may change behind a network's name
        frozen = {
            "timm": timm,
            "backbone": dict(self.backbone),
            "precision": "bf16" if uses_bf16(self.precision, self.device) else "32",
        }
        return plain(
            {
                "stage": self.stage.name,
                "records": self.stage.settings(),
                "images": self.images.settings.as_dict(),
                "device": self.device.type,  # the last bits differ between devices
                **(frozen if self.stage.uses_backbone else {}),
            }
        )

    def key(self, content: str, view: str) -> str:
        """The key of the record of one view of an image."""
        return content if view == "identity" else f"{content}@{view}"

    def record_keys(self) -> list[str]:
        """Keys of all records, view by view, each in the order of ``positions``; equal images share theirs."""
        contents = self.images.keys_of(self.positions)
        return [self.key(content, view) for view in self.stage.views for content in contents]

    def is_own(self, content: str) -> bool:
        """Whether the image of this content is in this process's share."""
        # Slices of a volume begin with the same digest: what follows it counts, too.
        return zlib.crc32(content.encode()) % self.world == self.rank

    def records(self, positions: np.ndarray, view: str) -> Tensor:
        """Records of one view of some images, on the device."""
        images = to_unit_range(torch.from_numpy(self.images.get(positions)).to(self.device))
        with torch.no_grad(), autocast(self.precision, self.device):
            return self.stage({"image": apply_view(images, view)})

    def place(self) -> Path:
        """The folder of the store."""
        return store_folder(self.folder, "features", self.settings)


Mode = Literal["auto", "store", "live"]


def extracted(
    extraction: Extraction, mode: Mode = "auto", disk_bytes: float | None = None
) -> "Stored | LiveStage":
    """The records of a stage: from a store that is filled (or found), or computed batch by batch.

    Args:
        extraction: what to run over what.
        mode: ``store``, ``live``, or ``auto`` for a store where the disk has room for it.
        disk_bytes: the largest store to make under ``auto``; None for what is free, less a tenth.

    Raises:
        ResourceError: ``store`` was asked for and the disk is too small, or it filled up on the way.
    """
    extraction.stage.to(extraction.device).eval()
    if mode == "live":
        say(f"{extraction.stage.name}: computed for every batch, as asked")
        return LiveStage(extraction)
    if (records := own_records(extraction) or larger_records(extraction)) is not None:
        return records
    spec = record_spec(extraction)
    if mode == "auto" and (reason := _too_large(extraction, spec, disk_bytes)):
        say(f"{extraction.stage.name}: computed for every batch ({reason})")
        return LiveStage(extraction)
    store = fill(extraction, spec)
    return _as_stored(extraction, store, ())


class LiveStage:
    """Computes the records of a batch from its images, in the place of a store."""

    def __init__(self, extraction: Extraction) -> None:
        self._stage = extraction.stage.to(extraction.device).eval()
        self._context = partial(autocast, extraction.precision, extraction.device)

    def __call__(self, batch: Batch) -> Tensor:
        """Records of ``batch["image"]``, each in the view that ``batch["view"]`` names."""
        images, views = batch["image"], self._stage.views
        if "view" in batch and len(views) > 1:
            images = apply_views(images, views, batch["view"])
        with torch.no_grad(), self._context():
            return self._stage({"image": images})


def record_spec(extraction: Extraction) -> RecordSpec:
    """Shape and type of a record, from computing the first."""
    first = extraction.records(extraction.positions[:1], "identity")
    spec = RecordSpec(str(first.dtype).removeprefix("torch."), tuple(first.shape[1:]))
    return RecordSpec(spec.dtype, spec.shape, _PAGE) if spec.nbytes > 16 * _PAGE else spec


def fill(extraction: Extraction, spec: RecordSpec) -> ShardStore:
    """Computes the records that the store does not have, in shares where several processes extract together.

    Each process writes shards of its own; the first waits for the others and makes all of them part of the store.
    """
    place, keys = extraction.place(), extraction.record_keys()
    if extraction.rank:
        _add_share(extraction, spec, place)
        return _when_complete(place, extraction.settings, keys)
    with ShardWriter(place, extraction.settings, spec, shard_bytes=_SHARD) as writer:
        missing = {key for key in keys if key not in writer}
        if missing:
            writer.check_space(len(missing))
            say(
                f"{extraction.stage.name}: {len(missing)} records of {size_text(spec.nbytes)}, "
                f"{size_text(len(missing) * spec.stride)} in '{place}'"
            )
        _add_missing(extraction, writer)
        if extraction.world > 1:
            _wait_until(lambda: all(k in writer for k in missing - journalled_keys(place)), place)
        return writer.finalise(wait=None)


def _add_share(extraction: Extraction, spec: RecordSpec, place: Path) -> None:
    with ShardWriter(place, extraction.settings, spec, rank=extraction.rank, shard_bytes=_SHARD) as writer:
        _add_missing(extraction, writer)


def _add_missing(extraction: Extraction, writer: ShardWriter) -> None:
    contents = extraction.images.keys_of(extraction.positions)
    todo: dict[str, list[int]] = {view: [] for view in extraction.stage.views}
    seen: set[str] = set()
    for view in extraction.stage.views:
        for position, content in zip(extraction.positions, contents, strict=True):
            key = extraction.key(content, view)
            if extraction.is_own(content) and key not in writer and key not in seen:
                seen.add(key)
                todo[view].append(int(position))
    # Hashing and writing take as long as a GPU's forward pass, so they run in parallel. On a CPU both would
    # need the same cores.
    ahead = Prefetched(_made(extraction, todo), lambda _: extraction.device.type != "cpu")
    with bar(extraction.stage.name, len(seen)) as progress:
        for keys, records in ahead:
            for key, record in zip(keys, records, strict=True):
                writer.add(key, record)
            progress.advance(len(keys))


def _made(
    extraction: Extraction, todo: Mapping[str, list[int]]
) -> Iterator[tuple[list[str], Shaped[np.ndarray, "batch ..."]]]:
    """Keys and records, batch by batch, of the images to be seen in each view."""
    for view, positions in todo.items():
        for part in in_batches(np.array(positions, dtype=np.int64), extraction.batch_size):
            keys = [extraction.key(content, view) for content in extraction.images.keys_of(part)]
            yield keys, extraction.records(part, view).cpu().numpy()


def _when_complete(place: Path, settings: Mapping[str, Any], keys: list[str]) -> ShardStore:
    """The store, when the first process has made everything part of it."""
    stores: list[ShardStore] = []

    def complete() -> bool:
        with suppress(ModicumError):  # not finalised yet
            store = ShardStore.open(place, settings)
            stores[:] = [store] if all(key in store for key in keys) else []
        return bool(stores)

    _wait_until(complete, place)
    return stores[0]


def _wait_until(done: Callable[[], bool], place: Path) -> None:
    """Waits for the processes that extract together, as long as one of them writes to the store.

    Raises:
        ResourceError: none has for :data:`_PATIENCE` seconds: they have ended, or write elsewhere.
    """
    before, since = _sizes(place), time.monotonic()
    while not done():
        time.sleep(_POLL)
        if (now := _sizes(place)) != before:
            before, since = now, time.monotonic()
        elif time.monotonic() - since > _PATIENCE:
            raise ResourceError(
                f"store {place.name}: waited {_PATIENCE:g} s for the other processes, and none has written to it",
                f"start again, with '{place.parent}' on a disk that all of them see, or with features.mode=live",
            )


def _sizes(place: Path) -> dict[str, int]:
    sizes: dict[str, int] = {}
    with suppress(FileNotFoundError):  # not made yet, or renamed meanwhile
        for entry in os.scandir(place):
            sizes[entry.name] = entry.stat().st_size
    return sizes


def _too_large(extraction: Extraction, spec: RecordSpec, disk_bytes: float | None) -> str | None:
    """Why a store of these records must not be created; None if it may."""
    needed = len(set(extraction.record_keys())) * spec.stride
    if disk_bytes is not None and needed > disk_bytes:
        return f"a store needs {size_text(needed)}, {size_text(int(disk_bytes))} are allowed"
    place = extraction.place()
    there = sum(path.stat().st_size for path in place.glob("shard-*")) if place.is_dir() else 0
    free = shutil.disk_usage(_existing(extraction.folder)).free
    if needed - there > 0.9 * free - SPARE_BYTES:
        return f"a store needs {size_text(needed - there)}, {size_text(free)} of disk are free"
    return None


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def own_records(extraction: Extraction, *, skip_damaged: bool = True) -> Stored | None:
    """The records in the stage's own store, if it has all of them.

    Args:
        extraction: the stage and its images.
        skip_damaged: whether a record that is known to be damaged counts as missing.
    """
    try:
        store = ShardStore.open(extraction.place(), extraction.settings, skip_damaged=skip_damaged)
    except ModicumError:
        return None
    return _as_stored(extraction, store, ()) if set(extraction.record_keys()) <= set(store.keys) else None


def larger_records(extraction: Extraction, *, skip_damaged: bool = True) -> Stored | None:
    """The records as a part of those of another store (more layers, more tokens), where there is one.

    Args:
        extraction: the stage and its images.
        skip_damaged: whether a store with a record that is known to be damaged is passed over.
    """
    asked, keys = extraction.settings, set(extraction.record_keys())
    for path in sorted(extraction.folder.glob("features-*/store.json")):
        if path.parent == extraction.place():
            continue
        try:
            settings = StoreManifest.read(path.parent).settings
            same = {**settings, "records": None} == {**asked, "records": None}
            part = extraction.stage.part_of(settings["records"]) if same else None
            if part is None:
                continue
            store = ShardStore.open(path.parent, skip_damaged=skip_damaged)
        except (ModicumError, KeyError):
            continue
        if keys <= set(store.keys):
            say(f"{extraction.stage.name}: read from the larger records of '{path.parent}'")
            return _as_stored(extraction, store, part)
    return None


def _as_stored(extraction: Extraction, store: ShardStore, part: RecordPart) -> Stored:
    places = np.array([store.index_of(key) for key in extraction.record_keys()], dtype=np.int64)
    return Stored(RecordReader(store, part), places.reshape(len(extraction.stage.views), -1))


@dataclass(frozen=True)
class RecordReader:
    """Reads records, or the same part of each, from a store."""

    store: ShardStore
    part: RecordPart

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Records by position, as one array."""
        return self.store.read(positions, part=self.part)
