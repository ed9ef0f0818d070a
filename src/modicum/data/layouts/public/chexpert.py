"""CheXpert, and MIMIC-CXR-JPG with its reports: the same labeller, with uncertain findings."""

import re
from pathlib import Path

from modicum.data.layouts.public.chest_tables import (
    Line,
    chosen_findings,
    finding_value,
    is_wanted,
    policy_note,
    read_lines,
    table_named,
)
from modicum.data.layouts.public.contents import inside
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import LayoutRows, Row
from modicum.data.manifest import LABELS_PREFIX
from modicum.errors import InputError
from modicum.wording import count_of

_PARTS = {"train": "train", "valid": "val", "test": "test"}
_MIMIC = "mimic-cxr-2.0.0-"
_MIMIC_SPLITS = {"train": "train", "validate": "val", "test": "test"}


def is_chexpert(folder: Path) -> bool:
    """``train.csv`` or ``valid.csv`` with ``Path`` and the findings."""
    return table_named(folder, r"(train|valid)\.csv", ("Path", "Atelectasis")) is not None


def read_chexpert(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads CheXpert, full or small: ``train.csv``, ``valid.csv`` (val) and, if it exists, ``test.csv``.

    Raises:
        InputError: a column is missing, or a value is invalid.
    """
    findings = chosen_findings(options)
    result = LayoutRows([], [policy_note(findings, options)])
    num_other_views = 0
    for part, split in _PARTS.items():
        table = inside(folder, rf"{part}\.csv")
        if table is None:
            continue
        for line in read_lines(table, ["Path", *findings], "Path"):
            path = _below(folder, line["Path"])
            view = line.get("Frontal/Lateral") or ("lateral" if "lateral" in path.name else "frontal")
            if not is_wanted(view, options):
                num_other_views += 1
                continue
            whose = re.search(r"(patient\w+)/(study\w+)", line["Path"])
            row: Row = {"image": path, "view": line.get("AP/PA") or view, "split": split}
            row |= {"patient": whose[1], "study": whose[2]} if whose else {}
            result.rows.append(row | _values(line, findings, options))
            result.origins.append(line.origin)
    if num_other_views:
        result.notes.append(
            f"left out: {count_of(num_other_views, 'image')} of other views than {options.views}"
        )
    return result


def _below(folder: Path, text: str) -> Path:
    """A path in a table; it begins with the data set's folder, which may be this one or one below."""
    text = text.replace("\\", "/")
    first, _, rest = text.partition("/")
    if first.lower().startswith("chexpert") and not (folder / first).is_dir():
        return folder / rest
    return folder / text


def _values(line: Line, findings: list[str], options: LayoutOptions) -> Row:
    return {LABELS_PREFIX + name: finding_value(line[name], name, line.origin, options) for name in findings}


def is_mimic(folder: Path) -> bool:
    """``mimic-cxr-2.0.0-metadata.csv``, zipped or not."""
    return inside(folder, rf"{_MIMIC}metadata\.csv(\.gz)?") is not None


def read_mimic(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads MIMIC-CXR-JPG: images from the metadata, findings and splits from their tables, reports from files.

    Reports are searched in the data set, in ``mimic-cxr-reports`` and in ``reports``.

    Raises:
        InputError: a column is missing, or a value is invalid.
    """
    findings = chosen_findings(options)
    studies = _by(folder, "chexpert", "study_id", findings)
    splits = _by(folder, "split", "dicom_id", ["split"])
    result = LayoutRows(
        [], [policy_note(findings, options)] if studies else ["no findings: their table does not exist"]
    )
    num_other_views = unreported = 0
    metadata = inside(folder, rf"{_MIMIC}metadata\.csv(\.gz)?")
    for line in read_lines(metadata, ["dicom_id", "subject_id", "study_id"], "dicom_id") if metadata else []:
        view = line.get("ViewPosition")
        if not is_wanted(view, options):
            num_other_views += 1
            continue
        subject, study = line["subject_id"], line["study_id"]
        relative = Path("files", f"p{subject[:2]}", f"p{subject}", f"s{study}")
        report = _report(folder, relative.with_suffix(".txt"))
        unreported += report is None
        row: Row = {
            "image": folder / relative / f"{line['dicom_id']}.jpg",
            "patient": subject,
            "study": study,
            "view": view or None,
            "report": report.relative_to(folder).as_posix() if report else None,
            "split": _split(splits.get(line["dicom_id"])),
        }
        if study in studies:
            row |= _values(studies[study], findings, options)
        result.rows.append(row)
        result.origins.append(line.origin)
    if num_other_views:
        result.notes.append(
            f"left out: {count_of(num_other_views, 'image')} of other views than {options.views}"
        )
    if unreported:
        result.notes.append(f"{count_of(unreported, 'image')} without a report")
    return result


def _by(folder: Path, name: str, key: str, required: list[str]) -> dict[str, Line]:
    table = inside(folder, rf"{_MIMIC}{name}\.csv(\.gz)?")
    return {line[key]: line for line in read_lines(table, [key, *required], key)} if table else {}


def _split(line: Line | None) -> str | None:
    if line is None:
        return None
    if line["split"] not in _MIMIC_SPLITS:
        raise InputError(f"{line.origin}: unknown split '{line['split']}'", "write train, validate or test")
    return _MIMIC_SPLITS[line["split"]]


def _report(folder: Path, relative: Path) -> Path | None:
    choices = (folder / base / relative for base in ("", "mimic-cxr-reports", "reports"))
    return next((path for path in choices if path.is_file()), None)
