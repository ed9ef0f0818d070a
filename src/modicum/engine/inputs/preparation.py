"""Prepares the data before the first training step: reads, checks, decodes and splits them."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from modicum.atomic_files import write_text
from modicum.batch import Kind
from modicum.data.boxes import BoxOptions, BoxSource
from modicum.data.checks.copies import (
    NamedPair,
    copies_to_keep_together,
    named_pairs,
    near_hashes,
    rows_of_pairs,
    search_copies,
)
from modicum.data.checks.duplicates import contradiction_notes, resolve_leaks
from modicum.data.checks.fingerprint import fingerprint
from modicum.data.checks.scan import ScanResult
from modicum.data.folds import pooled_for_folds, split_of_fold
from modicum.data.held_out import hold_out
from modicum.data.kept_together import forget_groups, with_copies_together
from modicum.data.label_fraction import keep_label_fraction
from modicum.data.layouts import load_manifest
from modicum.data.manifest import Manifest
from modicum.data.slice_notes import slice_notes
from modicum.data.splits import carve_validation, ensure_splits
from modicum.data.stores.image_store import ImageStore, StoreSettings
from modicum.data.table_cells import as_written, spreadsheet_safe
from modicum.engine.devices import process_rank
from modicum.engine.inputs.boxes import located_boxes
from modicum.engine.recipe.settings import DataSettings, ImageSettings, Recipe
from modicum.engine.run_folder import RunFolder
from modicum.errors import BrokenImageError, InputError
from modicum.methods import method_class, method_entries
from modicum.progress import bar, say
from modicum.tasks import DEFAULT_TASK, ImageLevelTask, Task, task_class, task_of
from modicum.tasks.base import STORES

Source = tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]
AuxiliarySources = Mapping[str, Source]


@dataclass(frozen=True)
class PreparedData:
    """A manifest whose images are in a store.

    Attributes:
        manifest: rows whose images are readable, with a split.
        store: decoded images.
        positions: where each row of the manifest stands in the store.
        notes: what a reader of the report should know (rows dropped, leaks allowed, ...).
        auxiliary_images: auxiliary images, by column: how they are read, and the position of each row's.
        adjacent_slices: where networks see slices together: how they are read, and where each row's stand.
        boxes: of each row, in pixels of the stored images; None where the manifest has none.
        kinds: what each of the auxiliary images is.
        near: near-duplicates, as the search before the split found them.
        auxiliary_digests: SHA-256 of the content of all files of an auxiliary image, by column.
        check_content: whether files that were replaced by others of the same size and time are looked for.
        flow: images ``listed``, and of these set aside as ``broken``, of low ``quality`` and for ``leaks``.
    """

    manifest: Manifest
    store: ImageStore
    positions: np.ndarray
    notes: list[str]
    auxiliary_images: AuxiliarySources = field(default_factory=dict)
    adjacent_slices: Source | None = None
    boxes: BoxSource | None = None
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    near: Sequence[NamedPair] = ()
    auxiliary_digests: Mapping[str, str] = field(default_factory=dict)
    check_content: bool = False
    flow: Mapping[str, int] = field(default_factory=dict)

    @property
    def images(self) -> Source:
        """The input images of networks: how they are read, and the position of each row's."""
        return self.adjacent_slices or (self.store.get, self.positions)

    def rows(self, split: str) -> np.ndarray:
        """Rows of one split."""
        return np.flatnonzero(self.manifest.table["split"].to_numpy() == split)

    def with_digests(self) -> Manifest:
        """The manifest for the run folder: with the SHA-256 of every image and the hash of its appearance, by which it is
        known again in other data.

        Reports stay where they are: their words may be about a person.
        """
        facts = [self.store.facts[position] for position in self.positions]
        kept = self.manifest.without_extras()
        kept = replace(kept, table=kept.table.drop(columns="report", errors="ignore"))
        return kept.with_columns(sha256=[fact.sha256 for fact in facts], near_hash=near_hashes(facts))

    def fingerprint(self) -> dict[str, Any]:
        """Statistics of the data set; see :mod:`modicum.data.checks.fingerprint`."""
        facts = [self.store.facts[position] for position in self.positions]
        scanned = ScanResult(facts, list(self.store.broken))
        described = fingerprint(self.manifest, scanned, near=rows_of_pairs(self.manifest, self.near))
        return {**described, "flow": dict(self.flow)} if self.flow else described


