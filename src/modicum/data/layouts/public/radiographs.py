"""Radiographs with texts: the COVID-19 Image Data Collection, and Indiana University's (Open-i)."""

from pathlib import Path

from modicum.data.layouts.public.chest_tables import Line, files_below, is_wanted, read_lines, table_named
from modicum.data.layouts.public.contents import inside
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import LayoutRows, Row
from modicum.errors import InputError
from modicum.wording import count_of, listed

_COVID = ("patientid", "finding", "folder", "filename")
_PROJECTIONS = ("uid", "filename", "projection")
_REPORTS = ("uid", "findings", "impression")


def is_covid(folder: Path) -> bool:
    """``metadata.csv`` with patients, findings, folders and file names."""
    return table_named(folder, r"metadata\.csv", _COVID) is not None


def read_covid(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads the radiographs of the COVID-19 Image Data Collection, with clinical notes as reports.

    Labels come from the lists of a benchmark (see ``split_lists``); ``finding`` is the collection's own column.

    Raises:
        InputError: a column is missing.
    """
    table = table_named(folder, r"metadata\.csv", _COVID)
    result = LayoutRows([], source=table.name if table else "")
    num_others = 0
    for line in read_lines(table, _COVID, "filename") if table else []:
        if line.get("modality").lower() not in ("", "x-ray") or not is_wanted(line.get("view"), options):
            num_others += 1
            continue
        row: Row = {
            "image": folder / line["folder"] / line["filename"],
            "patient": line["patientid"] or None,
            "finding": line["finding"] or None,
            "view": line.get("view") or None,
            "report": line.get("clinical_notes") or None,
        }
        result.rows.append(row)
        result.origins.append(line.origin.removeprefix(f"{result.source} "))
        if not line.is_utf8:
            result.not_utf8.add(result.origins[-1])
    if num_others:
        result.notes.append(f"left out: {count_of(num_others, 'image')} of other modalities or views")
    return result


def is_indiana(folder: Path) -> bool:
    """``indiana_projections.csv`` and ``indiana_reports.csv``."""
    return all(inside(folder, rf"indiana_{name}\.csv") is not None for name in ("projections", "reports"))


def read_indiana(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads Indiana University's radiographs, with findings and impression as reports.

    Raises:
        InputError: a column is missing, two reports have the same id, or an image has none.
    """
    reports: dict[str, Line] = {}
    for line in _lines(folder, "reports", _REPORTS):
        if line["uid"] in reports:
            raise InputError(
                f"{line.origin}: report {line['uid']} is also in {reports[line['uid']].origin}",
                "keep one of them",
            )
        reports[line["uid"]] = line
    files = files_below(folder)
    result = LayoutRows([])
    num_other_views = 0
    lost: list[str] = []
    for line in _lines(folder, "projections", _PROJECTIONS):
        name, report = line["filename"], reports.get(line["uid"])
        if not is_wanted(line["projection"], options):
            num_other_views += 1
            continue
        if report is None:
            lost.append(line.origin)
        row: Row = {
            "image": files.get(name, folder / "images" / name),
            "patient": line["uid"],
            "view": line["projection"] or None,
            "report": report_text(report) if report else None,
            "problems": (report.get("Problems") or None) if report else None,
        }
        result.rows.append(row)
        result.origins.append(line.origin)
        if report is not None and not report.is_utf8:
            result.not_utf8.add(line.origin)
    if lost:
        result.notes.append(f"{count_of(len(lost), 'image')} without a report ({listed(lost)})")
    if num_other_views:
        result.notes.append(
            f"left out: {count_of(num_other_views, 'image')} of other views than {options.views}"
        )
    return result


def report_text(report: Line) -> str | None:
    """Findings and impression with their headings; None if there is neither."""
    sections = [f"{name.upper()}: {report[name]}" for name in ("findings", "impression") if report[name]]
    return "\n".join(sections) or None


def _lines(folder: Path, name: str, columns: tuple[str, ...]) -> list[Line]:
    path = inside(folder, rf"indiana_{name}\.csv")
    return read_lines(path, columns, "uid") if path is not None else []
