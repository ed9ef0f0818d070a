"""What a cell of labels holds: one label, several in a list or between separators, or no class at all."""

import ast
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence

import pandas as pd

from modicum.data.manifest import all_grades
from modicum.errors import InputError
from modicum.wording import listed

MARKS = ("|", ";", ",", "\t", "\n")
"""Separators of a column that is known to hold several labels a cell."""
_SIGNS = ("+", "/", "&", "\t", "\n")
"""Signs that may be part of a name: they separate where all that stands between them is a label by itself."""
_LIST = re.compile(r"\s*[\[({].*[\])}]\s*", re.DOTALL)
_CALL = re.compile(
    r"\s*(?:set|frozenset|list|tuple|(?:np\.|numpy\.)?array)\s*\((.*?)(?:,\s*dtype=[^()]*)?\)\s*", re.DOTALL
)
_QUOTED = re.compile(r"""'([^']*)'|"([^"]*)\"""")
_NUMBER = re.compile(r"[-+]?\d*[.,]?\d+([eE][-+]?\d+)?")
_FEWEST_ROWS, _MANY_CLASSES, _IMAGES_A_CLASS, _LONG_TEXT = 10, 15, 10, 5


def list_in(cell: str) -> list[str] | None:
    """The labels in a cell that is written as a list of Python, JSON or NumPy; None where it is none.

    >>> list_in("['pleural effusion', 'loc basal']"), list_in("['a' 'b']"), list_in("mass (left)")
    (['pleural effusion', 'loc basal'], ['a', 'b'], None)
    """
    call = _CALL.fullmatch(cell)
    if call is not None:  # set(), array(['a', 'b'], dtype=object)
        return list_in(call[1] if _LIST.fullmatch(call[1]) else f"[{call[1]}]")
    if not _LIST.fullmatch(cell):
        return None
    quoted = [first or second for first, second in _QUOTED.findall(cell)]
    try:
        read = ast.literal_eval(cell.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return quoted or None
    # Without commas between them, as NumPy writes arrays, Python joins texts.
    if not isinstance(read, list | tuple | set) or len(quoted) > len(read):
        return quoted or None
    if not all(isinstance(item, str | int | float) for item in read):
        return None
    words = [str(item).strip() for item in read]
    return [word for word in (sorted(words) if isinstance(read, set) else words) if word]


def words_of(cell: str, mark: str) -> list[str]:
    """The labels in a cell, in a list or between the mark."""
    inside = list_in(cell)
    return inside if inside is not None else [word.strip() for word in cell.split(mark) if word.strip()]


def mark_of(cells: pd.Series) -> str:
    """The separator of a column that is known to hold several labels a cell."""
    plain_cells = [cell for cell in cells.dropna() if list_in(cell) is None]
    return next((mark for mark in MARKS if any(mark in cell for cell in plain_cells)), ";")


def several_labels(cells: pd.Series, classes: Collection[str], source: str) -> str | None:
    """How a column that is meant to hold one label a cell holds several, in words; None where it does not.

    Vertical bars, semicolons and lists say so by themselves. A comma may be part of a class's name: it separates
    where each of what stands between commas is a label of other cells too. Other signs (:data:`_SIGNS`) do where each
    is all that another cell holds.

    Args:
        cells: the column.
        classes: names that the user gave; they stay whole.
        source: of the table, for messages.

    Raises:
        InputError: it may be either.
    """
    counts = Counter(cell for cell in cells.dropna() if cell not in classes)
    lists = [cell for cell in counts if list_in(cell) is not None]
    if lists:
        return "as lists"
    bars = [mark for mark in "|;" if any(mark in cell for cell in counts)]
    if len(bars) == 2 and any("|" in cell and ";" in cell for cell in counts):
        cell = next(cell for cell in counts if "|" in cell and ";" in cell)
        raise InputError(
            f"{source}: label '{cell}' has both '|' and ';' between labels",
            "use one separator in the whole column, or name whole labels with --classes",
        )
    if len(bars) == 2:
        raise InputError(
            f"{source}: some labels are separated by '|', others by ';'",
            "use one separator in the whole column, or name whole labels with --classes",
        )
    if bars:
        return f"between '{bars[0]}'"
    return _between_commas(counts, source) or _between_signs(counts)


def _between_signs(counts: Counter[str]) -> str | None:
    for sign in _SIGNS:
        several = [cell for cell in counts if sign in cell]
        if several and all(
            len(words := words_of(cell, sign)) > 1 and set(words) <= set(counts) for cell in several
        ):
            return f"between '{sign}'"
    return None


def _between_commas(counts: Counter[str], source: str) -> str | None:
    commas = [cell for cell in counts if "," in cell]
    if not commas or all(_NUMBER.fullmatch(cell) for cell in counts) or _are_texts(counts, counts.total()):
        return None
    uses = Counter(word for cell in counts for word in set(words_of(cell, ",")))
    parts = {word for cell in commas for word in words_of(cell, ",")}
    repeated = {word for word in parts if uses[word] > 1}
    if repeated == parts:
        return "between ','"
    if repeated:
        alone = next(cell for cell in commas if not set(words_of(cell, ",")) <= repeated)
        raise InputError(
            f"{source}: label '{alone}' may be one class or several: '{min(repeated)}' is part of other labels too",
            "name the column with --labels if it holds several, or name whole classes with --classes",
        )
    return None


def label_cautions(labels: Sequence[str], classes: Sequence[str] | None = None) -> list[str]:
    """Notes on a column of labels that looks like measurements, ids or texts rather than classes, or lacks a grade.

    Args:
        labels: of all rows.
        classes: all that there are, if the user has said so.
    """
    count, unique = len(labels), set(labels)
    grades = all_grades(sorted(unique)) if classes is None else []
    absent = [name for name in grades if name not in unique]
    lacking = [
        f"caution: no image has label {listed(absent)}, so that the others count as classes without an order; "
        f"if they are grades, name all of them with --classes {','.join(grades)}"
    ]
    return [*spelling_cautions(labels), *_kind_cautions(count, unique), *(lacking if absent else [])]


def spelling_cautions(names: Sequence[str]) -> list[str]:
    """Notes on classes (or findings) whose names differ by case, blanks or signs between words only."""
    counts = Counter(names)
    alike: dict[str, list[str]] = {}
    for name in sorted(counts):
        visible = "".join(
            sign for sign in name if unicodedata.category(sign) != "Cf"
        )  # without signs of no width
        plain = unicodedata.normalize("NFKC", visible).casefold()
        # A sign at the end says something: 'HER2-'.
        joined = plain if _NUMBER.fullmatch(plain) else re.sub(r"(?<=[^\W_])[\s_-]+(?=[^\W_])", "", plain)
        alike.setdefault(joined, []).append(name)
    return [
        "caution: '" + "' and '".join(group) + f"' count as {len(group)} classes and differ by case, "
        "blanks or signs only; write them alike if they are one"
        for group in alike.values()
        if len(group) > 1
    ]


def _kind_cautions(count: int, unique: Collection[str]) -> list[str]:
    if count < _FEWEST_ROWS or len(unique) < _FEWEST_ROWS:
        return []
    seen = f"{len(unique):,} different labels for {count:,} images ({listed(sorted(unique))})"
    few_each = count < _IMAGES_A_CLASS * len(unique)
    if all(_NUMBER.fullmatch(label) for label in unique):
        whole = all(re.fullmatch(r"-?\d+", label) for label in unique)
        if few_each and (len(unique) >= _MANY_CLASSES or not whole):
            return [
                f"caution: {seen} look like a measurement or a number of each image, not classes; "
                "group them into classes, or name another column with --label"
            ]
        return []
    if _are_texts(unique, count):
        return [
            f"caution: {seen} look like free text; name the column with --report, and a column of classes with --label"
        ]
    if 2 * len(unique) > count:
        return [f"caution: {seen} look like ids, not classes; name another column with --label"]
    return []


def _are_texts(unique: Collection[str], count: int) -> bool:
    """Whether most labels are sentences that occur once."""
    if len(unique) < _FEWEST_ROWS or 2 * len(unique) <= count:
        return False
    return sum(len(label.split()) for label in unique) >= _LONG_TEXT * len(unique)
