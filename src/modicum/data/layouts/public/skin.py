"""Skin lesions with one diagnosis each: HAM10000, ISIC 2018 (task 3), ISIC 2019 and PAD-UFES-20, as downloaded."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from modicum.data.layouts.folder_tables import head_of
from modicum.data.layouts.public.chest_tables import Line, read_lines, table_named
from modicum.data.layouts.public.contents import names_in, subfolders
from modicum.data.layouts.public.graded_rows import GradedPart, Photographs, joined
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import LayoutRows
from modicum.errors import InputError

_HAM = ("lesion_id", "image_id", "dx")
_PAD = ("patient_id", "lesion_id", "diagnostic", "img_id")
_CLASSES_2018 = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
_CLASSES_2019 = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC")
_PARTS = {"Training": "train", "Validation": "val", "Test": "test"}
_LESIONS = ("image", "lesion_id")


# --- HAM10000 ---------------------------------------------------------------------------------------------------------


def is_ham10000(folder: Path) -> bool:
    """``HAM10000_metadata`` (with or without an ending) beside ``HAM10000_images_part_1``."""
    has_images = any(re.fullmatch(r"ham10000_images_part_\d", n, re.IGNORECASE) for n in names_in(folder))
    return has_images and _ham_table(folder) is not None


def read_ham10000(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads HAM10000: the diagnosis of each photograph, and its lesion as ``patient``: lesions have several photographs.

    There is no published split of the 10,015 photographs.

    Raises:
        InputError: a diagnosis is blank, or a column is missing.
    """
    table = _ham_table(folder)
    assert table is not None
    photographs, part = Photographs(folder), GradedPart(table.name)
    folders = [
        path.name for path in subfolders(folder) if re.match("ham10000_images", path.name, re.IGNORECASE)
    ]
    for line in read_lines(table, _HAM, "image_id"):
        inside = next((name for name in folders if _holds(folder / name, line["image_id"])), "")
        image = photographs.path(line["image_id"], line.origin, inside)
        part.add(
            {"image": image, "label": _named(line, "dx"), "patient": line["lesion_id"] or None}, line.origin
        )
    return joined([part])


def _ham_table(folder: Path) -> Path | None:
    return table_named(folder, r"HAM10000_metadata(\.csv|\.tab)?", _HAM)


def _holds(folder: Path, name: str) -> bool:
    """Whether a folder has a photograph; copies of the set repeat the folders in lower case inside of others."""
    return (folder / f"{name}.jpg").is_file()


# --- ISIC challenges --------------------------------------------------------------------------------------------------


def is_isic_2018(folder: Path) -> bool:
    """``ISIC2018_Task3_Training_GroundTruth.csv``, also in a folder of that name."""
    return _truth(folder, "ISIC2018_Task3", "Training", _CLASSES_2018) is not None


def read_isic_2018(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads task 3 of ISIC 2018: diagnoses, the lesion as ``patient`` where it is published, and the challenge's split.

    Raises:
        InputError: a row does not name exactly one diagnosis.
    """
    return _challenge(folder, "ISIC2018_Task3", _CLASSES_2018)


def is_isic_2019(folder: Path) -> bool:
    """``ISIC_2019_Training_GroundTruth.csv``, also in a folder of that name."""
    return _truth(folder, "ISIC_2019", "Training", _CLASSES_2019) is not None


def read_isic_2019(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads ISIC 2019: eight diagnoses, the lesion as ``patient`` where the metadata name it.

    Test images are read where their diagnoses are there; those of a class that training does not have (``UNK``) are left
    out.

    Raises:
        InputError: a row does not name exactly one diagnosis.
    """
    return _challenge(folder, "ISIC_2019", _CLASSES_2019)


def _challenge(folder: Path, name: str, classes: Sequence[str]) -> LayoutRows:
    photographs, parts, unknown = Photographs(folder), [], 0
    lesions = _lesions(folder, name)
    for word, split in _PARTS.items():
        table = _truth(folder, name, word, classes)
        if table is None:
            continue
        part = GradedPart(table.name)
        for line in read_lines(table, ("image", *classes), "image"):
            label = _marked(line, (*classes, "UNK"))
            if label == "UNK":
                unknown += 1
                continue
            image = photographs.path(line["image"], line.origin, f"{name}_{word}_Input")
            patient = lesions.get(line["image"])
            part.add({"image": image, "label": label, "patient": patient, "split": split}, line.origin)
        parts.append(part)
    result = joined(parts)
    if unknown:
        result.notes.append(f"left out: {unknown} images of class UNK, which training does not have")
    if not lesions:
        result.notes.append(
            "no lesion ids: images of one lesion may be in two splits; add the table of lesion groupings or metadata"
        )
    return result


def _truth(folder: Path, name: str, word: str, classes: Sequence[str]) -> Path | None:
    """A table of diagnoses, beside the images or in a folder of its own name."""
    pattern = rf"{name}_{word}_GroundTruth\.csv"
    for place in (folder, *_folders(folder, rf"{name}_{word}_GroundTruth(\.csv)?")):
        if (table := table_named(place, pattern, ("image", *classes))) is not None:
            return table
    return None


def _lesions(folder: Path, name: str) -> Mapping[str, str]:
    """Lesions by image, from all tables of groupings or metadata that there are."""
    lesions: dict[str, str] = {}
    pattern = rf"{name}_\w+_(LesionGroupings|Metadata)\.csv"
    for place in (folder, *_folders(folder, rf"{name}_.*(GroundTruth|Metadata|LesionGroupings).*")):
        for entry in names_in(place):
            path = place / entry
            if re.fullmatch(pattern, entry, re.IGNORECASE) and {*_LESIONS} <= {*head_of(path)}:
                lines = read_lines(path, _LESIONS, "image")
                lesions |= {line["image"]: line["lesion_id"] for line in lines if line["lesion_id"]}
    return lesions


def _folders(folder: Path, pattern: str) -> list[Path]:
    return [path for path in subfolders(folder) if re.fullmatch(pattern, path.name, re.IGNORECASE)]


def _marked(line: Line, classes: Sequence[str]) -> str:
    """The one class whose cell is 1."""
    marked = [name for name in classes if line.get(name) in ("1", "1.0")]
    if len(marked) != 1:
        raise InputError(
            f"{line.origin}: {len(marked)} diagnoses are marked with 1", "mark exactly one, or delete the row"
        )
    return marked[0]


# --- PAD-UFES-20 ------------------------------------------------------------------------------------------------------


def is_pad_ufes_20(folder: Path) -> bool:
    """``metadata.csv`` with ``patient_id``, ``lesion_id``, ``diagnostic`` and ``img_id``."""
    return table_named(folder, r"metadata\.csv", _PAD) is not None


def read_pad_ufes_20(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads PAD-UFES-20: the diagnosis of each photograph, and its patient. There is no published split.

    Raises:
        InputError: a diagnosis is blank, or a column is missing.
    """
    table = table_named(folder, r"metadata\.csv", _PAD)
    assert table is not None
    photographs, part = Photographs(folder), GradedPart(table.name)
    for line in read_lines(table, _PAD, "img_id"):
        image = photographs.path(line["img_id"], line.origin)
        part.add(
            {"image": image, "label": _named(line, "diagnostic"), "patient": line["patient_id"] or None},
            line.origin,
        )
    return joined([part], [photographs])


def _named(line: Line, column: str) -> str:
    if not line[column]:
        raise InputError(f"{line.origin}: '{column}' is blank", "fill in the cell or delete the row")
    return line[column]
