"""Pairs of NIfTI volumes of one body, slice by slice: ``sub-01_T1w.nii.gz`` with ``sub-01_T2w.nii.gz``."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Volumes:
    """Two files of one body, and what else is known of them."""

    image: Path
    target: Path
    row: Row = field(default_factory=dict)


def read_volumes(folder: Path, pair: tuple[str, str], options: LayoutOptions) -> Found:
    """Slices of the volumes below a folder whose names end with one and the other of a pair.

    ``sub-01_T1w.nii.gz``, ``Brats18_x_t1.nii.gz`` and ``BraTS-GLI-00000-000-t1n.nii.gz`` end with ``T1w``, ``t1`` and
    ``t1n``, in any case. What stands before the ending is the patient, or ``sub-01`` of it where there is such a part.

    Raises:
        InputError: two volumes of a pair differ in shape or place, or have several times.
        BrokenImageError: a file cannot be read.
    """
    found = Found([])
    pairs: list[Volumes] = []
    alone: list[str] = []
    files = [path for path in images_in(folder, deep=True) if format_of_name(path) == "nifti"]
    sides = [_ending(files, ending) for ending in pair]
    for name, path in sides[0].items():
        if name in sides[1]:
            pairs.append(Volumes(path, sides[1][name], _whose(path, name[1], folder)))
    common = sides[0].keys() & sides[1].keys()
    for side in sides:
        alone += [path.name for name, path in side.items() if name not in common]
    if alone and pairs:
        found.notes.append(f"left out: {count_of(len(alone), 'volume')} without a pair ({listed(alone)})")
    with bar("pairs of volumes", len(pairs)) as progress:
        for volumes in pairs:
            found.rows += slices_of(volumes, options, found.notes)
            progress.advance()
    return found


def slices_of(volumes: Volumes, options: LayoutOptions, notes: list[str]) -> list[Row]:
    """A row for each slice of a pair that shows enough of the body.

    Args:
        volumes: the pair.
        options: ``axis``, and ``least_foreground`` of each of the two.
        notes: gets one line of what is left out.

    Raises:
        InputError: the two differ in shape or place, or have several times.
        BrokenImageError: a file cannot be read.
    """
    image, target = (_only(path, options.axis) for path in (volumes.image, volumes.target))
    require_same_grid(image, target)
    keep = np.ones(len(image), bool)
    if options.least_foreground > 0:
        shares = np.minimum(foreground_shares(image), foreground_shares(target))
        keep = shares >= options.least_foreground
    rows: list[Row] = [
        {"image": image.refs[at], "target": target.refs[at], **volumes.row} for at in np.flatnonzero(keep)
    ]
    if not keep.all():
        notes.append(
            f"left out: {count_of(int((~keep).sum()), 'slice')} of {len(image)} of '{volumes.image.name}' and its pair "
            f"with less than {options.least_foreground:.0%} of voxels other than 0"
        )
    return rows


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
