"""Images and their targets: folders of equal names, and the pools ``trainA`` and ``trainB`` of unpaired sets."""

import re
from collections.abc import Iterator
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
        images, targets = images_in(first, deep=True), images_in(second, deep=True)
        paired = [path.relative_to(first) for path in images] == [
            path.relative_to(second) for path in targets
        ]
        for image, other in zip(images, targets, strict=False):
            found.rows.append({"image": image, "target": other, "split": split_of(part)})
        if not paired:
            found.notes.append(
                f"{first.name} and {second.name} are not paired: each image stands beside any target"
            )
        spare = len(images) - len(targets)
        if spare:
            larger = first if spare > 0 else second
            found.notes.append(
                f"left out: the last {count_of(abs(spare), 'image')} of {larger.name}, the larger pool"
            )
    return found


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
    from modicum.data.layouts.public.volume_pairs import read_volumes

    couples = list(_couples(folder, source, target))
    found = Found([])
    for first, second in couples:
        _add(found, folder, first, second, options)
    if not couples:
        found = read_volumes(folder, pair, options)
    if not found.rows:
        raise InputError(
            f"folder '{folder.name}' holds no pairs of '{source}' and '{target}' (there are {_seen(folder)})",
            "name two folders with files of equal names, or the endings of two kinds of volumes",
        )
    return found


def _couples(folder: Path, source: str, target: str, depth: int = 0) -> Iterator[tuple[Path, Path]]:
    """Folders that hold both a folder of the source's and one of the target's name."""
    first, second = inside(folder, re.escape(source)), inside(folder, re.escape(target))
    if first is not None and second is not None and first.is_dir() and second.is_dir():
        yield first, second
    elif depth < 6:
        for inner in subfolders(folder):
            yield from _couples(inner, source, target, depth + 1)


def _add(found: Found, root: Path, first: Path, second: Path, options: LayoutOptions) -> None:
    """Pairs of two folders. Endings may differ: the target of ``a.jpg`` may be ``a.png``."""
    images, targets = _by_name(first), _by_name(second)
    here = first.parent.relative_to(root).parts
    for name in images:
        if name in targets:
            folders = (*here, *name.split("/")[:-1])
            own: Row = {"split": next(filter(None, map(split_of, folders)), None)}
            patients = [part for part in folders if not split_of(part)]
            own |= {"patient": "/".join(patients) or None}
            found.rows += _rows(images[name], targets[name], own, options, found.notes)
    common = images.keys() & targets.keys()
    for side, files in ((first, images), (second, targets)):
        spare = [name for name in files if name not in common]
        if spare:
            place = side.relative_to(root).as_posix()
            found.notes.append(
                f"left out: {count_of(len(spare), 'image')} of '{place}' without a pair ({listed(spare)})"
            )


def _rows(image: Path, target: Path, own: Row, options: LayoutOptions, notes: list[str]) -> list[Row]:
    if format_of_name(image) == format_of_name(target) == "nifti":
        from modicum.data.layouts.public.volume_pairs import Volumes, slices_of

        return slices_of(Volumes(image, target, own), options, notes)
    return [{"image": image, "target": target, **own}]


def _by_name(folder: Path) -> dict[str, Path]:
    """Images below a folder by their path without the ending.

    Raises:
        InputError: two differ by the ending only.
    """
    found: dict[str, Path] = {}
    for path in images_in(folder, deep=True):
        name = path.with_name(stem_of(path)).relative_to(folder).as_posix()
        if name in found:
            raise InputError(
                f"'{found[name].name}' and '{path.name}' in '{folder.name}' have one name", "keep one"
            )
        found[name] = path
    return found


def _seen(folder: Path) -> str:
    return listed(names_in(folder), most=6) or "no files"
