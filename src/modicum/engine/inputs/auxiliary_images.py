"""Auxiliary images: masks, fields of view, saliency maps and target images, decoded into separate stores."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Shaped

from modicum.batch import Kind
from modicum.data.manifest import Manifest
from modicum.data.same_place import PlacedImage, check_same_place
from modicum.data.stores.image_store import ImageStore
from modicum.engine.inputs.adjacent_slices import with_adjacent_slices
from modicum.engine.inputs.preparation import (
    AuxiliarySources,
    PreparedData,
    raise_or_note_broken,
    store_settings,
)
from modicum.engine.recipe.settings import Recipe
from modicum.errors import InputError
from modicum.progress import bar
from modicum.tasks import DenseTask, Task
from modicum.tasks.base import AuxiliaryImage
from modicum.wording import count_of


@dataclass(frozen=True)
class AuxiliaryReader:
    """Reads auxiliary images by position in the store; position -1 is a row without one.

    Attributes:
        store: store of the auxiliary images.
        absent: the code (or level) of every pixel of a missing one.
    """

    store: ImageStore
    absent: int

    def __call__(
        self, positions: Int[np.ndarray, "batch"]
    ) -> Shaped[np.ndarray, "batch height width channels"] | Shaped[np.ndarray, "batch 1 height width"]:
        """Copies of the records, in the order asked for; codes, which stay as they are, with their channel in front."""
        records = self._records(positions)
        return np.moveaxis(records, 3, 1) if self.store.settings.kind == "label_map" else records

    def _records(
        self, positions: Int[np.ndarray, "batch"]
    ) -> Shaped[np.ndarray, "batch height width channels"]:
        there = positions >= 0
        if there.all():
            return self.store.get(positions)
        settings = self.store.settings
        shape = (len(positions), settings.height, settings.width, settings.channels)
        batch = np.full(shape, self.absent, dtype=settings.dtype)
        if there.any():
            batch[there] = self.store.get(positions[there])
        return batch


def with_auxiliary_images(
    prepared: PreparedData,
    task: Task,
    recipe: Recipe,
    stores: Path,
    workers: int,
    broken_csv: Path | None,
    further: Sequence[AuxiliaryImage] = (),
) -> PreparedData:
    """Adds the task's auxiliary images to prepared images, and reads the images in the task's channels.

    Raises:
        InputError: an auxiliary image that is needed is not named, cannot be read, has another size than its image,
            lies elsewhere in the patient, or holds values that mean nothing.
    """
    prepared = replace(prepared, store=prepared.store.with_channels(task.channels_alone))
    task_columns = {auxiliary.column for auxiliary in task.auxiliary_images}
    others = (one for pattern in further for one in _matching(pattern, prepared.manifest))
    for auxiliary in (*task.auxiliary_images, *(one for one in others if one.column not in task_columns)):
        if auxiliary.column not in prepared.manifest.table:
            _check_required(prepared.manifest, auxiliary)
            continue
        if recipe.image.crop != "none":  # the crop is found in each image itself
            raise InputError(
                f"crop '{recipe.image.crop}' does not go with column '{auxiliary.column}', which would not follow",
                "leave the crop out, and use resize 'pad' to keep the aspect ratio",
            )
        prepared = _with_auxiliary(prepared, auxiliary, task, recipe, stores, workers, broken_csv)
    return (
        with_adjacent_slices(prepared, task, recipe, stores, workers, broken_csv)
        if task.adjacent_slices
        else prepared
    )


def _matching(pattern: AuxiliaryImage, manifest: Manifest) -> list[AuxiliaryImage]:
    """An auxiliary image for each column that matches a name such as ``masks:*``; the pattern itself if none does."""
    if not pattern.column.endswith("*"):
        return [pattern]
    columns = [str(name) for name in manifest.table if str(name).startswith(pattern.column[:-1])]
    return [replace(pattern, column=column) for column in columns] or [pattern]


def _check_required(manifest: Manifest, auxiliary: AuxiliaryImage) -> None:
    if not auxiliary.required:
        return
    columns = ", ".join(str(name) for name in manifest.table.columns)
    raise InputError(
        f"{manifest.source}: no column '{auxiliary.column}' (columns: {columns})",
        f"name a table's with --{auxiliary.column.partition(':')[0]} COLUMN",
    )


def _with_auxiliary(
    prepared: PreparedData,
    auxiliary: AuxiliaryImage,
    task: Task,
    recipe: Recipe,
    stores: Path,
    workers: int,
    broken_csv: Path | None,
) -> PreparedData:
    manifest, column = prepared.manifest, auxiliary.column
    named = manifest.table[column].notna().to_numpy(dtype=bool)
    if auxiliary.required and not named.all():
        row = int(np.flatnonzero(~named)[0])
        raise InputError(
            f"{manifest.describe_row(row)} names no {column} ({int((~named).sum())} of {len(named)} rows)",
            "fill in the cells or delete the rows",
        )
    refs = manifest.subset(named).refs(column)
    settings = auxiliary.store_settings(store_settings(recipe.image, recipe.task, recipe.options))
    store = ImageStore.build_or_open(
        refs, stores, settings, workers=workers, on_broken="collect", check_content=prepared.check_content
    )
    if store.broken:
        several = f"{column} maps" if auxiliary.kind == "saliency" else f"{column}s"
        raise_or_note_broken(manifest, store.broken, recipe.data.skip_broken, broken_csv, several)
        prepared = _subset(prepared, _readable(named, store))
        return _with_auxiliary(prepared, auxiliary, task, recipe, stores, workers, broken_csv)
    positions = np.full(len(manifest), -1, dtype=np.int64)
    positions[named] = store.indices_of(refs)
    if auxiliary.kind == "image":
        store = store.with_channels(auxiliary.channels)
    notes = [*prepared.notes, *_check_places(prepared, store, positions, column)]
    of_task = auxiliary in task.auxiliary_images
    if auxiliary.kind == "label_map" and of_task and isinstance(task, DenseTask):
        rows = np.flatnonzero(positions >= 0)
        places = [f"{manifest.describe_row(row)}: its {column}" for row in rows.tolist()]
        notes = [
            *notes,
            *task.validate_label_values(column, _codes_held(store, positions[rows], column), places),
        ]
    seen: AuxiliarySources = {
        **prepared.auxiliary_images,
        column: (AuxiliaryReader(store, auxiliary.absent), positions),
    }
    kinds = {**prepared.kinds, column: Kind(auxiliary.kind)}
    content = hashlib.sha256("\n".join(store.keys_of(positions[named])).encode()).hexdigest()
    digests = {**prepared.auxiliary_digests, column: content}
    return replace(prepared, auxiliary_images=seen, kinds=kinds, notes=notes, auxiliary_digests=digests)


def _codes_held(
    store: ImageStore, positions: Int[np.ndarray, "rows"], column: str
) -> Bool[np.ndarray, "rows 256"]:
    """Which codes occur in each stored auxiliary image."""
    held = np.zeros((len(positions), 256), dtype=bool)
    with bar(f"checking {column}", len(positions)) as progress:
        for row in range(len(positions)):
            held[row] = np.bincount(store.get(positions[[row]]).ravel(), minlength=256) > 0
            progress.advance()
    return held


def _readable(named: Bool[np.ndarray, "rows"], store: ImageStore) -> Bool[np.ndarray, "rows"]:
    kept = ~named
    kept[named] = store.readable
    return kept


def _subset(prepared: PreparedData, kept: Bool[np.ndarray, "rows"]) -> PreparedData:
    seen = {
        name: (reader, positions[kept]) for name, (reader, positions) in prepared.auxiliary_images.items()
    }
    return replace(
        prepared,
        manifest=prepared.manifest.subset(kept),
        positions=prepared.positions[kept],
        auxiliary_images=seen,
        boxes=None if prepared.boxes is None else prepared.boxes.subset(kept),
        notes=[*prepared.notes, f"{int((~kept).sum())} images were set aside for what lies beside them."],
    )


def _check_places(
    prepared: PreparedData, store: ImageStore, positions: Int[np.ndarray, "rows"], column: str
) -> list[str]:
    """Checks that all have their images' size and lie where they do; notes what their files leave open."""
    images, others = prepared.store.facts, store.facts
    turned, silent = [], []
    for row, (image_record, other) in enumerate(zip(prepared.positions, positions, strict=True)):
        image, beside = images[image_record], others[other] if other >= 0 else None
        if image is None or beside is None:
            continue
        check_same_place(
            PlacedImage.of_facts(image),
            PlacedImage.of_facts(beside),
            f"{prepared.manifest.describe_row(row)}: its {column}",
        )
        if (image.orientation or 1) != (beside.orientation or 1):
            turned.append(row)
        if beside.plane is None and image.plane is not None and beside.format == "nifti":
            silent.append(row)
    notes = []
    if turned:
        notes.append(
            f"{count_of(len(turned), 'image')} and their {column} are turned differently by EXIF, first "
            f"{prepared.manifest.describe_row(turned[0])}: check that each {column} lies on the upright image."
        )
    if silent:
        notes.append(
            f"{count_of(len(silent), column)} ({prepared.manifest.describe_row(silent[0])} first) have no orientation "
            f"(sform_code and qform_code are 0), their images have: where they lie is not checked."
        )
    return notes
