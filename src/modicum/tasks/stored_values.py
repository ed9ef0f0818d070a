"""Values of a task as a run folder keeps them, read with their kinds checked.

A damaged ``model.json`` may hold anything. What has the wrong kind is refused here, before a wrong name or number shows
up in predictions, or ends them.
"""

import math
from collections.abc import Sequence
from typing import Any

from modicum.errors import InputError

_REMEDY = "restore the file that they are in"


def names_of(values: Any, what: str, count: int | None = None, fewest: int = 1) -> list[str]:
    """A list of different names.

    Args:
        values: as they were read.
        what: to call them in messages.
        count: how many there must be, where that is known.
        fewest: the fewest that there may be.

    Raises:
        InputError: they are not.
    """
    if not isinstance(values, list | tuple) or not all(isinstance(name, str) and name for name in values):
        raise InputError(f"{what} are not a list of names", _REMEDY)
    if len(set(values)) < len(values) or len(values) < fewest or count not in (None, len(values)):
        raise InputError(f"{what} are {len(values)} names, or some of them alike", _REMEDY)
    return list(values)


def number_of(value: Any, what: str, low: float | int = -math.inf, high: float | int = math.inf) -> float:
    """A finite number from ``low`` to ``high``. Raises :class:`InputError` where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{what} is not a number", _REMEDY)
    if not low <= value <= high:
        raise InputError(f"{what} is {value:g}", _REMEDY)
    return float(value)


def count_of_values(value: Any, what: str, low: int = 0) -> int:
    """A whole number from ``low``. Raises :class:`InputError` where it is none."""
    if not isinstance(value, int):
        raise InputError(f"{what} is not a whole number", _REMEDY)
    number_of(value, what, low)
    return value


def numbers_of(values: Any, what: str, count: int | None = None) -> tuple[float, ...]:
    """Finite numbers, ``count`` of them where that is known. Raises :class:`InputError` where they are not."""
    if not isinstance(values, list | tuple) or count not in (None, len(values)):
        raise InputError(f"{what} are not {'numbers' if count is None else f'{count} numbers'}", _REMEDY)
    return tuple(number_of(value, what) for value in values)


def one_of(value: Any, allowed: Sequence[Any], what: str) -> Any:
    """One of a few values. Raises :class:`InputError` for any other."""
    if not any(type(value) is type(one) and value == one for one in allowed):
        raise InputError(f"{what} is none of {', '.join(map(str, allowed))}", _REMEDY)
    return value
