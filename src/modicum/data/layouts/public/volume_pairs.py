"""Pairs of NIfTI volumes of one body, slice by slice: ``sub-01_T1w.nii.gz`` with ``sub-01_T2w.nii.gz``."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from modicum.data.intensity_window import IntensityWindow
from modicum.data.layouts.columns import split_of
from modicum.data.layouts.public.contents import images_in, stem_of
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import Found, Row
from modicum.data.readers.content import format_of_name
from modicum.data.volumes import Volume, nifti_volumes, require_same_grid
from modicum.errors import InputError
from modicum.progress import bar
from modicum.wording import count_of, listed


def side_by_side(folder: Path, pair: tuple[str, str], notes: list[str]) -> list[tuple[Path, Path, Row]]:
    """Volumes below a folder whose names end with one and the other of a pair, with patient and split.

    ``sub-01_T1w.nii.gz``, ``Brats18_x_t1.nii.gz`` and ``BraTS-GLI-00000-000-t1n.nii.gz`` end with ``T1w``, ``t1`` and
    ``t1n``, in any case. What stands before the ending is the patient, or ``sub-01`` of it where there is such a part.

    Args:
        folder: where to look.
        pair: the endings of source and target.
        notes: gets a line where volumes have no pair.

    Raises:
        InputError: two files differ in nothing but their case.
    """
    files = [path for path in images_in(folder, deep=True) if format_of_name(path) == "nifti"]
    first, second = (_ending(files, ending) for ending in pair)
    common = first.keys() & second.keys()
    alone = [path.name for side in (first, second) for key, path in side.items() if key not in common]
    if alone and common:
        notes.append(f"left out: {count_of(len(alone), 'volume')} without a pair ({listed(alone)})")
    return [(path, second[key], _whose(path, key[1], folder)) for key, path in first.items() if key in common]


def add_slices(found: Found, pairs: Sequence[tuple[Path, Path, Row]], options: LayoutOptions) -> None:
    """Adds a row for each slice of each pair of volumes in which both show enough of the body.

    Args:
        found: gets the rows, and a note of what is left out.
        pairs: source, target, and what else is known of them.
        options: ``axis`` and ``least_foreground``.

    Raises:
        InputError: the two of a pair differ in shape or place, or have several times.
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
                found.rows.append({"image": image.refs[at], "target": target.refs[at], **row})
            left_out, total = left_out + int((~keep).sum()), total + len(keep)
            progress.advance()
    if left_out:
        found.notes.append(
            f"left out: {left_out:,} of {count_of(total, 'slice')} with less than {options.least_foreground:.0%} of "
            "voxels other than 0"
        )


def foreground_shares(volume: Volume) -> Float64[np.ndarray, "slices"]:
    """Of each slice, the share of voxels that are neither 0 nor NaN.

    Raises:
        BrokenImageError: the file cannot be read.
    """
    ends = volume.window("range")
    # All that is not background comes out above 0, even the least value.
    window = IntensityWindow(ends.low - max(ends.high - ends.low, 1.0), ends.high, background=0)
    return np.array([float((image.pixels > 0).mean()) for image in volume.images(window, empty=True)])


def _only(path: Path, axis: int) -> Volume:
    volumes = nifti_volumes(path, axis)
    if len(volumes) > 1:
        raise InputError(
            f"'{path.name}' is a series of {len(volumes)} volumes", "save the one to use on its own"
        )
    return volumes[0]


def _ending(files: Sequence[Path], ending: str) -> dict[tuple[Path, str], Path]:
    """Files whose name ends so, by their folder and what stands before.

    Raises:
        InputError: two files have the same.
    """
    found: dict[tuple[Path, str], Path] = {}
    for path in files:
        match = re.fullmatch(rf"(?:(.*)[_.\-])?{re.escape(ending)}", stem_of(path), re.IGNORECASE)
        if match:
            key = (path.parent, match[1] or "")
            if key in found:
                raise InputError(
                    f"'{found[key].name}' and '{path.name}' in '{path.parent.name}' are one", "keep one"
                )
            found[key] = path
    return found


def _whose(path: Path, name: str, root: Path) -> Row:
    """Patient and split, from a volume's name and folders."""
    folders = path.parent.relative_to(root).parts
    subject = re.match(r"(sub-[a-z0-9]+)", name, re.IGNORECASE)
    above = [part for part in folders if not split_of(part)]
    patient = subject[1] if subject else name or "/".join(above)
    return {"patient": patient or None, "split": next(filter(None, map(split_of, folders)), None)}
