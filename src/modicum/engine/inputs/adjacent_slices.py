"""Adjacent slices of stored images as additional channels (2.5-D)."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped

from modicum.data.adjacent_slices import AdjacentSlices, require_adjacent_slices
from modicum.data.stores.image_store import ImageStore
from modicum.engine.inputs.preparation import PreparedData, raise_or_note_broken, store_settings
from modicum.engine.recipe.settings import Recipe
from modicum.tasks import Task


@dataclass(frozen=True)
class SliceReader:
    """Reads grey slices with their adjacent slices, by the row of the manifest.

    Attributes:
        store: store of the slices.
        positions: of each row's slices in the store, in their order.
    """

    store: ImageStore
    positions: Int[np.ndarray, "rows slices"]

    def __call__(self, rows: Int[np.ndarray, "batch"]) -> Shaped[np.ndarray, "batch height width slices"]:
        """Copies of the records, with one channel per slice."""
        wanted = self.positions[rows]
        records = self.store.get(wanted.ravel())[..., 0]
        return np.moveaxis(records.reshape(*wanted.shape, *records.shape[1:]), 1, -1)


def with_adjacent_slices(
    prepared: PreparedData, task: Task, recipe: Recipe, stores: Path, workers: int, broken_csv: Path | None
) -> PreparedData:
    """Adds to prepared grey images the slices that a network sees with them, whether or not the manifest has them.

    Raises:
        InputError: there are none, one is a target, or one cannot be read (where broken images are set aside, the
            slice itself stands in for it).
    """
    refs = prepared.manifest.refs()
    find = AdjacentSlices()
    around = [find.around(ref, task.adjacent_slices) for ref in refs]
    named = [column for column in prepared.auxiliary_images if column in prepared.manifest.table]
    beside = {
        ref
        for column in named
        for ref in prepared.manifest.subset(prepared.manifest.table[column].notna().to_numpy(bool)).refs(
            column
        )
    }
    require_adjacent_slices(around, beside)
    slices = list(dict.fromkeys(ref for some in around for ref in some))
    settings = replace(store_settings(recipe.image, recipe.task, recipe.options), channels=3)
    store = ImageStore.build_or_open(
        slices, stores, settings, workers=workers, on_broken="collect", check_content=prepared.check_content
    )
    if store.broken:
        raise_or_note_broken(
            prepared.manifest, store.broken, recipe.data.skip_broken, broken_csv, "neighbouring slices"
        )
    store = store.with_channels(1)
    positions = np.stack([store.indices_of(some) for some in around])
    centre = positions[:, [task.adjacent_slices]]
    positions = np.where(store.readable[positions], positions, centre)
    return replace(prepared, adjacent_slices=(SliceReader(store, positions), np.arange(len(refs))))
