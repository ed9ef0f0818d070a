"""Boxes of prepared images: checked, and converted to pixels of the stored images."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from modicum.data.boxes.boxes import Boxes, count_of_boxes
from modicum.data.boxes.checking import CheckedBoxes, checked_boxes
from modicum.data.boxes.column import COLUMN, with_checked_cells
from modicum.data.boxes.options import BoxOptions
from modicum.data.boxes.source import BoxSource
from modicum.data.boxes.stored import large_enough, selected, stored_boxes
from modicum.data.broken import ended_its_process, or_broken
from modicum.data.image import ImageRef
from modicum.data.image_facts import ImageFacts, exif_orientation_of
from modicum.data.manifest import Manifest
from modicum.data.placement import placement_of
from modicum.data.prepared import StoreSettings, read_cropped
from modicum.data.processes import in_processes
from modicum.data.stores.image_store import ImageStore
from modicum.engine.inputs.batches import Stored
from modicum.errors import BrokenImageError, InputError
from modicum.progress import bar
from modicum.tasks import Task
from modicum.wording import count_of, listed


def located_boxes(
    manifest: Manifest, store: ImageStore, positions: np.ndarray, options: BoxOptions, workers: int
) -> tuple[Manifest, BoxSource | None, list[str]]:
    """The boxes of a manifest in pixels of the stored images; None if it has no column of boxes.

    The manifest's own column then holds what was checked: pixels of the upright image files.

    Args:
        manifest: rows whose images are in the store.
        store: store of the images.
        positions: position of each row in it.
        options: how boxes are read.
        workers: processes that read images of a store which does not know where they lie in it.

    Raises:
        InputError: a box is refused; with where it comes from.
    """
    if COLUMN not in manifest.table:
        return manifest, None, []
    facts = [store.facts[position] for position in positions]
    facts = _with_places(manifest, facts, store.settings, workers)
    checked = checked_boxes(manifest, facts, options)
    rows, notes = _moved(checked, facts, store.settings, options)
    source = BoxSource.of_rows(rows)
    counted = f"{count_of_boxes(len(source.xyxy))} in {count_of(int((source.counts > 0).sum()), 'image')}"
    counted += f" of {len(manifest):,}"
    if source.class_names:
        counted += f" ({listed((f'{name} {count:,}' for name, count in checked.classes().items()), 8)})"
    return with_checked_cells(manifest, checked.rows), source, [counted, *checked.notes, *notes]


def box_inputs(
    boxes: BoxSource | None, reads: Sequence[str], stage: str, train_rows: np.ndarray
) -> dict[str, Stored]:
    """The inputs of a stage that reads boxes: ``boxes`` with ``box_classes``, and ``box_scores`` if it asks for them.

    Nothing for a stage that does not read boxes.

    Raises:
        InputError: there are no boxes to learn from, or no scores.
    """
    wanted = [name for name in ("boxes", "box_scores") if name in reads]
    if not wanted:
        return {}
    if boxes is None or not boxes.counts[train_rows].any():
        none = "the data have none" if boxes is None else "no training image has one"
        raise InputError(
            f"stage '{stage}' learns from boxes, and {none}", "name their column or file with --boxes"
        )
    if "box_scores" in wanted and boxes.scores is None:
        raise InputError(
            f"stage '{stage}' learns from the scores of boxes, and they have none",
            "give boxes with scores, as a detector writes them",
        )
    return as_inputs(boxes, dict.fromkeys([*wanted, *(["box_classes"] if "boxes" in wanted else [])]))


def as_inputs(boxes: BoxSource, names: Iterable[str]) -> dict[str, Stored]:
    """Arrays of boxes by their names in a batch, for all rows."""
    rows = np.arange(len(boxes.counts))
    return {name: Stored(partial(boxes.read, name), rows[None]) for name in names}


def numbered_for(boxes: BoxSource | None, task: Task) -> BoxSource | None:
    """Boxes with their classes in the task's order, where it has one.

    Raises:
        InputError: boxes are of a class that the task does not know.
    """
    return boxes if boxes is None or task.box_classes is None else boxes.with_classes(task.box_classes)


def _moved(
    checked: CheckedBoxes, facts: Sequence[ImageFacts | None], settings: StoreSettings, options: BoxOptions
) -> tuple[list[Boxes | None], list[str]]:
    """Boxes in pixels of the stored images, without those that the options leave out there, and notes."""
    rows: list[Boxes | None] = []
    gone = cut = small = 0
    by_rule: Counter[str] = Counter()
    for boxes, fact in zip(checked.rows, facts, strict=True):
        placement = None if fact is None else placement_of(fact, settings)
        if boxes is None or placement is None:
            rows.append(None)
            continue
        xyxy = stored_boxes(boxes.xyxy, placement)
        has_area, kept = large_enough(xyxy, 0), large_enough(xyxy, options.min_side)
        left, top, right, bottom = placement.visible
        inside = (boxes.xyxy[:, :2] >= (left, top)).all(1) & (boxes.xyxy[:, 2:] <= (right, bottom)).all(1)
        gone += int((~has_area).sum())
        small += int((has_area & ~kept).sum())
        cut += int((kept & ~inside).sum())
        for rule, passes in selected(xyxy, boxes.scores, placement, options).items():
            by_rule[rule] += int((kept & ~passes).sum())
            kept = kept & passes
        rows.append(Boxes(xyxy, boxes.class_names, boxes.scores).subset(kept))
    notes = []
    if cut:
        notes.append(f"{count_of_boxes(cut)} cut where the image is cut (crop or resize)")
    if gone:
        notes.append(f"left out: {count_of_boxes(gone)} in what is cut off the image (crop or resize)")
    if small:
        notes.append(
            f"left out: {count_of_boxes(small)} with a side shorter than {options.min_side:g} of the resized image's "
            "pixels (box option min_side)"
        )
    notes += [
        f"left out: {count_of_boxes(count)} {_RULES[rule]} {getattr(options, rule):g} (box option {rule})"
        for rule, count in by_rule.items()
        if count
    ]
    return rows, notes


_RULES = {
    "above_score": "with a score not above",
    "max_side": "with a side in pixels longer than",
    "border": "at an edge of the image, in pixels nearer than or as near as",
}


def _with_places(
    manifest: Manifest, facts: Sequence[ImageFacts | None], settings: StoreSettings, workers: int
) -> list[ImageFacts | None]:
    """Facts that say where an image lies in the store; stores of earlier versions did not keep that."""
    unknown = [
        row
        for row, (fact, cell) in enumerate(zip(facts, manifest.table[COLUMN], strict=True))
        if fact is not None and fact.decoded is None and not isinstance(cell, float)
    ]
    if not unknown:
        return list(facts)
    refs, located = manifest.refs(), list(facts)
    todo = [refs[row] for row in unknown]
    places = in_processes(partial(_place, settings), todo, workers if len(todo) > 1 else 0, ended_its_process)
    with bar("finding where images were cut", len(todo)) as progress:
        for row, answer in zip(unknown, places, strict=True):
            if isinstance(answer, BrokenImageError):
                raise answer
            orientation, decoded, cropped = answer
            fact = facts[row]
            assert fact is not None
            located[row] = replace(fact, orientation=orientation, decoded=decoded, cropped=cropped)
            progress.advance()
    return located


_Place = tuple[int, tuple[int, int], tuple[int, int, int, int] | None]


def _place(settings: StoreSettings, ref: ImageRef) -> _Place | BrokenImageError:
    return or_broken(ref, lambda: _read_place(settings, ref))


def _read_place(settings: StoreSettings, ref: ImageRef) -> _Place:
    image, _, cropped = read_cropped(ref, settings)
    decoded = image.pixels.shape[1], image.pixels.shape[2]
    box = None if cropped is None else (cropped.left, cropped.top, cropped.right, cropped.bottom)
    return exif_orientation_of(image.source), decoded, box
