"""Messidor-2: photographs and pairs as its publisher gives them, adjudicated grades as Google Brain does on Kaggle."""

from pathlib import Path

from modicum.data.layouts.file_finder import comparable, without_ending
from modicum.data.layouts.public.chest_tables import Line, read_lines
from modicum.data.layouts.public.graded_rows import GradedPart, Photographs, grade_of, joined, released_table
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import LayoutRows, Row
from modicum.errors import InputError
from modicum.wording import count_of, listed

_GRADES = r"messidor.*\.csv"
_COLUMNS = ("image_id", "adjudicated_dr_grade")
_PAIR = ("left", "right")
_UNGRADABLE = ("0", "0.0")


def is_messidor(folder: Path) -> bool:
    """``messidor_data.csv`` with ``image_id`` and ``adjudicated_dr_grade``, or ``messidor-2.csv`` with pairs."""
    return any(released_table(folder, _GRADES, columns) is not None for columns in (_COLUMNS, _PAIR))


def read_messidor(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads Messidor-2: adjudicated grades, macular edema (1 or 0), and of its pairs the patient and the eye.

    An examination is a photograph of each eye; ``messidor-2.csv`` (``left;right``) says which belong together, and the
    left one's name stands for the patient. Images that were judged ungradable are left out. There is no published split.

    Raises:
        InputError: a grade is not in 0..4, or an image is in two pairs.
    """
    photographs = Photographs(folder)
    pairs, pair_lines = _pairs(folder)
    table = released_table(folder, _GRADES, _COLUMNS)
    if table is None:
        part = GradedPart("the table of pairs")
        for line in pair_lines:
            for side in filter(line.get, _PAIR):
                image = photographs.path(line[side], line.origin, "IMAGES")
                part.add({"image": image, **pairs[_key(line[side])]}, line.origin)
        return joined([part], [photographs])
    part = GradedPart(table.name)
    ungradable, alone = [], []
    for line in read_lines(table, _COLUMNS, "image_id"):
        name = line["image_id"]
        image = photographs.path(name, line.origin, "IMAGES")
        if line.get("adjudicated_gradable") in _UNGRADABLE:
            ungradable.append(name)
            continue
        grade = grade_of(line["adjudicated_dr_grade"], line.origin)
        whose = pairs.get(_key(name), {})
        if not whose:
            alone.append(name)
        row: Row = {"image": image, "label": grade, "macular_edema": line.get("adjudicated_dme") or None}
        part.add(row | whose, line.origin)
    result = joined([part], [photographs])
    if ungradable:
        result.notes.append(
            f"left out: {count_of(len(ungradable), 'ungradable image')} ({listed(ungradable)})"
        )
    if not pairs:
        result.notes.append("patients and eyes are not known: they are in messidor-2.csv of the publisher")
    elif alone:
        result.notes.append(
            f"{count_of(len(alone), 'image')} without patient and eye: in no pair ({listed(alone)})"
        )
    return result


def _pairs(folder: Path) -> tuple[dict[str, Row], list[Line]]:
    """Patient and eye by image, and the lines of the table of pairs; nothing where there is none."""
    table = released_table(folder, _GRADES, _PAIR)
    lines = read_lines(table, _PAIR, "left") if table else []
    pairs: dict[str, Row] = {}
    for line in lines:
        patient = without_ending(line["left"])[0]
        for side in filter(line.get, _PAIR):
            key = _key(line[side])
            if key in pairs:
                raise InputError(
                    f"{line.origin}: '{line[side]}' is in another pair too",
                    "correct or delete one of the rows",
                )
            pairs[key] = {"patient": patient, "eye": side[0].upper()}
    return pairs, lines


def _key(name: str) -> str:
    return without_ending(comparable(name))[0]