def read_manifest(data: DataSettings, task: str, options: Mapping[str, Any] | None = None) -> Manifest:
    """The manifest of a recipe's data settings, with missing files kept where broken images are set aside.

    Args:
        data: the settings.
        task: name of the task.
        options: of the task; they may say that images and targets are pools.
    """
    of_layout = dict(data.layout_options)
    if options and task_class(task).reads_pools(options):
        of_layout["unpaired"] = True
    return load_manifest(
        data.source,
        columns=data.columns or None,
        pairs=data.pairs,
        layout=data.layout,
        layout_options=of_layout or None,
        images=data.images,
        split_lists=data.split_lists,
        classes=data.classes,
        box_options=data.box_options or None,
        allow_outside=data.allow_outside,
        missing="keep" if data.skip_broken else "error",
        unlabelled="drop" if task_class(task).needs_labels else "keep",
        slices=data.slices,
        align_geometry=data.align_geometry,
    )


def store_settings(
    image: ImageSettings, task: str = DEFAULT_TASK, options: Mapping[str, Any] | None = None
) -> StoreSettings:
    """Settings of the image store. Raises :class:`InputError` for settings that the task does not support."""
    general = StoreSettings(
        *image.size, resize=image.resize, filter=image.filter, crop=image.crop, window=image.window
    )
    return task_class(task).store_settings(general, options or {})


def stored(
    manifest: Manifest,
    settings: StoreSettings,
    stores: Path,
    workers: int,
    skip_broken: bool,
    broken_csv: Path | None,
    check_content: bool = False,
) -> tuple[Manifest, ImageStore, np.ndarray]:
    """Decodes a manifest's images into a store (or finds them there) and sets broken ones aside.

    With ``check_content`` files that were replaced by others of the same size and time are decoded again.

    Raises:
        InputError: broken images, unless they are set aside; every one is named with its reason.
    """
    store = ImageStore.build_or_open(
        manifest.refs(), stores, settings, workers=workers, on_broken="collect", check_content=check_content
    )
    if store.broken:
        manifest = _without_broken(manifest, store.broken, skip_broken, broken_csv)
    return manifest, store, store.indices_of(manifest.refs())


def prepare(
    recipe: Recipe,
    folder: RunFolder,
    stores: Path,
    workers: int,
    check: Callable[[Manifest], object] = lambda manifest: None,
    choose: Callable[[Manifest], Manifest] = lambda manifest: manifest,
) -> PreparedData:
    """Reads the manifest, fills the store, splits by patient and checks for leaks.

    Args:
        recipe: the run's settings.
        folder: of the run.
        stores: where image stores are kept.
        workers: processes that decode images.
        check: is given the manifest before any image is decoded.
        choose: sets rows aside whose images can be read (those of low quality, say).

    Raises:
        InputError: whatever is wrong with the data, before any training.
    """
    manifest = read_manifest(recipe.data, recipe.task, recipe.options)
    if issubclass(task_class(recipe.task), ImageLevelTask):
        task_for(manifest, recipe)  # labels that do not fit the loss are refused before any image is decoded
    check(manifest)
    notes: list[str] = []
    flow = {"listed": len(manifest)}
    manifest, store, positions = stored(
        manifest,
        store_settings(recipe.image, recipe.task, recipe.options),
        stores,
        workers,
        recipe.data.skip_broken,
        folder.broken if process_rank() == 0 else None,
    )
    if store.broken:
        notes.append(f"{len(store.broken)} broken images were set aside (broken.csv).")
    readable = len(manifest)
    manifest = choose(manifest)
    chosen = len(manifest)
    if recipe.data.held_out is not None:
        manifest = hold_out(manifest, recipe.data.held_out)
    if recipe.data.folds is not None:
        manifest = pooled_for_folds(manifest)
    given = "split" in manifest.table and manifest.table["split"].notna().any()
    facts = [store.facts[position] for position in store.indices_of(manifest.refs())]
    copies = search_copies(manifest, facts, stores=stores)
    notes += copies.limits
    near = named_pairs(manifest, copies.pairs)
    if given:
        manifest, dropped = resolve_leaks(manifest, facts, recipe.data.leaks, near=copies.pairs)
        notes += dropped
    flow |= {
        "broken": flow["listed"] - readable,
        "quality": readable - chosen,
        "leaks": chosen - len(manifest),
    }
    manifest = with_copies_together(manifest, *copies_to_keep_together(manifest, facts, near))
    manifest = forget_groups(with_parts(manifest, recipe))
    if recipe.chooses_by_test():
        notes.append("the weights are chosen on the test images (select=oracle): their scores are too good")
    positions = store.indices_of(manifest.refs())
    facts = [store.facts[position] for position in positions]
    notes += contradiction_notes(manifest, facts)
    notes += slice_notes(manifest, facts)
    options = BoxOptions.of(recipe.data.box_options)
    manifest, boxes, of_boxes = located_boxes(manifest, store, positions, options, workers)
    notes = [*manifest.notes, *notes, *of_boxes]
    for note in notes:
        say(note)
    return PreparedData(manifest, store, positions, notes, boxes=boxes, near=near, flow=flow)


