"""Images and their targets: folders of equal names, and the pools ``trainA`` and ``trainB`` of unpaired sets."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from modicum.data.layouts.columns import split_of
from modicum.data.layouts.public.contents import images_in, inside, names_in, stem_of, subfolders
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import Found, Row
from modicum.data.readers.content import format_of_name
from modicum.errors import InputError
from modicum.wording import count_of, listed

_POOL = r"(train|val|valid|test)(A|B)"
Pair = tuple[str, str]
Couple = tuple[Path, Path, Row]
"""An image, its target, and what else is known of them."""


def is_pools(folder: Path) -> bool:
    """``trainA`` and ``trainB``."""
    return inside(folder, "trainA") is not None and inside(folder, "trainB") is not None


def read_pools(folder: Path, options: LayoutOptions, names: Pair = ("A", "B")) -> Found:
    """``trainA``, ``trainB``, ``testA``, ...: pairs where the names are equal, else images and targets in order.

    An image stands in one row, so that the pool that is larger loses its last ones.

    Args:
        folder: with the pools.
        options: unused.
        names: what images and targets are: ``("B", "A")`` for the other direction.
    """
    source, target = (name.upper() for name in names)
    found = Found([])
    for part in ("train", "val", "valid", "test"):
        first, second = inside(folder, part + source), inside(folder, part + target)
        if first is None or second is None:
            continue
        rows, notes = _pooled(first, second)
        found.rows += [{**row, "split": split_of(part)} for row in rows]
        found.notes += notes
    return found


def _pooled(first: Path, second: Path) -> tuple[list[Row], list[str]]:
    """Two pools: by name where most names are in both (``1_A.jpg`` and ``1_B.jpg`` too), else in order."""
    images, targets = _by_name(first), _by_name(second)
    common = [name for name in images if name in targets]
    if 2 * len(common) > min(len(images), len(targets)):
        notes = [f"{first.name} and {second.name} are paired by name"]
        notes += _alone(first, images, common) + _alone(second, targets, common)
        return [{"image": images[name], "target": targets[name]} for name in common], notes
    notes = [f"{first.name} and {second.name} are not paired: each image stands beside any target"]
    spare = len(images) - len(targets)
    if spare:
        larger = first if spare > 0 else second
        notes.append(f"left out: the last {count_of(abs(spare), 'image')} of {larger.name}, the larger pool")
    together = zip(images.values(), targets.values(), strict=False)
    return [{"image": image, "target": target} for image, target in together], notes


def _alone(folder: Path, files: Mapping[str, Path], common: Iterable[str]) -> list[str]:
    paired = set(common)
    spare = [name for name in files if name not in paired]
    if not spare:
        return []
    return [f"left out: {count_of(len(spare), 'image')} of '{folder.name}' without a pair ({listed(spare)})"]


def read_pairs(folder: Path, pair: Pair, options: LayoutOptions) -> Found:
    """Pairs of the two names that the user says: images of ``T1`` with targets of ``T2``.

    They may be folders of equal file names, at any depth (``patient07/T1/z001.png``), pools (``trainA``), or endings
    of volumes that lie side by side (``sub-01_T1w.nii.gz``). The folder above is the patient; ``train``, ``val`` and
    ``test`` among the folders are the split. Volumes in folders are cut into slices too.

    Raises:
        InputError: there is no such pair.
    """
    source, target = pair
    if source.lower() == target.lower():
        raise InputError(f"both of a pair are '{source}'", "name the source and the target")
    if {source.upper(), target.upper()} == {"A", "B"} and is_pools(folder):
        return read_pools(folder, options, pair)
    # nibabel takes a while to load, and most data sets do not need it.
    from modicum.data.layouts.public.volume_pairs import add_slices, side_by_side

    found = Found([])
    folders = list(_couples(folder, source, target))
    couples = [couple for first, second in folders for couple in _paired(found, folder, first, second)]
    if not folders:
        couples = side_by_side(folder, pair, found.notes)
    volumes = [couple for couple in couples if _are_volumes(couple)]
    found.rows = [
        {"image": image, "target": other, **row}
        for image, other, row in couples
        if not _are_volumes((image, other, row))
    ]
    if volumes:
        add_slices(found, volumes, options)
    if not found.rows and volumes:
        raise InputError(
            f"no slice of {count_of(len(volumes), 'pair')} of volumes shows enough ({found.notes[-1]})",
            "check the volumes, or set layout option least_foreground to 0",
        )
    if not found.rows:
        raise InputError(
            f"folder '{folder.name}' holds no pairs of '{source}' and '{target}' (there are {_seen(folder)})",
            "name two folders with files of equal names, or the endings of two kinds of volumes",
        )
    return found


def _are_volumes(couple: Couple) -> bool:
    return format_of_name(couple[0]) == format_of_name(couple[1]) == "nifti"


def _couples(folder: Path, source: str, target: str, depth: int = 0) -> Iterator[tuple[Path, Path]]:
    """Folders that hold both a folder of the source's and one of the target's name."""
    first, second = inside(folder, re.escape(source)), inside(folder, re.escape(target))
    if first is not None and second is not None and first.is_dir() and second.is_dir():
        yield first, second
    elif depth < 6:
        for inner in subfolders(folder):
            yield from _couples(inner, source, target, depth + 1)


def _paired(found: Found, root: Path, first: Path, second: Path) -> list[Couple]:
    """Pairs of two folders, with patient and split. Endings may differ: the target of ``a.jpg`` may be ``a.png``."""
    images, targets = _by_name(first), _by_name(second)
    here = first.parent.relative_to(root).parts
    common = [name for name in images if name in targets]
    pairs: list[Couple] = []
    for name in common:
        folders = (*here, *name.split("/")[:-1])
        patient = "/".join(part for part in folders if not split_of(part))
        split = next(filter(None, map(split_of, folders)), None)
        pairs.append((images[name], targets[name], {"patient": patient or None, "split": split}))
    place = f"{'/'.join(here)}: " if here else ""
    found.notes += [place + note for note in _alone(first, images, common) + _alone(second, targets, common)]
    return pairs


def _by_name(folder: Path) -> dict[str, Path]:
    """Images below a folder by their path without the ending, and without a last ``_A`` or ``_B``.

    Raises:
        InputError: two differ by the ending only.
    """
    found: dict[str, Path] = {}
    for path in images_in(folder, deep=True):
        name = re.sub("_[AB]$", "", path.with_name(stem_of(path)).relative_to(folder).as_posix())
        name = unicodedata.normalize("NFC", name)
        if name in found:
            raise InputError(
                f"'{found[name].name}' and '{path.name}' in '{folder.name}' have one name", "keep one"
            )
        found[name] = path
    return found


def _seen(folder: Path) -> str:
    return listed(names_in(folder), most=6) or "no files"
