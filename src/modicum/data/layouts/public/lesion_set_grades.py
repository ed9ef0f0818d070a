"""Grades of the sets that have lesion masks too, each in a part of its own: IDRiD and DDR."""

import re
from pathlib import Path

from modicum.data.layouts.columns import split_of
from modicum.data.layouts.public.chest_tables import read_lines, table_named
from modicum.data.layouts.public.contents import inside
from modicum.data.layouts.public.graded_rows import GRADES, GradedPart, Photographs, grade_of, joined
from modicum.data.layouts.public.lesions import DDR_GRADING, IDRID_GRADING, IDRID_IMAGES, IDRID_PARTS
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import LayoutRows
from modicum.data.table_cells import read_text
from modicum.errors import InputError
from modicum.wording import count_of, listed

_IDRID_TRUTH = r"(2\. ?)?groundtruths?"
_IDRID_TABLES = {"train": r".*training.*\.csv", "test": r".*testing.*\.csv"}
_IDRID_COLUMNS = ("Image name", "Retinopathy grade")
_EDEMA = "Risk of macular edema"
_DDR_PARTS = ("train", "valid", "test")
_UNGRADABLE = "5"


def is_idrid_grading(folder: Path) -> bool:
    """``1. Original Images`` and a table with ``Retinopathy grade`` in ``2. Groundtruths``, in ``B. Disease Grading``."""
    base = inside(folder, IDRID_GRADING) or folder
    truth = inside(base, _IDRID_TRUTH)
    if inside(base, IDRID_IMAGES) is None or truth is None:
        return False
    return any(table_named(truth, name, _IDRID_COLUMNS) for name in _IDRID_TABLES.values())


def read_idrid_grading(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads the grades of IDRiD: 413 training and 103 test images, the grade and the risk of macular edema (0 to 2).

    Both parts count from ``IDRiD_001``, so that an image is looked for in the folder of its own part. Patients and eyes
    are not published.

    Raises:
        InputError: a grade is not in 0..4.
    """
    base = inside(folder, IDRID_GRADING) or folder
    truth = inside(base, _IDRID_TRUTH) or base
    parts, everything = [], []
    for split, pattern in _IDRID_TABLES.items():
        images = inside(base, IDRID_IMAGES, IDRID_PARTS[split]) or base / "1. Original Images" / split
        photographs = Photographs(images)
        everything.append(photographs)
        table = table_named(truth, pattern, _IDRID_COLUMNS)
        if table is None:
            continue
        part = GradedPart(table.name)
        for line in read_lines(table, _IDRID_COLUMNS, _IDRID_COLUMNS[0]):
            part.add(
                {
                    "image": photographs.path(line["Image name"], line.origin),
                    "label": grade_of(line["Retinopathy grade"], line.origin),
                    "macular_edema_risk": line.get(_EDEMA) or None,
                    "split": split,
                },
                line.origin,
            )
        parts.append(part)
    return joined(parts, everything)


def is_ddr_grading(folder: Path) -> bool:
    """``train.txt`` (``valid.txt``, ``test.txt``) beside a folder of that name, in ``DR_grading``."""
    base = _ddr_base(folder)
    return base is not None and any(inside(base, part) and inside(base, f"{part}.txt") for part in _DDR_PARTS)


def read_ddr_grading(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads the grades of DDR from its lists; images of grade 5, ungradable, are left out.

    Patients and eyes are not published.

    Raises:
        InputError: a line is not a name and a grade of 0 to 5.
    """
    base = _ddr_base(folder) or folder
    parts, everything = [], []
    ungradable: list[str] = []
    for name in _DDR_PARTS:
        photographs = Photographs(inside(base, name) or base / name)
        everything.append(photographs)
        path = inside(base, f"{name}.txt")
        if path is None:
            continue
        part = GradedPart(path.name)
        for number, line in enumerate(read_text(path)[0].splitlines(), start=1):
            origin = f"{path.name} row {number}"
            if not line.strip():
                continue
            file, grade = _ddr_line(line.strip(), origin)
            image = photographs.path(file, origin)
            if grade == _UNGRADABLE:
                ungradable.append(file)
            else:
                part.add({"image": image, "label": grade_of(grade, origin), "split": split_of(name)}, origin)
        parts.append(part)
    result = joined(parts, everything)
    if ungradable:
        result.notes.append(
            f"left out: {count_of(len(ungradable), 'ungradable image')}, of grade {_UNGRADABLE} ({listed(ungradable)})"
        )
    return result


def _ddr_base(folder: Path) -> Path | None:
    """``DR_grading``; by name, as lists beside folders of their names are not DDR's alone."""
    base = inside(folder, DDR_GRADING)
    named = re.fullmatch(DDR_GRADING, folder.absolute().name, re.IGNORECASE)
    return base if base is not None else folder if named else None


def _ddr_line(text: str, origin: str) -> tuple[str, str]:
    match = re.fullmatch(r"(.+?)[\s,]+(\d+)", text)
    if match is None or match[2] not in (*GRADES, _UNGRADABLE):
        raise InputError(
            f"{origin}: '{text}' is not a name and a grade of 0 to 5",
            "write for instance '007-0004-000.jpg 0'",
        )
    return match[1], match[2]
