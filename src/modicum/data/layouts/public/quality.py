"""Sets with grades of image quality: OCTA-25K (angiograms of 3 x 3 and 6 x 6 mm) and EyeQ (fundus photographs)."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modicum.data.layouts.columns import split_of
from modicum.data.layouts.file_finder import without_ending
from modicum.data.layouts.folder_tables import head_of
from modicum.data.layouts.public.chest_tables import read_lines, table_named
from modicum.data.layouts.public.contents import any_name, images_in, names_in, subfolders
from modicum.data.layouts.public.graded_rows import GradedPart, Photographs, grade_of, joined
from modicum.data.layouts.public.options import QUALITIES, LayoutOptions
from modicum.data.layouts.public.rows import LayoutRows, Row
from modicum.errors import InputError
from modicum.wording import listed

WORDS = {"ungradable": "0", "gradable": "1", "outstanding": "2", "best": "2"}
CODES = {**WORDS, "0": "0", "1": "1", "2": "2"}
_MEANING = "grades: 0 ungradable, 1 gradable, 2 outstanding"
_SET = re.compile(r"octa", re.IGNORECASE)
_FIELDS = re.compile(r"(3|6)\s*(?:mm)?\s*[x*]\s*\1", re.IGNORECASE)
_TABLE, _COLUMNS = r".*\.csv", ("name", "label")
_EXTERNAL = re.compile(r"external.*", re.IGNORECASE)

EYEQ_COLUMNS = ("image", "quality", "DR_grade")
_EYEQ = {"train": r"label_eyeq_train\.csv", "test": r"label_eyeq_test\.csv"}
_EYE = r"(.+)_(left|right)"


@dataclass(frozen=True)
class _Place:
    """A folder of images of one grade or with a table, with what the folders above it say."""

    folder: Path
    split: str | None
    domain: str | None


def is_octa_25k(folder: Path) -> bool:
    """Folders of grades (by words; by 0, 1, 2 where a folder is called OCTA), or a table ``name,label``.

    The layout of the archive could not be looked at: what its description and its code say is accepted.
    """
    return any(_grade_folders(place) or _table(place) is not None for place in _places(folder))


def _places(folder: Path) -> Iterator[_Place]:
    """A folder, the splits in it, the sets in it, and the splits in those."""
    for base in (folder, *(inner for inner in subfolders(folder) if _FIELDS.search(inner.name))):
        match = _FIELDS.search(base.name)
        domain = f"{match[1]}x{match[1]}" if match else None
        yield _Place(base, None, domain)
        for part in subfolders(base):
            if (split := split_of(part.name)) is not None:
                yield _Place(part, split, domain)
            elif _EXTERNAL.fullmatch(part.name):
                yield _Place(part, "test", f"{domain or 'octa'}, {part.name}")


def _called_octa(folder: Path) -> bool:
    return any(_SET.search(name) for name in folder.absolute().parts[-3:])


def _grade_folders(place: _Place) -> dict[str, Path]:
    """Folders of grades by name; empty where a folder has none."""
    found = {path.name.strip().lower(): path for path in subfolders(place.folder)}
    graded = {name: path for name, path in found.items() if name in CODES}
    by_words = {WORDS[name] for name in graded if name in WORDS}
    if len(by_words) >= 2 or (by_words and len(found) == 1):
        return found
    digits = {"0", "1", "2"} & set(graded)
    return found if len(digits) >= 2 and len(found) <= 4 and _called_octa(place.folder) else {}


def _table(place: _Place) -> Path | None:
    """A table of grades, to recognise a set by."""
    path = table_named(place.folder, _TABLE, _COLUMNS)
    if path is None:
        return None
    cells = {_plain(cell) for cell in head_of(path)["label"].dropna()}
    if not cells:
        return None
    return path if cells <= set(WORDS) or (cells <= set(CODES) and _called_octa(place.folder)) else None


def _plain(cell: object) -> str:
    return re.sub(r"\.0+$", "", str(cell)).strip().lower()


def read_octa_25k(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads graded angiograms: grade 0, 1 or 2, the split of the folders, and the field's side as domain.

    Raises:
        InputError: a folder or a label that is none of the grades, or no image.
    """
    rows: list[Row] = []
    origins: list[str] = []
    for place in _places(folder):
        further: Row = {"split": place.split, "domain": place.domain}
        for name, path in _grade_folders(place).items():
            images = images_in(path, deep=True)
            if name not in CODES:
                if images and split_of(name) is None and not _EXTERNAL.fullmatch(name):
                    raise InputError(
                        f"folder '{path.name}' in '{place.folder.name}' is none of the grades {listed(WORDS)}, 0, 1, 2",
                        "rename or remove it",
                    )
                continue
            rows += [{"image": image, "label": CODES[name], **further} for image in images]
            origins += [f"folder '{path.name}'"] * len(images)
        table = table_named(place.folder, _TABLE, _COLUMNS)
        if table is not None and not _grade_folders(place):
            found = _rows_of_table(place, table, further)
            rows += [row for row, _ in found]
            origins += [origin for _, origin in found]
    if not rows and any_name(folder, r".*\.xlsx"):
        raise InputError(
            f"labels of '{folder.name}' are in an Excel file", "save it as a CSV file: name,label"
        )
    if {row["split"] for row in rows} <= {"train", None}:
        for row in rows:
            row.pop("split", None)
    counts = Counter(str(row["label"]) for row in rows)
    said = ", ".join(f"{counts[grade]} of grade {grade}" for grade in ("0", "1", "2"))
    return LayoutRows(rows, [_MEANING, f"images: {said}"], origins)


