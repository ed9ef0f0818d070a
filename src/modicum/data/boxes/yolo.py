"""Boxes of YOLO's text files: ``class x_center y_center width height`` a line, in shares of the image."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from modicum.data.boxes.box_file import BoxFile
from modicum.data.boxes.given import GivenBoxes, edges_of
from modicum.data.boxes.options import BoxOptions
from modicum.data.table_cells import read_text
from modicum.errors import InputError
from modicum.wording import count_of, listed

CLASS_LIST = "classes.txt"
_DATA_FILES = ("data.yaml", "data.yml", "dataset.yaml")
# A centre, a width or a height of a rounded number may be a little over 1.
_LARGEST = 1.01
Names = dict[int, str]


def read_yolo_folder(folder: Path, options: BoxOptions) -> BoxFile:
    """Boxes of a folder of text files, or of one that has them in ``labels``; beside images in ``images``.

    Names of classes are those of ``classes.txt`` or ``data.yaml`` in the folder or above it, up to that of ``labels``.

    Raises:
        InputError: there are none, or a line is not a box.
    """
    labels = folder / "labels" if (folder / "labels").is_dir() else folder
    return _of_files(folder.name, [labels], options)


def read_yolo_data(path: Path, options: BoxOptions) -> BoxFile:
    """Boxes of the data set that a ``data.yaml`` describes: in ``labels`` where it names ``images``.

    Raises:
        InputError: it is no such file, there are no labels, or a line is not a box.
    """
    document = _yaml(path)
    root = path.parent / str(document.get("path") or "")
    folders: list[Path] = []
    for part in ("train", "val", "test"):
        given = document.get(part) or []
        for text in [given] if isinstance(given, str) else given:
            names = (root / str(text)).parts
            if "images" in names:
                last = len(names) - 1 - names[::-1].index("images")
                folders.append(Path(*names[:last], "labels"))
    folders = [one for one in dict.fromkeys([*folders, root / "labels"]) if one.is_dir()]
    if not folders:
        raise InputError(
            f"{path.name}: there is no folder 'labels' in '{root.name or path.parent.name}'",
            "give the folder of the text files",
        )
    return _of_files(path.name, folders, options, names_of_data(path))


def read_yolo_file(
    path: Path, options: BoxOptions, names: Names | None = None, place: str = ""
) -> GivenBoxes:
    """Boxes of one image.

    Args:
        path: the text file.
        options: how it is read; ``units`` and ``format`` are those of YOLO unless given.
        names: of the classes by their numbers; looked for beside the file where None is given.
        place: the file for messages; its name by default.

    Raises:
        InputError: a line is not a box, with its number.
    """
    place = place or path.name
    names = class_names_for(path.parent) if names is None else names
    numbers, lines, classes = [], [], []
    for line, text in enumerate(read_text(path)[0].splitlines(), start=1):
        words = text.split()
        if words:
            classes.append(_class(words[0], names, f"{place} line {line}"))
            numbers.append(_line(words, f"{place} line {line}"))
            lines.append(line)
    if len({len(row) for row in numbers}) > 1:
        raise InputError(f"{place}: some lines have a score and others none", "give one to each, or to none")
    table = np.array(numbers, np.float64).reshape(len(numbers), -1)
    boxes = table[:, :4] if len(numbers) else np.zeros((0, 4))
    if options.units != "pixels" and (over := np.flatnonzero((boxes > _LARGEST).any(axis=1))).size:
        raise InputError(
            f"{place} line {lines[over[0]]}: {boxes[over[0]].max():g} is no share of the image, as YOLO has them",
            "divide by the image's width and height, or pass --box-options units=pixels",
        )
    return GivenBoxes(
        edges_of(boxes, options.format or "cxcywh"),
        options.units or "normalised",
        tuple(classes),
        table[:, 4] if table.shape[1] == 5 else None,
        None,
        f"{place} line",
        tuple(lines),
    )


def class_names_for(folder: Path) -> Names:
    """Names of classes by their numbers, for the text files of a folder; empty where no file says them.

    Raises:
        InputError: two files beside each other say different ones.
    """
    parts = folder.absolute().parts
    # Beside the files, or above them up to the folder that holds 'labels'; else one folder up.
    above = parts[::-1].index("labels") if "labels" in parts else 0
    for place in [folder.absolute(), *folder.absolute().parents][: above + 2]:
        by_file: dict[str, Names] = {}
        if (place / CLASS_LIST).is_file():
            lines = read_text(place / CLASS_LIST)[0].rstrip().splitlines()
            by_file[CLASS_LIST] = {number: line.strip() for number, line in enumerate(lines)}
        for name in _DATA_FILES:
            if (place / name).is_file() and (names := names_of_data(place / name)):
                by_file[name] = names
        if len({tuple(sorted(names.items())) for names in by_file.values()}) > 1:
            raise InputError(
                f"{listed(by_file)} in '{place.name}' name different classes", "keep the one that is right"
            )
        if by_file:
            return next(iter(by_file.values()))
    return {}


def names_of_data(path: Path) -> Names:
    """The ``names`` of a ``data.yaml``, a list or a mapping from numbers; empty where it has none."""
    names = _yaml(path).get("names") or {}
    pairs = enumerate(names) if isinstance(names, list) else names.items() if isinstance(names, dict) else ()
    try:
        return {int(number): str(name) for number, name in pairs}
    except (TypeError, ValueError):
        raise InputError(f"{path.name}: its names are not numbered", "write 0: name, 1: name, ...") from None


def _of_files(name: str, folders: list[Path], options: BoxOptions, names: Names | None = None) -> BoxFile:
    files = {
        path: path.relative_to(folder).with_suffix("").as_posix()
        for folder in folders
        for path in sorted(folder.rglob("*.txt"))
        if path.name != CLASS_LIST
    }
    if not files:
        raise InputError(
            f"'{name}' holds no text files of boxes", "give the folder of the text files, 'labels' with YOLO"
        )
    names_of_folder = {folder: names or class_names_for(folder) for folder in {path.parent for path in files}}
    images, places = {}, {}
    for path, image in files.items():
        if image in images:
            raise InputError(f"{name}: two files are called '{image}.txt'", "give one of the folders")
        places[image] = f"{image}.txt"
        images[image] = read_yolo_file(path, options, names_of_folder[path.parent], places[image])
    notes = []
    if not all(names_of_folder.values()):
        notes = [f"{name}: no {CLASS_LIST} or data.yaml names the classes: their numbers are the names"]
    return BoxFile(name, images, places, [f"{name}: boxes of {count_of(len(images), 'text file')}", *notes])


def _line(words: list[str], place: str) -> list[float]:
    if len(words) not in (5, 6):
        kind = "an outline or a turned box" if len(words) > 6 else f"{len(words)} numbers"
        raise InputError(
            f"{place} is {kind}", "write class x_center y_center width height, and perhaps a score"
        )
    try:
        return [float(word) for word in words[1:]]
    except ValueError:
        raise InputError(f"{place}: '{' '.join(words[1:])}' are not numbers", "write numbers") from None


def _class(word: str, names: Names, place: str) -> str:
    if not word.isdigit():
        raise InputError(f"{place}: its class is '{word}'", "write the number of the class first, from 0")
    if not names:
        return str(int(word))
    if int(word) not in names:
        known_numbers = f"{min(names)} to {max(names)}"
        raise InputError(
            f"{place}: class {word} has no name (named are {known_numbers})", "add its name, or correct it"
        )
    return names[int(word)]


def _yaml(path: Path) -> dict[Any, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        raise InputError(f"{path.name} is not YAML", "see docs.ultralytics.com/datasets/detect") from None
    if not isinstance(document, dict):
        raise InputError(f"{path.name} is no table of settings", "see docs.ultralytics.com/datasets/detect")
    return document
