"""Settings that take several values: every combination of them is a variant of a method, with a row of its own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import yaml

from modicum.engine.recipe.assignments import parse_assignments
from modicum.errors import InputError
from modicum.methods import method_entries

Sweeps = dict[str, dict[str, Any]]
"""Values by the name they have in rows and run folders, for each setting."""
LONGEST_NAME = 40


@dataclass(frozen=True)
class Variant:
    """A row of the table: a method with one value of each setting that is swept.

    Attributes:
        name: the method's, and behind it the values, for instance ``reggan-mode=nc+r``.
        method: its method.
        settings: the values by setting.
        words: their names by setting.
    """

    name: str
    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)


def parse_sweeps(texts: Sequence[str]) -> dict[str, Any]:
    """``["mode=p,nc+r"]`` to values by setting; each value is read as ``--set`` reads it.

    What begins with ``[`` is one YAML list of values, with ``{`` a YAML mapping from names to values.

    Raises:
        InputError: a text that is none.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, values = (part.strip() for part in text.partition("="))
        if not equals or not key or not values:
            raise InputError(f"--sweep {text!r} is not KEY=V1,V2", "write for instance --sweep mode=nc,nc+r")
        if key in found:
            raise InputError(f"--sweep {key} is given twice", "give all its values at once")
        if values[0] in "[{":
            try:
                found[key] = yaml.safe_load(values)
            except yaml.YAMLError as error:
                raise InputError(f"--sweep {text!r}: the values are not valid YAML", "quote them") from error
        else:
            found[key] = [parse_assignments([f"{key}={part.strip()}"])[key] for part in values.split(",")]
    return found


def named_sweeps(given: Mapping[str, Any]) -> Sweeps:
    """Settings with their values by name; values in a list are their own names.

    Raises:
        InputError: no values, values of one name, or a value that needs a name.
    """
    found: Sweeps = {}
    for key, values in given.items():
        if not isinstance(values, Mapping | list | tuple) or not values:
            raise InputError(f"--sweep {key} has no values", f"write for instance {key}=V1,V2")
        pairs = values.items() if isinstance(values, Mapping) else [(_text(key, one), one) for one in values]
        named: dict[str, Any] = {}
        for name, value in pairs:
            plain = re.sub(r"[^\w.+,=-]+", "_", str(name))
            if plain in named:
                raise InputError(
                    f"--sweep {key} has two values called '{plain}'", "give each a name of its own"
                )
            named[plain] = value
        found[key] = named
    return found


def variants_of(methods: Sequence[str], sweeps: Sweeps) -> tuple[Variant, ...]:
    """Every method with every combination of the settings that are swept for it.

    A key ``METHOD.key`` is swept for that method alone.

    Raises:
        InputError: a setting is swept for a method that is not compared, or two rows have one name.
    """
    known = set(method_entries())
    found = []
    for method in methods:
        own: Sweeps = {}
        for key, values in sweeps.items():
            head, dot, rest = key.partition(".")
            if not dot or head not in known:
                own[key] = values
            elif head == method:
                own[rest] = values
            elif head not in methods:
                raise InputError(
                    f"--sweep {key} is for method '{head}', which is not compared",
                    f"add it to --methods (now {', '.join(methods)})",
                )
        for chosen in product(*(values.items() for values in own.values())):
            words = {key: word for key, (word, _) in zip(own, chosen, strict=True)}
            settings = {key: value for key, (_, value) in zip(own, chosen, strict=True)}
            parts = [method, *(f"{key.rpartition('.')[2]}={word}" for key, word in words.items())]
            found.append(Variant("-".join(parts), method, settings, words))
    names = [variant.name for variant in found]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(
            f"two rows of the comparison are called '{twice[0]}'", "give their values other names"
        )
    return tuple(found)


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
