"""Boxes around what is marked in masks, one mask a class.

The rule of "Lesion-based Contrastive Learning" (Huang et al., MICCAI 2021) and its code, section 3.1: what is above 1 in
a mask is marked, each outer contour (pixels that touch by a corner belong together) gets a box one pixel wider than the
contour to the left and above, and its class is the mask's.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from jaxtyping import Float64, UInt8

from modicum.data.boxes.boxes import count_of_boxes
from modicum.data.boxes.given import GivenBoxes
from modicum.data.broken import ended_its_process, or_broken
from modicum.data.image import ImageRef
from modicum.data.manifest import Manifest
from modicum.data.mask_codes import codes_of
from modicum.data.processes import in_processes, usable_cores
from modicum.data.readers import read_image
from modicum.data.roles import MASKS_PREFIX
from modicum.errors import BrokenImageError, InputError
from modicum.progress import bar
from modicum.wording import count_of, listed

WORD = "masks"
"""What stands for these boxes where a file of boxes is named."""


def boxes_around(codes: UInt8[np.ndarray, "height width"]) -> Float64[np.ndarray, "n 4"]:
    """Boxes (x - 1, y - 1, x + w, y + h) around the outer contours of what is marked, inside the frame, from top left.

    Marked is what is above 1; of a mask of 0 and 1 what is 1.

    Args:
        codes: values of the mask.
    """
    import cv2

    marked = (codes > (1 if codes.max(initial=0) > 1 else 0)).astype(np.uint8)
    contours, _ = cv2.findContours(marked, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    rectangles = np.array([cv2.boundingRect(contour) for contour in contours], np.float64).reshape(-1, 4)
    edges = np.concatenate([rectangles[:, :2] - 1, rectangles[:, :2] + rectangles[:, 2:]], axis=1)
    height, width = codes.shape
    edges = np.clip(edges, 0, [width, height, width, height])
    order = np.lexsort((edges[:, 0], edges[:, 1]))
    return edges[order]


def with_mask_boxes(manifest: Manifest, workers: int | None = None) -> Manifest:
    """A manifest whose column ``boxes`` has boxes around all that is marked in its columns ``masks:CLASS``.

    A class whose mask is not named is not in that image where another class's is (as IDRiD has it); of an image without
    any mask nothing is said.

    Args:
        manifest: with such columns.
        workers: processes that read masks; None for as many as there are processors.

    Raises:
        InputError: there is no such column, or masks of one image have several sizes.
        BrokenImageError: a mask cannot be read.
    """
    columns = [str(name) for name in manifest.table if str(name).startswith(MASKS_PREFIX)]
    if not columns:
        raise InputError(
            f"{manifest.source}: boxes 'masks' are made of columns {MASKS_PREFIX}CLASS, and there are none",
            f"name a mask a class, such as {MASKS_PREFIX}haemorrhage, or a file of boxes",
        )
    jobs = [
        (row, column, ref) for column in columns for row, ref in zip(*_named(manifest, column), strict=True)
    ]
    cores = usable_cores() if workers is None else workers
    answers = in_processes(
        _read, [ref for _, _, ref in jobs], cores if len(jobs) > cores > 1 else 0, ended_its_process
    )
    by_row: dict[int, list[tuple[str, np.ndarray, tuple[int, int]]]] = {}
    with bar("boxes around masks", len(jobs)) as progress:
        for (row, column, _), answer in zip(jobs, answers, strict=True):
            if isinstance(answer, BrokenImageError):
                raise answer
            by_row.setdefault(row, []).append((column.removeprefix(MASKS_PREFIX), *answer))
            progress.advance()
    given = {row: _of_row(parts, manifest.describe_row(row)) for row, parts in by_row.items()}
    cells = [given[row].to_cell() if row in given else np.nan for row in range(len(manifest))]
    return manifest.with_columns([_note(given, len(manifest))], boxes=cells)


def _named(manifest: Manifest, column: str) -> tuple[list[int], list[ImageRef]]:
    named = manifest.table[column].notna().to_numpy(dtype=bool)
    return np.flatnonzero(named).tolist(), list(manifest.subset(named).refs(column))


_Answer = tuple[np.ndarray, tuple[int, int]]


def _read(ref: ImageRef) -> _Answer | BrokenImageError:
    """The boxes of one mask, and its height and width."""
    return or_broken(ref, partial(_boxes_and_size, ref))


def _boxes_and_size(ref: ImageRef) -> _Answer:
    codes = codes_of(read_image(ref, empty=True))
    return boxes_around(codes), (codes.shape[0], codes.shape[1])


def _of_row(parts: Sequence[tuple[str, np.ndarray, tuple[int, int]]], place: str) -> GivenBoxes:
    sizes = {size for _, _, size in parts}
    if len(sizes) > 1:
        listed_sizes = listed(f"{width} x {height}" for height, width in sorted(sizes))
        raise InputError(
            f"{place}: its masks are {listed_sizes} pixels (width x height)",
            "give all masks the image's size",
        )
    names = tuple(name for name, boxes, _ in parts for _ in range(len(boxes)))
    edges = np.concatenate([boxes for _, boxes, _ in parts])
    return GivenBoxes(edges, "pixels", names, size=sizes.pop(), upright=True)


def _note(given: dict[int, GivenBoxes], rows: int) -> str:
    boxes = count_of_boxes(sum(len(one) for one in given.values()))
    return f"{boxes} around what is marked in the masks of {count_of(len(given), 'image')} (of {rows:,})"
