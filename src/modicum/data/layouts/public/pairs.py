"""Images and their targets: folders with equal file names, and the pools ``trainA`` and ``trainB``."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from modicum.data.layouts.columns import split_of
from modicum.data.layouts.public.contents import images_in, inside, names_in, stem_of, subfolders
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import LayoutRows, Row
from modicum.data.readers.content import format_of_name
from modicum.errors import InputError
from modicum.wording import count_of, listed

_POOL = r"(train|val|valid|test)(A|B)"
Pair = tuple[str, str]
Couple = tuple[Path, Path, Row]
"""An image, its target, and further columns."""


def is_pools(folder: Path) -> bool:
    """``trainA`` and ``trainB``."""
    return inside(folder, "trainA") is not None and inside(folder, "trainB") is not None


def read_pools(folder: Path, options: LayoutOptions, names: Pair = ("A", "B")) -> LayoutRows:
    """Reads ``trainA``, ``trainB``, ``testA``, ...: pairs by equal names, otherwise images and targets in order.

    Each image is in one row, so that the larger pool loses its last images.

    Args:
        folder: folder with the pools.
        options: unused.
        names: pools of images and targets: ``("B", "A")`` for the other direction.
    """
    source, target = (name.upper() for name in names)
    result = LayoutRows([])
    for part in ("train", "val", "valid", "test"):
        first, second = inside(folder, part + source), inside(folder, part + target)
        if first is None or second is None:
            continue
        rows, notes = _pooled(first, second)
        result.rows += [{**row, "split": split_of(part)} for row in rows]
        result.notes += notes
    return result


def _pooled(first: Path, second: Path) -> tuple[list[Row], list[str]]:
    """Combines two pools: by name if most names are in both (also ``1_A.jpg`` and ``1_B.jpg``), otherwise in order."""
    images, targets = _by_name(first), _by_name(second)
    common = [name for name in images if name in targets]
    if _mostly_common(images, targets):
        notes = [f"{first.name} and {second.name} are paired by name"]
        notes += _alone(first, images, common) + _alone(second, targets, common)
        return [{"image": images[name], "target": targets[name]} for name in common], notes
    notes = [
        f"{first.name} and {second.name} are not paired: images and targets in a row do not belong together"
    ]
    spare = len(images) - len(targets)
    if spare:
        larger = first if spare > 0 else second
        notes.append(f"left out: the last {count_of(abs(spare), 'image')} of {larger.name}, the larger pool")
    together = zip(images.values(), targets.values(), strict=False)
    return [{"image": image, "target": target} for image, target in together], notes


def _mostly_common(images: Mapping[str, Path], targets: Mapping[str, Path]) -> bool:
    return 2 * sum(name in targets for name in images) > min(len(images), len(targets))


def _alone(folder: Path, files: Mapping[str, Path], common: Iterable[str]) -> list[str]:
    paired = set(common)
    spare = [name for name in files if name not in paired]
    if not spare:
        return []
    return [f"left out: {count_of(len(spare), 'image')} of '{folder.name}' without a pair ({listed(spare)})"]


def read_pairs(folder: Path, pair: Pair, options: LayoutOptions) -> LayoutRows:
    """Reads pairs by two names: images of ``T1`` with targets of ``T2``.

    They may be folders with equal file names, at any depth (``patient07/T1/z001.png``), pools (``trainA``), or endings
    of volumes in one folder (``sub-01_T1w.nii.gz``). The folder above is the patient; ``train``, ``val`` and
    ``test`` among the folders are the split. Volumes in folders are cut into slices too. With option ``unpaired`` two
    folders that share few names are pools, as ``trainA`` and ``trainB`` are.

    Raises:
        InputError: there are no such pairs.
    """
    source, target = pair
    if source.lower() == target.lower():
        raise InputError(
            f"source and target are both '{source}'", "pass two different names, for instance --pairs T1,T2"
        )
    if {source.upper(), target.upper()} == {"A", "B"} and is_pools(folder):
        return read_pools(folder, options, pair)
    # nibabel takes a while to load, and most data sets do not need it.
    from modicum.data.layouts.public.volume_pairs import add_slices, side_by_side

    result = LayoutRows([])
    folders = list(_couples(folder, source, target))
    couples = [
        couple
        for first, second in folders
        for couple in _paired(result, folder, first, second, options.unpaired)
    ]
    if not folders:
        couples = side_by_side(folder, pair, result.notes)
    volumes = [couple for couple in couples if _are_volumes(couple)]
    result.rows = [
        {"image": image, "target": target_image, **row}
        for image, target_image, row in couples
        if not _are_volumes((image, target_image, row))
    ]
    if volumes:
        add_slices(result, volumes, options)
    if not result.rows and volumes:
        raise InputError(
            f"no slice of {count_of(len(volumes), 'pair')} of volumes has enough foreground ({result.notes[-1]})",
            "check the volumes, or set layout option least_foreground to 0",
        )
    if not result.rows:
        raise InputError(
            f"folder '{folder.name}' contains no pairs of '{source}' and '{target}' (it has {_seen(folder)})",
            "pass two folders with equal file names, or the endings of two kinds of volumes, as --pairs T1,T2; where "
            "images and targets need not belong together, add --set pairing=shuffled",
        )
    return result


def _are_volumes(couple: Couple) -> bool:
    return format_of_name(couple[0]) == format_of_name(couple[1]) == "nifti"


def _couples(folder: Path, source: str, target: str, depth: int = 0) -> Iterator[tuple[Path, Path]]:
    """Pairs of a source and a target folder in the same folder."""
    first, second = inside(folder, re.escape(source)), inside(folder, re.escape(target))
    if first is not None and second is not None and first.is_dir() and second.is_dir():
        yield first, second
    elif depth < 6:
        for inner in subfolders(folder):
            yield from _couples(inner, source, target, depth + 1)


def _paired(
    result: LayoutRows, root: Path, first: Path, second: Path, unpaired: bool = False
) -> list[Couple]:
    """Pairs of two folders, with patient and split. Suffixes may differ: the target of ``a.jpg`` may be ``a.png``."""
    images, targets = _by_name(first), _by_name(second)
    here = first.parent.relative_to(root).parts
    if unpaired and not _mostly_common(images, targets):
        rows, notes = _pooled(first, second)
        split = next(filter(None, map(split_of, here)), None)
        result.notes += [f"{'/'.join(here)}: {note}" if here else note for note in notes]
        # Whose eyes they are is not known of either: a row is two patients.
        return [(Path(str(row["image"])), Path(str(row["target"])), {"split": split}) for row in rows]
    common = [name for name in images if name in targets]
    pairs: list[Couple] = []
    for name in common:
        folders = (*here, *name.split("/")[:-1])
        patient = "/".join(part for part in folders if not split_of(part))
        split = next(filter(None, map(split_of, folders)), None)
        pairs.append((images[name], targets[name], {"patient": patient or None, "split": split}))
    prefix = f"{'/'.join(here)}: " if here else ""
    result.notes += [
        prefix + note for note in _alone(first, images, common) + _alone(second, targets, common)
    ]
    return pairs


def _by_name(folder: Path) -> dict[str, Path]:
    """Images below a folder by path without suffix, and without a final ``_A`` or ``_B``.

    Raises:
        InputError: two differ by the suffix only.
    """
    paths_by_name: dict[str, Path] = {}
    for path in images_in(folder, deep=True):
        name = re.sub("_[AB]$", "", path.with_name(stem_of(path)).relative_to(folder).as_posix())
        name = unicodedata.normalize("NFC", name)
        if name in paths_by_name:
            raise InputError(
                f"'{paths_by_name[name].name}' and '{path.name}' in '{folder.name}' have the same name",
                "keep one of them",
            )
        paths_by_name[name] = path
    return paths_by_name


def _seen(folder: Path) -> str:
    return listed(names_in(folder), most=6) or "no files"
