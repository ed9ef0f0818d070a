"""Finds the files that tables, split lists and layouts mean, although the names are not written alike.

Tables name images without the ending of their format (``id_code``), ``.PNG`` where the file is called ``.png``, or an
``é`` of one character where the file system keeps two (NFC and NFD), ``%20`` for a blank, or ``7`` for ``007.png``, whose
zeros a spreadsheet took for nothing.
"""

import difflib
import os
import unicodedata
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from modicum.data.manifest import Manifest, path_columns, split_reference, text_column
from modicum.data.readers.content import SUFFIX_FORMATS, format_of_name
from modicum.errors import InputError
from modicum.wording import count_of, listed

# Folders that hold what lies beside images: an image whose file is missing is not its own mask.
_BESIDE = (
    *("mask", "label", "annotation", "segmentation", "seg", "groundtruth", "ground_truth", "gt"),
    *("roi", "fov", "target", "saliency", "boxes"),
)
_MOST_COMPARED = 20_000
_MOST_DIGITS = 18


def comparable(name: str) -> str:
    """A name as names are compared: composed characters (NFC), no upper case, forward slashes."""
    return unicodedata.normalize("NFC", name.replace("\\", "/")).casefold()


def without_ending(name: str) -> tuple[str, str]:
    """A name without the ending of an image format, and the format; the name itself and ``""`` where it has none.

    >>> without_ending("scan.1.nii.gz")
    ('scan.1', 'nifti')
    """
    for suffix, form in SUFFIX_FORMATS.items():
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)], form
    return name, ""


class FileFinder:
    """Files by what they may be called.

    Args:
        paths: relative to one folder, with forward slashes.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = list(dict.fromkeys(paths))
        self.by_stem: dict[str, list[str]] = {}
        for path in self.paths:
            name = comparable(path.rpartition("/")[2])
            stem = without_ending(name)[0]
            self.by_stem.setdefault(stem, []).append(path)
            if format_of_name(Path(name)) == "other":
                self.by_stem.setdefault(name.rpartition(".")[0], []).append(path)
        self._by_number: dict[int, list[str]] | None = None

    @classmethod
    def below(cls, folder: Path) -> "FileFinder":
        """Of all files below a folder, hidden ones excepted."""
        paths = []
        for here, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            paths += [
                Path(here, name).relative_to(folder).as_posix()
                for name in sorted(names)
                if not name.startswith(".")
            ]
        return cls(paths)

    def find(self, text: str) -> list[str]:
        """The files that a text names, by their path or the end of it: none, one, or several that fit equally well.

        An ending may be left out, and be written otherwise as long as it is of the same format (``.JPG``, ``.jpeg``).
        """
        matches = self._find(text)
        return matches if matches or "%" not in text else self._find(unquote(text))

    def find_number(self, text: str) -> list[str]:
        """The files whose names are the same whole number as a text, with more or fewer zeros in front."""
        if self._by_number is None:
            self._by_number = {}
            for stem, paths in self.by_stem.items():
                if stem.isascii() and stem.isdecimal() and len(stem) <= _MOST_DIGITS:
                    readable = [path for path in paths if format_of_name(Path(path)) not in ("other", "npz")]
                    self._by_number.setdefault(int(stem), []).extend(readable)
        stem, form = without_ending(comparable(text))
        if not (stem.isascii() and stem.isdecimal() and len(stem) <= _MOST_DIGITS):
            return []
        paths = self._by_number.get(int(stem), [])
        return [path for path in paths if form in ("", without_ending(comparable(path))[1])]

    def _find(self, text: str) -> list[str]:
        wanted, form = without_ending(comparable(text).removeprefix("./"))
        matches = []
        for path in self.by_stem.get(wanted.rpartition("/")[2], ()):
            stem, is_form = without_ending(comparable(path))
            readable = format_of_name(Path(path)) not in ("other", "npz")
            if readable and (stem == wanted or stem.endswith("/" + wanted)) and form in ("", is_form):
                matches.append(path)
        for fits in (
            lambda path: text in (path, without_ending(path)[0]),
            lambda path: path.endswith("/" + text),
            lambda path: comparable(path) == comparable(text),
            lambda path: without_ending(comparable(path))[0] == wanted,
            lambda path: comparable(path).endswith("/" + comparable(text)),
        ):
            better = [path for path in matches if fits(path)]
            if len(better) == 1:
                return better
        return matches

    def near(self, text: str) -> str | None:
        """The file whose name comes nearest to that of a text, if any does."""
        name = comparable(text).rpartition("/")[2]
        stem = without_ending(name)[0]
        same = self.by_stem.get(stem) or self.by_stem.get(stem.rpartition(".")[0])
        if same:
            return same[0]
        close = difflib.get_close_matches(stem, islice(self.by_stem, _MOST_COMPARED), n=1, cutoff=0.8)
        return self.by_stem[close[0]][0] if close else None


def find_files(manifest: Manifest) -> Manifest:
    """References whose file is not there, but is found under a name that differs only in how it is written.

    Nothing is looked for while all files are there. Found files are noted; what is not found stays as it is.

    Raises:
        InputError: several files could be meant.
    """
    finder: FileFinder | None = None
    table, notes = manifest.table, list(manifest.notes)
    for column in path_columns(table):
        texts = table[column].tolist()
        changed: list[str] = []
        for row, text in enumerate(texts):
            file, fragment = ("", "") if isinstance(text, float) else split_reference(text)
            if not file or Path(file).is_absolute() or (manifest.root / file).exists():
                continue
            finder = finder or FileFinder.below(manifest.root)
            matches = finder.find(file) or finder.find_number(file)
            matches = [path for path in matches if _may_be(column, path, file)]
            if len(matches) > 1:
                raise InputError(
                    f"{manifest.describe_row(row)}: {column} '{text}' is the name of several files ({listed(matches)})",
                    "write it with its folder and ending",
                )
            if matches:
                texts[row] = matches[0] + fragment
                changed.append(f"'{text}' is '{matches[0]}'")
        if changed:
            table = table.assign(**{column: text_column(texts).to_numpy()})
            notes.append(
                f"column '{column}': {count_of(len(changed), 'file')} found under a name that is written otherwise "
                f"({changed[0]})"
            )
    return Manifest(
        table, manifest.root, manifest.source, manifest.name, notes, manifest.origins, manifest.not_utf8
    )


def _may_be(column: str, path: str, text: str) -> bool:
    """Whether a file may be what a column asks for, by the folders that the text does not name."""
    unnamed = path.split("/")[: -1 - text.count("/")]
    beside = any(
        word.rstrip("s") in _BESIDE or word.startswith("mask") for word in map(str.casefold, unnamed)
    )
    return not beside if column == "image" else beside or not unnamed


def near_matches(manifest: Manifest, names: Iterable[str]) -> str:
    """The end of a message, ``; 'a.jpg' is there, did you mean it?``, for the first of some names with a near match.

    Empty where none has one.
    """
    finder = FileFinder.below(manifest.root)
    near = (finder.near(name) for name in islice(names, 3))
    nearest = next(filter(None, near), None)
    if nearest is None:
        return ""
    unread = format_of_name(Path(nearest)) in ("other", "npz")
    return f"; '{nearest}' is there, " + (
        "of a format that is not read: convert it" if unread else "did you mean it?"
    )


def shares_found(finder: FileFinder, cells: Iterable[str]) -> float:
    """The share of cells that name a file."""
    hits = [bool(finder.find(cell)) for cell in cells]
    return float(np.mean(hits)) if hits else 0.0