def with_parts(manifest: Manifest, recipe: Recipe) -> Manifest:
    """A manifest, with its held-out domain set aside already, whose rows all are in a part of the split or left out."""
    data = recipe.data
    train, val, _ = data.fractions
    seed = recipe.seed if data.split_seed is None else data.split_seed
    if data.folds is not None:
        manifest = split_of_fold(
            pooled_for_folds(manifest), data.folds, data.fold, seed, val / (train + val), _one_class(recipe)
        )
        return keep_label_fraction(manifest, data.label_fraction, seed)
    if data.held_out is not None and val:
        manifest = carve_validation(manifest, val / (train + val), seed, by_domain=True)
    manifest = ensure_splits(manifest, data.fractions, seed, val / (train + val), _one_class(recipe))
    return keep_label_fraction(manifest, data.label_fraction, seed)


def _one_class(recipe: Recipe) -> bool:
    """Whether training images may all have one label. Data can be looked at before a method is chosen.

    They may where nothing is learned of labels: a data set's column of them is then of no concern.
    """
    task, chosen = task_class(recipe.task), recipe.method in method_entries()
    return task.one_class or not task.needs_labels or (chosen and method_class(recipe.method).one_class)


def task_for(manifest: Manifest, recipe: Recipe, stores: Path | None = None) -> Task:
    """The task of a recipe for the data of a manifest, with the outputs that its loss needs.

    Args:
        manifest: the data.
        recipe: of a run.
        stores: folder where the task may keep what it makes of the data; None to keep nothing.
    """
    options = {**recipe.options, **recipe.data.model_dump(include={"classes", "ordered"})}
    if stores is not None:
        options[STORES] = stores
    return task_of(manifest, recipe.task, options).for_loss(recipe.training.loss)


def pixel_statistics(prepared: PreparedData) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over all pixels of the training images, in ``[0, 1]``.

    Rounded to four digits, as such statistics are published.
    """
    import cv2

    rows = prepared.rows("train")
    moments = np.zeros((2, prepared.store.settings.channels))
    with bar("pixel statistics", len(rows)) as progress:
        for row in rows:
            image = prepared.store.get(prepared.positions[[row]])[0]
            mean, deviation = (values[:, 0] / 255 for values in cv2.meanStdDev(image))
            moments += mean, deviation**2 + mean**2  # all images have the same number of pixels
            progress.advance()
    mean, square = moments / max(1, len(rows))
    deviation = np.sqrt(np.maximum(square - mean**2, 1e-8))
    return tuple(np.round(mean, 4).tolist()), tuple(np.round(deviation, 4).tolist())


def _without_broken(
    manifest: Manifest, broken: Sequence[BrokenImageError], skip: bool, broken_csv: Path | None
) -> Manifest:
    raise_or_note_broken(manifest, broken, skip, broken_csv, "images")
    names = {error.image for error in broken}
    kept = np.array([str(ref) not in names for ref in _reference_texts(manifest)])
    if not kept.any():
        raise InputError(
            f"{manifest.source}: none of the {len(manifest)} images can be read", "check the files"
        )
    return manifest.subset(kept)


def raise_or_note_broken(
    manifest: Manifest, broken: Sequence[BrokenImageError], skip: bool, broken_csv: Path | None, what: str
) -> None:
    """Reports broken files, and lists them in ``broken_csv`` if they are set aside.

    Raises:
        InputError: they are not.
    """
    for error in broken[:20]:
        say(f"broken: {error.image}: {error.reason}")
    if len(broken) > 20:
        say(f"... and {len(broken) - 20} more")
    if not skip:
        raise InputError(
            f"{len(broken)} of {len(manifest)} {what} cannot be read (the first: {broken[0].image}: {broken[0].reason})",
            "repair or remove them, or pass --skip-broken to set them aside",
        )
    if broken_csv is not None:
        write_broken(broken_csv, broken)


def write_broken(path: Path, broken: Sequence[BrokenImageError]) -> None:
    """Adds images and reasons to ``broken.csv``; existing entries are not changed."""
    rows = [[error.image, error.reason] for error in broken]
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            listed = [[as_written(cell) for cell in row] for row in list(csv.reader(file))[1:]]
        rows = listed + [row for row in rows if row not in listed]
    text = io.StringIO()
    csv.writer(text).writerows(
        [["image", "reason"], *([spreadsheet_safe(cell) for cell in row] for row in rows)]
    )
    write_text(path, text.getvalue())


def _reference_texts(manifest: Manifest) -> list[str]:
    return [str(ref) for ref in manifest.refs()]
