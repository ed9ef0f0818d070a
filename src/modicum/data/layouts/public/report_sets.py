"""Radiographs with reports or captions: Open-i's XML files, CheXpert Plus, PadChest, and tables of captions (ROCO)."""

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from modicum.data.layouts.public.chest_tables import Line, files_below, is_wanted, read_lines, table_named
from modicum.data.layouts.public.contents import inside, names_in
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import LayoutRows, Row
from modicum.data.manifest import LABELS_PREFIX
from modicum.errors import InputError, did_you_mean
from modicum.wording import count_of, listed

_SPLITS = {"train": "train", "valid": "val", "validation": "val", "val": "val", "test": "test"}

# --- Open-i -----------------------------------------------------------------------------------------------------------


def is_open_i(folder: Path) -> bool:
    """``ecgen-radiology`` with an XML file a report."""
    return _open_i_reports(folder) is not None


def _open_i_reports(folder: Path) -> Path | None:
    reports = inside(folder, "ecgen-radiology") or inside(folder, "nlmcxr_reports", "ecgen-radiology")
    has_files = reports is not None and any(name.endswith(".xml") for name in names_in(reports))
    return reports if has_files else None


def read_open_i(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads Indiana University's radiographs as Open-i gives them: an XML file a report, which names its images.

    Raises:
        InputError: a file is not XML, or declares entities.
    """
    reports = _open_i_reports(folder)
    assert reports is not None
    images = {path.stem: path for path in files_below(folder).values()}
    result = LayoutRows([], source=reports.name)
    without, lost = 0, []
    for name in sorted(names_in(reports), key=lambda n: (len(n), n)):
        if not name.endswith(".xml"):
            continue
        root = _parsed(reports / name)
        sections = [
            f"{str(part.get('Label')).upper()}: {' '.join((part.text or '').split())}"
            for part in root.iter("AbstractText")
            if part.get("Label") and (part.text or "").strip()
        ]
        names = [str(part.get("id")) for part in root.iter("parentImage")]
        without += not names
        study = next((str(part.get("id")) for part in root.iter("uId")), name.removesuffix(".xml"))
        for image in names:
            if image not in images:
                lost.append(name)
                continue
            problems = [part.text or "" for part in root.iter("major")]
            row: Row = {"image": images[image], "patient": study, "report": "\n".join(sections) or None}
            row["problems"] = ";".join(problems) or None
            result.rows.append(row)
            result.origins.append(name)
    if without:
        result.notes.append(f"left out: {count_of(without, 'report')} without an image")
    if lost:
        result.notes.append(f"left out: {count_of(len(lost), 'image')} that are not there ({listed(lost)})")
    if options.views != "all":
        result.notes.append("Open-i's XML files do not say views: all are kept")
    return result


def _parsed(path: Path) -> ElementTree.Element:
    text = path.read_bytes()
    if b"<!ENTITY" in text:  # which could unfold to gigabytes
        raise InputError(f"{path.name} declares entities", "take the file as Open-i gives it")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError:
        raise InputError(f"{path.name} is not XML", "copy it again, or remove it") from None


# --- CheXpert Plus ----------------------------------------------------------------------------------------------------

_PLUS = ("path_to_image", "section_findings", "section_impression")


def is_chexpert_plus(folder: Path) -> bool:
    """``df_chexpert_plus*.csv``."""
    return _plus_table(folder) is not None


def _plus_table(folder: Path) -> Path | None:
    return table_named(folder, r"df_chexpert_plus.*\.csv", _PLUS)


def read_chexpert_plus(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads CheXpert Plus: images (JPEG or PNG), findings and impression of their reports, patients, and its split.

    Raises:
        InputError: a column is missing, or a split is unknown.
    """
    table = _plus_table(folder)
    assert table is not None
    result = LayoutRows([], source=table.name)
    num_others = 0
    for line in read_lines(table, _PLUS, "path_to_image"):
        view = line.get("ap_pa") or line.get("frontal_lateral")
        if not is_wanted(line.get("frontal_lateral") or view, options):
            num_others += 1
            continue
        sections = [f"{n.upper()}: {t}" for n in ("findings", "impression") if (t := line[f"section_{n}"])]
        row: Row = {
            "image": _plus_image(folder, line["path_to_image"]),
            "patient": line.get("deid_patient_id") or None,
            "view": view or None,
            "report": "\n".join(sections) or line.get("report") or None,
            "split": _split(line),
        }
        result.rows.append(row)
        result.origins.append(line.origin.removeprefix(f"{result.source} "))
        if not line.is_utf8:
            result.not_utf8.add(result.origins[-1])
    if num_others:
        result.notes.append(f"left out: {count_of(num_others, 'image')} of other views than {options.views}")
    return result


def _plus_image(folder: Path, text: str) -> Path:
    """The image of a row: JPEG as named, or PNG, also in the folder ``PNG`` of the release."""
    named = Path(text.replace("\\", "/"))
    choices = [
        base / path for path in (named, named.with_suffix(".png")) for base in (folder, folder / "PNG")
    ]
    return next((path for path in choices if path.is_file()), choices[0])


def _split(line: Line) -> str | None:
    word = line.get("split").lower()
    if word and word not in _SPLITS:
        raise InputError(f"{line.origin}: unknown split '{word}'", f"use {', '.join(_SPLITS)}")
    return _SPLITS.get(word)


# --- PadChest ---------------------------------------------------------------------------------------------------------

_PADCHEST = ("ImageID", "PatientID", "Labels", "Report")


def is_padchest(folder: Path) -> bool:
    """A table ``PADCHEST*.csv``, zipped or not."""
    return table_named(folder, r"padchest.*\.csv(\.gz)?", _PADCHEST) is not None


def read_padchest(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads PadChest: labels, which are written as Python lists, and Spanish reports as they are.

    All labels that occur become findings, or those of the option ``findings``. A row without labels is unknown.

    Raises:
        InputError: a column is missing, a cell of labels is not a list, or a finding does not occur.
    """
    table = table_named(folder, r"padchest.*\.csv(\.gz)?", _PADCHEST)
    assert table is not None
    result = LayoutRows([], source=table.name)
    files, lines, num_others = files_below(folder), [], 0
    for line in read_lines(table, _PADCHEST, "ImageID"):
        if is_wanted(line.get("Projection").replace("_", " "), options):
            lines.append(line)
        else:
            num_others += 1
    labels = [_labels(line) for line in lines]
    every = sorted({name for names in labels for name in names or ()})
    for name in options.findings or ():
        if name not in every:
            raise InputError(f"layout option findings: unknown finding '{name}'", did_you_mean(name, every))
    chosen: Sequence[str] = options.findings or every
    for line, names in zip(lines, labels, strict=True):
        name = line["ImageID"]
        row: Row = {
            "image": files.get(name, folder / line.get("ImageDir") / name),
            "patient": line["PatientID"] or None,
            "study": line.get("StudyID") or None,
            "view": line.get("Projection") or None,
            "report": line["Report"] or None,
        }
        findings = {finding: None if names is None else float(finding in names) for finding in chosen}
        result.rows.append(row | {LABELS_PREFIX + finding: value for finding, value in findings.items()})
        result.origins.append(line.origin.removeprefix(f"{result.source} "))
        if not line.is_utf8:
            result.not_utf8.add(result.origins[-1])
    if num_others:
        result.notes.append(f"left out: {count_of(num_others, 'image')} of other views than {options.views}")
    return result


def _labels(line: Line) -> set[str] | None:
    """The labels of a row; None where it has none, as blank entries say nothing."""
    cell = line["Labels"]
    if cell.lower() in ("", "nan"):
        return None
    try:
        values = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        values = None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InputError(
            f"{line.origin}: 'Labels' is not a list",
            "write for instance ['cardiomegaly', 'pleural effusion']",
        )
    return {" ".join(value.split()) for value in values if value.strip()} or None


# --- tables of captions -----------------------------------------------------------------------------------------------

_CAPTIONS = r"(?:radiology)?(train|valid|validation|val|test)(?:data|_captions|_caption)?\.csv"
_NAME, _CAPTION = ("name", "id", "image", "image_id", "file", "filename"), ("caption", "captions", "text")


def is_captions(folder: Path) -> bool:
    """A table for each split (``train_captions.csv``, ``radiologytraindata.csv``) with names and captions (ROCO)."""
    return any(_caption_columns(path) is not None for path, _ in _caption_tables(folder))


def _caption_tables(folder: Path) -> list[tuple[Path, str]]:
    matches = [(name, re.fullmatch(_CAPTIONS, name, re.IGNORECASE)) for name in names_in(folder)]
    return [(folder / name, _SPLITS[match[1].lower()]) for name, match in matches if match]


def _caption_columns(path: Path) -> tuple[str, str] | None:
    """The columns of names and captions; None where the table has not both."""
    from modicum.data.layouts.table import table_columns

    columns = {str(column).strip().lower(): str(column).strip() for column in table_columns(path)}
    name = next((columns[n] for n in _NAME if n in columns), None)
    caption = next((columns[n] for n in _CAPTION if n in columns), None)
    return None if name is None or caption is None else (name, caption)


def read_captions(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads images with a caption each, of one table a split. Images are found by name, with or without their suffix.

    Raises:
        InputError: a table cannot be read.
    """
    files = files_below(folder)
    by_stem = {path.stem: path for path in files.values()}
    result = LayoutRows([])
    for table, split in _caption_tables(folder):
        columns = _caption_columns(table)
        if columns is None:
            result.notes.append(f"left out: {table.name}, which has no captions")
            continue
        for line in read_lines(table, columns, columns[0]):
            name = Path(line[columns[0]].replace("\\", "/")).name
            image = files.get(name) or by_stem.get(Path(name).stem) or by_stem.get(name) or folder / name
            result.rows.append({"image": image, "report": line[columns[1]] or None, "split": split})
            result.origins.append(line.origin)
            if not line.is_utf8:
                result.not_utf8.add(line.origin)
    return result
