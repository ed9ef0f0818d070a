"""The settings that are searched, and how ``--search KEY=VALUES`` is read."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from modicum.comparison.sweeps import named_sweeps
from modicum.engine.recipe.assignments import parse_assignments
from modicum.errors import InputError, did_you_mean

_EXAMPLE = "write for instance --search lr=1e-5..1e-2:log, weight_decay=0..0.1 or backbone=resnet18,resnet50"
_SCALES = ("log", "linear")


@dataclass(frozen=True)
class Dimension:
    """One setting that is searched.

    Attributes:
        key: of the setting, as for ``--set``.
        low, high: ends of a range, both of which may be taken; None for choices.
        log: whether equal factors are equally likely, and not equal steps.
        whole: whether only whole numbers are taken.
        choices: values by name; empty for a range.
    """

    key: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    whole: bool = False
    choices: Mapping[str, Any] | None = None

    @property
    def text(self) -> str:
        """As on the command line."""
        if self.choices is not None:
            return f"{self.key}={','.join(self.choices)}"
        return f"{self.key}={self.low:g}..{self.high:g}{':log' if self.log else ''}"

    def value(self, found: Any) -> Any:
        """The setting's value for what the study proposes: a number, or the name of a choice."""
        if self.choices is not None:
            return self.choices[str(found)]
        return int(found) if self.whole else float(found)

    @property
    def ends(self) -> list[Any]:
        """Values by which a range, or every choice, is tried out on the recipe."""
        if self.choices is not None:
            return list(self.choices.values())
        return [self.value(self.low), self.value(self.high)]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for ``tune.yaml``."""
        if self.choices is not None:
            return {"choices": dict(self.choices)}
        ends = [self.value(self.low), self.value(self.high)]
        return {"low": ends[0], "high": ends[1], "scale": "log" if self.log else "linear"}


def parse_space(search: Sequence[str] | Mapping[str, Any]) -> tuple[Dimension, ...]:
    """The dimensions of ``["lr=1e-5..1e-2:log", "backbone=a,b"]``, or of a mapping from settings to their values.

    In a mapping a range is its text, ``{"lr": "1e-5..1e-2:log"}``; choices are a list, or a mapping from names to values.

    Raises:
        InputError: a text that is not KEY=VALUES, a range that makes no sense, or a setting that is named twice.
    """
    if isinstance(search, Mapping):
        dimensions = [_dimension(str(key), values) for key, values in search.items()]
    else:
        dimensions = [_parsed(text) for text in search]
    if not dimensions:
        raise InputError("nothing to search", _EXAMPLE)
    keys = [dimension.key for dimension in dimensions]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise InputError(f"--search {twice[0]} is given twice", "give all its values at once")
    return tuple(dimensions)


def _parsed(text: str) -> Dimension:
    key, equals, values = (part.strip() for part in text.partition("="))
    if not (key and equals and values):
        raise InputError(f"--search {text!r} is not KEY=VALUES", _EXAMPLE)
    if values[0] in "[{":
        try:
            return _dimension(key, yaml.safe_load(values))
        except yaml.YAMLError as error:
            raise InputError(f"--search {text!r}: the values are not valid YAML", _EXAMPLE) from error
    return _dimension(key, values)


def _dimension(key: str, values: Any) -> Dimension:
    if not isinstance(values, str):
        named = named_sweeps({key: values})[key]
    elif ".." in values:
        return _range(key, values)
    else:
        parts = [part.strip() for part in values.split(",")]
        named = named_sweeps({key: [parse_assignments([f"{key}={part}"])[key] for part in parts]})[key]
    if len(named) < 2:
        raise InputError(
            f"--search {key} has one value, {next(iter(named))}",
            f"give several or a range, or fix it with --set {key}={next(iter(named))}",
        )
    return Dimension(key, choices=named)


def _range(key: str, values: str) -> Dimension:
    ends, _, scale = values.partition(":")
    scale = scale.strip() or "linear"
    if scale not in _SCALES:
        raise InputError(f"--search {key}={values}: unknown scale '{scale}'", did_you_mean(scale, _SCALES))
    first, _, last = (part.strip() for part in ends.partition(".."))
    try:
        low, high = float(first), float(last)
    except ValueError as error:
        raise InputError(f"--search {key}={values}: the ends are not two numbers", _EXAMPLE) from error
    if not (-float("inf") < low < high < float("inf")):
        raise InputError(
            f"--search {key}={values}: {first} is not below {last}",
            f"write {key}=LOW..HIGH, two finite numbers",
        )
    if scale == "log" and low <= 0:
        raise InputError(
            f"--search {key}={values}: a logarithmic range cannot begin at {first}",
            "begin above 0, or leave :log out",
        )
    whole = all(re.fullmatch(r"[+-]?\d+", end) for end in (first, last))
    return Dimension(key, low, high, scale == "log", whole)
