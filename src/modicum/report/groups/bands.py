"""From a column's values to groups: categories as they are, numbers in bands; ids are refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from modicum.errors import InputError
from modicum.wording import count_of

MOST_GROUPS = 20
"""Different texts of a column beyond which they are no groups."""
_FEW_NUMBERS = 6
"""Numbers that take no more different values than this are categories."""
_NEARLY_ALL = 0.9
NOT_KNOWN = "not known"


@dataclass(frozen=True)
class Grouping:
    """Groups of images by one column.

    Attributes:
        column: its name.
        groups: names, and which images are in each.
    """

    column: str
    groups: tuple[tuple[str, np.ndarray], ...]


def asked_column(spec: str, known: Sequence[str]) -> tuple[str, tuple[float, ...]]:
    """A column and the cut points of its bands: ``("age", (40, 60))`` for ``age:40,60``.

    Args:
        spec: as the user wrote it; a column whose name has a colon in it is meant as a whole, if there is one.
        known: names of columns.

    Raises:
        InputError: cut points that are no rising numbers.
    """
    if spec in known or ":" not in spec:
        return spec, ()
    column, _, cuts = spec.rpartition(":")
    try:
        points = tuple(float(cut) for cut in cuts.split(","))
    except ValueError:
        points = ()
    if not points or list(points) != sorted(set(points)) or not np.isfinite(points).all():
        raise InputError(
            f"--by '{spec}': '{cuts}' are no rising cut points", "write for instance --by age:40,60,80"
        )
    return column, points


def grouped(column: str, cuts: Sequence[float], values: Sequence[str]) -> Grouping:
    """The groups that the values of a column make.

    Args:
        column: its name.
        cuts: where bands of numbers begin; quartiles by default.
        values: of each image, blank where unknown.

    Raises:
        InputError: the values name images or patients, are all unknown, or are no numbers where there are cut points.
    """
    texts = np.array([value.strip() for value in values], dtype=object)
    known = texts != ""
    if not known.any():
        raise InputError(
            f"column '{column}' is blank for all of these images", "name another column, or another --table"
        )
    distinct = np.unique(texts[known].astype(str))
    numbers = _numbers(texts, known)
    if cuts and numbers is None:
        raise InputError(
            f"column '{column}' has values that are no numbers ('{_first_text(distinct)}')",
            f"pass --by {column} without cut points",
        )
    if numbers is not None and (cuts or len(distinct) > _FEW_NUMBERS):
        if not cuts:
            _refuse_numbers(column, numbers[known])
        groups = _bands(numbers, known, cuts)
    else:
        _refuse_names(column, len(distinct), int(known.sum()))
        groups = [(str(name), known & (texts == name)) for name in distinct]
    if not known.all():
        groups.append((NOT_KNOWN, ~known))
    return Grouping(column, tuple(groups))


def _numbers(texts: np.ndarray, known: np.ndarray) -> np.ndarray | None:
    numbers = np.full(len(texts), np.nan)
    try:
        numbers[known] = [float(text) for text in texts[known]]
    except ValueError:
        return None
    return numbers if np.isfinite(numbers[known]).all() else None


def _first_text(distinct: np.ndarray) -> str:
    for text in distinct:
        try:
            float(text)
        except ValueError:
            return str(text)
    return str(distinct[0])


def _bands(numbers: np.ndarray, known: np.ndarray, cuts: Sequence[float]) -> list[tuple[str, np.ndarray]]:
    if cuts:
        points = list(cuts)
    else:
        quartiles = np.quantile(numbers[known], [0.25, 0.5, 0.75])
        # Rounded: an exact quartile may be the value of one patient.
        points = sorted({float(f"{value:.3g}") for value in quartiles})
    names = [f"below {points[0]:g}"]
    names += [f"{low:g} to below {high:g}" for low, high in pairwise(points)]
    names.append(f"{points[-1]:g} and more")
    band = np.searchsorted(points, np.where(known, numbers, np.inf), side="right")
    groups = [(name, known & (band == number)) for number, name in enumerate(names)]
    return [(name, inside) for name, inside in groups if inside.any()]


def _refuse_names(column: str, distinct: int, known: int) -> None:
    if distinct > MOST_GROUPS or (distinct > 5 and 2 * distinct > known):
        raise InputError(
            f"column '{column}' has {distinct} different values in {count_of(known, 'image')}: it names images or "
            "patients, not groups",
            "name a column such as sex, site or scanner",
        )


def _refuse_numbers(column: str, numbers: np.ndarray) -> None:
    whole = bool((numbers == np.round(numbers)).all())
    distinct = len(np.unique(numbers))
    if whole and len(numbers) >= 2 * _FEW_NUMBERS and distinct > _NEARLY_ALL * len(numbers):
        raise InputError(
            f"column '{column}' has {distinct} different whole numbers in {count_of(len(numbers), 'image')}, as numbers "
            "of images or patients have",
            f"if it was measured, give cut points, for instance --by {column}:40,60",
        )
