"""CheXpert, and MIMIC-CXR-JPG with its reports: the same labeller, the same uncertainty."""

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
from modicum.data.layouts.public.rows import Found, Row
from modicum.data.manifest import LABELS_PREFIX
from modicum.errors import InputError
from modicum.wording import count_of

_PARTS = {"train": "train", "valid": "val", "test": "test"}
_MIMIC = "mimic-cxr-2.0.0-"
_MIMIC_SPLITS = {"train": "train", "validate": "val", "test": "test"}


def is_chexpert(folder: Path) -> bool:
    """``train.csv`` or ``valid.csv`` with ``Path`` and the findings."""
    return table_named(folder, r"(train|valid)\.csv", ("Path", "Atelectasis")) is not None


def read_chexpert(folder: Path, options: LayoutOptions) -> Found:
    """CheXpert, whole or small: ``train.csv``, ``valid.csv`` (val) and, where it is there, ``test.csv``.

    Raises:
        InputError: a column is missing, or a value makes no sense.
    """
    findings = chosen_findings(options)
    found = Found([], [policy_note(findings, options)])
    others = 0
    for part, split in _PARTS.items():
        table = inside(folder, rf"{part}\.csv")
        if table is None:
            continue
        for line in read_lines(table, ["Path", *findings], "Path"):
            path = _below(folder, line["Path"])
            view = line.get("Frontal/Lateral") or ("lateral" if "lateral" in path.name else "frontal")
            if not is_wanted(view, options):
                others += 1
                continue
            whose = re.search(r"(patient\w+)/(study\w+)", line["Path"])
            row: Row = {"image": path, "view": line.get("AP/PA") or view, "split": split}
            row |= {"patient": whose[1], "study": whose[2]} if whose else {}
            found.rows.append(row | _values(line, findings, options))
            found.places.append(line.place)
    if others:
        found.notes.append(f"left out: {count_of(others, 'image')} of other views than {options.views}")
    return found


def _below(folder: Path, text: str) -> Path:
    """A table's path; it begins with the data set's folder, which may be this one or one below."""
    text = text.replace("\\", "/")
    first, _, rest = text.partition("/")
    if first.lower().startswith("chexpert") and not (folder / first).is_dir():
        return folder / rest
    return folder / text


def _values(line: Line, findings: list[str], options: LayoutOptions) -> Row:
    return {LABELS_PREFIX + name: finding_value(line[name], name, line.place, options) for name in findings}


def is_mimic(folder: Path) -> bool:
    """``mimic-cxr-2.0.0-metadata.csv``, zipped or not."""
    return inside(folder, rf"{_MIMIC}metadata\.csv(\.gz)?") is not None


def read_mimic(folder: Path, options: LayoutOptions) -> Found:
    """MIMIC-CXR-JPG: images by its metadata, findings and split by theirs, reports as files of their own.

    Reports are looked for below the data set, below ``mimic-cxr-reports`` and below ``reports``.

    Raises:
        InputError: a column is missing, or a value makes no sense.
    """
    findings = chosen_findings(options)
    studies = _by(folder, "chexpert", "study_id", findings)
    splits = _by(folder, "split", "dicom_id", ["split"])
    found = Found(
        [], [policy_note(findings, options)] if studies else ["no findings: their table is not there"]
    )
    others = unreported = 0
    metadata = inside(folder, rf"{_MIMIC}metadata\.csv(\.gz)?")
    for line in read_lines(metadata, ["dicom_id", "subject_id", "study_id"], "dicom_id") if metadata else []:
        view = line.get("ViewPosition")
        if not is_wanted(view, options):
            others += 1
            continue
        subject, study = line["subject_id"], line["study_id"]
        place = Path("files", f"p{subject[:2]}", f"p{subject}", f"s{study}")
        report = _report(folder, place.with_suffix(".txt"))
        unreported += report is None
        row: Row = {
            "image": folder / place / f"{line['dicom_id']}.jpg",
            "patient": subject,
            "study": study,
            "view": view or None,
            "report": report.relative_to(folder).as_posix() if report else None,
            "split": _split(splits.get(line["dicom_id"])),
        }
        if study in studies:
            row |= _values(studies[study], findings, options)
        found.rows.append(row)
        found.places.append(line.place)
    if others:
        found.notes.append(f"left out: {count_of(others, 'image')} of other views than {options.views}")
    if unreported:
        found.notes.append(f"{count_of(unreported, 'image')} without a report")
    return found


def _by(folder: Path, name: str, key: str, required: list[str]) -> dict[str, Line]:
    table = inside(folder, rf"{_MIMIC}{name}\.csv(\.gz)?")
    return {line[key]: line for line in read_lines(table, [key, *required], key)} if table else {}


def _split(line: Line | None) -> str | None:
    if line is None:
        return None
    if line["split"] not in _MIMIC_SPLITS:
        raise InputError(
            f"{line.place}: split '{line['split']}' is not known", "write train, validate or test"
        )
    return _MIMIC_SPLITS[line["split"]]


def _report(folder: Path, place: Path) -> Path | None:
    choices = (folder / base / place for base in ("", "mimic-cxr-reports", "reports"))
    return next((path for path in choices if path.is_file()), None)
