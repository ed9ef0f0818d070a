"""Optic disc and cup: the four-domain set, REFUGE, and Drishti-GS.

Masks of the first two are coded 0 cup, 128 rim of the disc, 255 background. Drishti-GS has a map of each structure, in
which 255 is where all four experts agree; three of four is 191 and more.
"""

import re
from pathlib import Path

from modicum.data.layouts.columns import split_of
from modicum.data.layouts.public.contents import any_name, images_in, inside, keyed, stem_of, subfolders
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import LayoutRows, Row, files_for
from modicum.data.layouts.public.vessels import read_part
from modicum.errors import InputError

# Case matters: g0001 is of REFUGE, G-1-L of RIM-ONE.
_DOMAINS = {
    "Domain1": r"[gn]d.*",
    "Domain2": r"[GNS]-\d.*",
    "Domain3": r"[gn]\d.*",
    "Domain4": r"V\d.*",
}
_RIM_ONE = r"([GNS]-\d+)-([LR])\b.*"
_REFUGE = {"train": r"([gn]\d{4})", "val": r"(v\d{4})", "test": r"(t\d{4})"}
_DRISHTI = r"(drishtiGS_\d+)"


def is_four_domains(folder: Path) -> bool:
    """``train/ROIs/image`` and ``train/ROIs/mask``."""
    return any(inside(part, "ROIs", "image") and inside(part, "ROIs", "mask") for part in _parts(folder))


def read_four_domains(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads one domain, or several mixed: an image's domain is inferred from its name.

    Raises:
        InputError: an image in a folder ``Domain1`` to ``Domain4`` has a name of another domain.
    """
    result = LayoutRows([], ["masks: 0..50 cup, 51..200 rim of the disc, above 200 background"])
    folder_name = folder.absolute().name
    for part in _parts(folder):
        inner = inside(part, "ROIs")
        rows, notes = read_part(inner) if inner is not None else ([], [])
        result.notes += notes
        for row in rows:
            result.rows.append(
                {**row, "split": split_of(part.name), **_whose(Path(str(row["image"])), folder_name)}
            )
    return result


def domain_of(name: str) -> str | None:
    """The domain of an image, by its file name.

    >>> [domain_of(name) for name in ("gdrishtiGS_002", "G-1-L", "g0001", "V0001", "x")]
    ['Domain1', 'Domain2', 'Domain3', 'Domain4', None]
    """
    return next((domain for domain, names in _DOMAINS.items() if re.fullmatch(names, name)), None)


def _whose(image: Path, folder: str) -> Row:
    name = stem_of(image)
    domain = domain_of(name)
    folder_domain = folder.capitalize() if folder.lower() in map(str.lower, _DOMAINS) else None
    if domain and folder_domain and domain != folder_domain:
        raise InputError(
            f"'{image.name}' in '{folder}' has a name of {domain}", f"move it to {domain}, or rename it"
        )
    eye = re.fullmatch(_RIM_ONE, name)
    whose: Row = {"patient": eye[1], "eye": eye[2]} if eye else {}
    return {**whose, "domain": domain or folder_domain or folder}


def is_refuge(folder: Path) -> bool:
    """A folder ``Training400``, ``REFUGE-Validation400`` or the like."""
    return any_name(folder, r"(refuge-?)?(training|validation|test)400")


def read_refuge(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads REFUGE: train (``g`` glaucoma, ``n`` none), val (``V``, another camera) and test (``T``)."""
    files = images_in(folder, deep=True)
    photographs = [path for path in files if path.suffix.lower() in (".jpg", ".jpeg")]
    masks = [path for path in files if path.suffix.lower() in (".bmp", ".png")]
    result = LayoutRows([], ["masks: 0 cup, 128 rim of the disc, 255 background"])
    for split, names in _REFUGE.items():
        images = keyed(photographs, names)
        mask_of, notes = files_for(images, keyed(masks, names), "mask", required=True)
        result.notes += notes
        for key, path in images.items():
            label = {"g": "1", "n": "0"}.get(key[0]) if split == "train" else None
            result.rows.append(
                {
                    "image": path,
                    "mask": mask_of[key],
                    "label": label,
                    "split": split,
                    "domain": f"REFUGE-{split}",
                }
            )
    return result


def is_drishti(folder: Path) -> bool:
    """``Training/Images`` and ``Training/GT``, with ``drishtiGS_002``."""
    images = inside(folder, "training", "images")
    truth = inside(folder, "training", "gt")
    return images is not None and truth is not None and any_name(truth, _DRISHTI)


def read_drishti(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads Drishti-GS: 50 training and 51 test images, each with a map of disc and cup."""
    result = LayoutRows([], ["maps of disc and cup: a pixel that three of four experts drew has 191 or more"])
    for part in subfolders(folder):
        split = split_of(part.name)
        files = images_in(part, deep=True) if split else []
        images = keyed(files, _DRISHTI)
        maps = {}
        for structure in ("disc", "cup"):
            called = "OD" if structure == "disc" else "cup"
            seen = keyed(files, rf"{_DRISHTI}_{called}segSoftmap")
            maps[structure], notes = files_for(images, seen, f"map of the {structure}", required=True)
            result.notes += notes
        for key, path in images.items():
            masks: Row = {f"masks:{structure}": map_of[key] for structure, map_of in maps.items()}
            kind = path.parent.name.lower()
            label = {"glaucoma": "1", "normal": "0"}.get(kind)
            result.rows.append(
                {"image": path, **masks, "label": label, "split": split, "domain": "Drishti-GS"}
            )
    return result


def _parts(folder: Path) -> list[Path]:
    return [part for part in subfolders(folder) if split_of(part.name)]