def _rows_of_table(place: _Place, table: Path, further: Row) -> list[tuple[Row, str]]:
    photographs = Photographs(place.folder)
    found = []
    for line in read_lines(table, _COLUMNS, "name"):
        grade = _plain(line["label"])
        if grade and grade not in CODES:
            raise InputError(
                f"{line.origin}: label '{line['label']}' is none of {listed(WORDS)} (or 0, 1, 2)",
                "correct the row",
            )
        image = photographs.path(line["name"], line.origin)
        row: Row = {"image": image, "label": CODES.get(grade), **further}
        if further["split"] is None and "split" in line.cells:
            row["split"] = split_of(line["split"])
        found.append((row, line.origin))
    return found


def is_eyeq(folder: Path) -> bool:
    """``Label_EyeQ_train.csv`` or ``Label_EyeQ_test.csv`` with ``image``, ``quality`` and ``DR_grade``."""
    return any(table_named(folder, pattern, EYEQ_COLUMNS) is not None for pattern in _EYEQ.values())


def read_eyeq(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads EyeQ: quality (good, usable, reject) or grade of retinopathy, patient and eye by name; the split is EyeQ's.

    Raises:
        InputError: a quality that is none of 0, 1, 2, or a grade that is not in 0..4.
    """
    photographs, parts = Photographs(folder), []
    kept = set(options.qualities or QUALITIES)
    left = 0
    for split, pattern in _EYEQ.items():
        table = table_named(folder, pattern, EYEQ_COLUMNS)
        if table is None:
            continue
        part = GradedPart(table.name)
        for line in read_lines(table, EYEQ_COLUMNS, "image"):
            code = _plain(line["quality"])
            if code not in {"0", "1", "2"}:
                raise InputError(f"{line.origin}: quality is '{line['quality']}'", "write 0, 1 or 2")
            quality = QUALITIES[int(code)]
            if quality not in kept:
                left += 1
                continue
            whose = re.fullmatch(_EYE, without_ending(line["image"])[0], re.IGNORECASE)
            name = _as_stored(folder, line["image"])
            row: Row = {
                "image": photographs.path(name, line.origin, split),
                "label": quality if options.label == "quality" else grade_of(line["DR_grade"], line.origin),
                "patient": whose[1] if whose else None,
                "eye": whose[2][0].upper() if whose else None,
                "split": split,
            }
            part.add(row, line.origin)
        parts.append(part)
    result = joined(parts, [photographs] if options.qualities is None else [])
    meaning = "quality (good, usable, reject)" if options.label == "quality" else "grade of retinopathy"
    result.notes.append(f"labels are the {meaning}")
    if left:
        result.notes.append(f"left out: {left} images whose quality is not {listed(kept)}")
    return result


def _as_stored(folder: Path, name: str) -> str:
    """The name without its ending: EyeQ's tables say jpeg, and its own preparation writes png."""
    return without_ending(name)[0] if name not in names_in(folder) else name
