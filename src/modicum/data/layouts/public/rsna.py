"""RSNA Pneumonia: one row per box, several boxes per patient."""

from pathlib import Path

import numpy as np

from modicum.data.boxes.given import GivenBoxes, edges_of
from modicum.data.layouts.public.chest_tables import Line, read_lines, table_named
from modicum.data.layouts.public.contents import images_in, inside, stem_of
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import LayoutRows, Row
from modicum.errors import InputError

_BOX = ("x", "y", "width", "height")
_COLUMNS = ("patientId", *_BOX, "Target")


def is_rsna(folder: Path) -> bool:
    """``stage_2_train_labels.csv`` with boxes."""
    return _table(folder) is not None


def read_rsna(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads RSNA Pneumonia: label 1 with one box or more, else 0; ``boxes`` are those of the image, perhaps none.

    Images of ``stage_2_test_images`` have no label; split lists may add it.

    Raises:
        InputError: a column is missing, or the rows of one image contradict each other.
    """
    table = _table(folder)
    images = {stem_of(path): path for path in _images(folder, "train")}
    rows: dict[str, Row] = {}
    origins: dict[str, str] = {}
    boxes: dict[str, list[list[float]]] = {}
    for line in read_lines(table, _COLUMNS, "patientId") if table else []:
        name, target = line["patientId"], _target(line)
        if name not in rows:
            image = images.get(name, folder / "stage_2_train_images" / f"{name}.dcm")
            rows[name] = {"image": image, "label": target, "patient": name}
            origins[name] = line.origin
            boxes[name] = []
        elif rows[name]["label"] != target:
            raise InputError(
                f"{line.origin}: Target {target} contradicts {origins[name]} of the same image",
                "correct or delete one of the two rows",
            )
        if target == "1":
            boxes[name].append(_box(line))
    for name, sides in boxes.items():
        numbers = np.array(sides, np.float64).reshape(len(sides), 4)
        rows[name]["boxes"] = GivenBoxes(edges_of(numbers, "xywh"), "pixels").to_cell()
    result = LayoutRows(list(rows.values()), origins=list(origins.values()))
    for path in _images(folder, "test"):
        result.rows.append({"image": path, "patient": stem_of(path)})
        result.origins.append(f"stage_2_test_images '{path.name}'")
    return result


def _table(folder: Path) -> Path | None:
    return table_named(folder, r"stage_[12]_train_labels\.csv", _COLUMNS)


def _images(folder: Path, part: str) -> list[Path]:
    base = inside(folder, rf"stage_[12]_{part}_images")
    return images_in(base) if base is not None else []


def _target(line: Line) -> str:
    if line["Target"] not in ("0", "1"):
        raise InputError(f"{line.origin}: Target is '{line['Target']}'", "write 1 or 0")
    return line["Target"]


def _box(line: Line) -> list[float]:
    try:
        sides = [float(line[name]) for name in _BOX]
    except ValueError:
        raise InputError(
            f"{line.origin}: its box is not four numbers", "fill in x, y, width and height"
        ) from None
    if min(sides[2:]) <= 0:
        raise InputError(f"{line.origin}: its box has no area", "correct its width and height")
    return sides
