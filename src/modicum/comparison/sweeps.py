"""Sweeps: settings with several values, of which every combination is a variant of a method with its own row."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal, get_args

import yaml

from modicum.engine.recipe.assignments import parse_assignments
from modicum.errors import InputError
from modicum.methods import method_entries

Sweeps = dict[str, dict[str, Any]]
"""For each setting, its values by their names in rows and run folders."""
LONGEST_NAME = 40
Vary = Literal["every", "one", "stack"]
VARY: tuple[str, ...] = get_args(Vary)
"""``every``: all combinations of the swept values; ``one``: a reference, and each value alone; ``stack``: then the
winners, one on top of the other."""


@dataclass(frozen=True)
class Variant:
    """A row of the table: a method with one value of each swept setting.

    Attributes:
        name: the method's name followed by the values, for instance ``reggan-mode=nc+r``.
        method: its method.
        settings: the values by setting.
        words: their names by setting.
    """

    name: str
    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)


def parse_sweeps(texts: Sequence[str]) -> dict[str, Any]:
    """Parses ``["mode=p,nc+r"]`` to values by setting; each value is parsed like one of ``--set``.

    Text starting with ``[`` is a YAML list of values, with ``{`` a YAML mapping from names to values.

    Raises:
        InputError: a text that is not KEY=VALUES.
    """
    sweeps: dict[str, Any] = {}
    for text in texts:
        key, equals, values = (part.strip() for part in text.partition("="))
        if not equals or not key or not values:
            raise InputError(f"--sweep {text!r} is not KEY=V1,V2", "write for instance --sweep mode=nc,nc+r")
        if key in sweeps:
            raise InputError(
                f"--sweep {key} is given twice", f"pass all its values at once: --sweep {key}=V1,V2"
            )
        if values[0] in "[{":
            try:
                sweeps[key] = yaml.safe_load(values)
            except yaml.YAMLError as error:
                raise InputError(
                    f"--sweep {text!r}: the values are not valid YAML",
                    f"pass for instance --sweep '{key}=[V1, V2]'",
                ) from error
        else:
            sweeps[key] = [parse_assignments([f"{key}={part.strip()}"])[key] for part in values.split(",")]
    return sweeps


def named_sweeps(requested: Mapping[str, Any]) -> Sweeps:
    """Names the values of each setting; values in a list are named by themselves.

    Raises:
        InputError: no values, two values with the same name, or a value that needs a name.
    """
    sweeps: Sweeps = {}
    for key, values in requested.items():
        if not isinstance(values, Mapping | list | tuple) or not values:
            raise InputError(f"--sweep {key} has no values", f"write for instance {key}=V1,V2")
        pairs = values.items() if isinstance(values, Mapping) else [(_text(key, one), one) for one in values]
        named: dict[str, Any] = {}
        for name, value in pairs:
            plain = re.sub(r"[^\w.+,=-]+", "_", str(name))
            if plain in named:
                raise InputError(
                    f"--sweep {key} has two values named '{plain}'",
                    f"name them differently, for instance --sweep '{key}={{first: VALUE, second: VALUE}}'",
                )
            named[plain] = value
        sweeps[key] = named
    return sweeps


def variants_of(methods: Sequence[str], sweeps: Sweeps, vary: str = "every") -> tuple[Variant, ...]:
    """Every method with every combination of the settings that are swept for it; or by itself, and with one at a time.

    A key ``METHOD.key`` is swept for that method only.

    Args:
        methods: names.
        sweeps: the values of each setting.
        vary: one of :data:`VARY`; what is stacked is known only when the others have been trained.

    Raises:
        InputError: a setting is swept for a method that is not compared, or two rows have the same name.
    """
    method_names = set(method_entries())
    variants = []
    for method in methods:
        method_sweeps: Sweeps = {}
        for key, values in sweeps.items():
            head, dot, rest = key.partition(".")
            if not dot or head not in method_names:
                method_sweeps[key] = values
            elif head == method:
                method_sweeps[rest] = values
            elif head not in methods:
                raise InputError(
                    f"--sweep {key} is for method '{head}', which is not compared",
                    f"add it to --methods (now {', '.join(methods)})",
                )
        for chosen in _chosen(method_sweeps, vary):
            words = {key: word for key, (word, _) in chosen.items()}
            settings = {key: value for key, (_, value) in chosen.items()}
            parts = [method, *(f"{key.rpartition('.')[2]}={word}" for key, word in words.items())]
            variants.append(Variant("-".join(parts), method, settings, words))
    names = [variant.name for variant in variants]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(
            f"two rows of the comparison are named '{twice[0]}'",
            "name the swept values differently, for instance --sweep 'KEY={first: VALUE, second: VALUE}'",
        )
    return tuple(variants)


def _chosen(sweeps: Sweeps, vary: str) -> list[dict[str, tuple[str, Any]]]:
    """The name and value of each setting, by setting, for every row of a method."""
    if vary == "every":
        return [
            dict(zip(sweeps, chosen, strict=True))
            for chosen in product(*(values.items() for values in sweeps.values()))
        ]
    return [{}, *({key: pair} for key, values in sweeps.items() for pair in values.items())]


def _text(key: str, value: Any) -> str:
    """A value as the name of a row."""
    if isinstance(value, list | tuple) and all(isinstance(item, str | int | float) for item in value):
        text = "x".join(_text(key, item) for item in value)
    elif isinstance(value, Mapping | list | tuple):
        text = ""
    elif value is None or isinstance(value, bool):
        text = str(value).lower()
    else:
        text = f"{value:g}" if isinstance(value, float) else str(value)
    if not text or len(text) > LONGEST_NAME:
        raise InputError(
            f"a value of --sweep {key} is too long for a name",
            f"name the values, for instance --sweep '{key}={{first: VALUE, second: VALUE}}'",
        )
    return text
