"""Pairs of NIfTI volumes of one patient, slice by slice: ``sub-01_T1w.nii.gz`` with ``sub-01_T2w.nii.gz``."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from modicum.data.intensity_window import IntensityWindow
from modicum.data.layouts.columns import split_of
from modicum.data.layouts.public.contents import images_in, stem_of
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import LayoutRows, Row
from modicum.data.readers.content import format_of_name
from modicum.data.volumes import Volume, nifti_volumes, require_same_grid
from modicum.errors import InputError
from modicum.progress import bar
from modicum.wording import count_of, listed


def side_by_side(folder: Path, pair: tuple[str, str], notes: list[str]) -> list[tuple[Path, Path, Row]]:
    """Finds pairs of volumes below a folder by the endings of their names, with patient and split.

    ``sub-01_T1w.nii.gz``, ``Brats18_x_t1.nii.gz`` and ``BraTS-GLI-00000-000-t1n.nii.gz`` end with ``T1w``, ``t1`` and
    ``t1n``, in any case. The text before the ending is the patient, or its part ``sub-01`` if there is one.

    Args:
        folder: folder to search.
        pair: the endings of source and target.
        notes: appended to if volumes have no pair.

    Raises:
        InputError: two file names differ only in case.
    """
    files = [path for path in images_in(folder, deep=True) if format_of_name(path) == "nifti"]
    first, second = (_ending(files, ending) for ending in pair)
    common = first.keys() & second.keys()
    alone = [path.name for side in (first, second) for key, path in side.items() if key not in common]
    if alone and common:
        notes.append(f"left out: {count_of(len(alone), 'volume')} without a pair ({listed(alone)})")
    return [(path, second[key], _whose(path, key[1], folder)) for key, path in first.items() if key in common]


def add_slices(result: LayoutRows, pairs: Sequence[tuple[Path, Path, Row]], options: LayoutOptions) -> None:
    """Adds a row for each slice of each pair of volumes in which both have enough foreground.

    Args:
        result: gets the rows, and a note on omitted slices.
        pairs: source, target, and further columns.
        options: ``axis`` and ``least_foreground``.

    Raises:
        InputError: the volumes of a pair differ in shape or geometry, or have several time points.
        BrokenImageError: a file cannot be read.
    """
    left_out = total = 0
    with bar("pairs of volumes", len(pairs)) as progress:
        for source, goal, row in pairs:
            image, target = (_only(path, options.axis) for path in (source, goal))
            require_same_grid(image, target)
            keep = np.ones(len(image), bool)
            if options.least_foreground > 0:
                shares = np.minimum(foreground_shares(image), foreground_shares(target))
                keep = shares >= options.least_foreground
            for at in np.flatnonzero(keep):
                result.rows.append({"image": image.refs[at], "target": target.refs[at], **row})
            left_out, total = left_out + int((~keep).sum()), total + len(keep)
            progress.advance()
    if left_out:
        result.notes.append(
            f"left out: {left_out:,} of {count_of(total, 'slice')} with less than {options.least_foreground:.0%} of "
            "voxels other than 0"
        )


def foreground_shares(volume: Volume) -> Float64[np.ndarray, "slices"]:
    """For each slice, the share of voxels that are neither 0 nor NaN.

    Raises:
        BrokenImageError: the file cannot be read.
    """
    ends = volume.window("range")
    # All foreground voxels are read as values above 0, even the smallest.
    window = IntensityWindow(ends.low - max(ends.high - ends.low, 1.0), ends.high, background=0)
    return np.array([float((image.pixels > 0).mean()) for image in volume.images(window, empty=True)])


def _only(path: Path, axis: int) -> Volume:
    volumes = nifti_volumes(path, axis)
    if len(volumes) > 1:
        raise InputError(
            f"'{path.name}' is a series of {len(volumes)} volumes", "save the one to use as a separate file"
        )
    return volumes[0]


def _ending(files: Sequence[Path], ending: str) -> dict[tuple[Path, str], Path]:
    """Files with an ending of their name, by folder and the text before it.

    Raises:
        InputError: two files have the same key.
    """
    paths: dict[tuple[Path, str], Path] = {}
    for path in files:
        match = re.fullmatch(rf"(?:(.*)[_.\-])?{re.escape(ending)}", stem_of(path), re.IGNORECASE)
        if match:
            key = (path.parent, match[1] or "")
            if key in paths:
                raise InputError(
                    f"'{paths[key].name}' and '{path.name}' in '{path.parent.name}' have the same name but for case",
                    "keep one of them",
                )
            paths[key] = path
    return paths


def _whose(path: Path, name: str, root: Path) -> Row:
    """Patient and split, from a volume's name and folders."""
    folders = path.parent.relative_to(root).parts
    subject = re.match(r"(sub-[a-z0-9]+)", name, re.IGNORECASE)
    above = [part for part in folders if not split_of(part)]
    patient = subject[1] if subject else name or "/".join(above)
    return {"patient": patient or None, "split": next(filter(None, map(split_of, folders)), None)}
