"""Recipes, plans and requests as pages show them: without where files lie on the machine that made them."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

SHORT = "…/"
"""Stands for the folders of a path."""
_PLACE = re.compile(r"(?:~[\w.-]*|[A-Za-z]:)?[\\/](?:[^\\/\n]*[\\/])*")
"""The folders of a path from the root, of a home, or of a drive."""
_START = re.compile(r"(?:file://|sqlite:///|[a-z]{2,}:)?(?=(?:~[\w.-]*|[A-Za-z]:)?[\\/](?!/))")
"""What may stand before such a path: nothing, or ``run:`` and the like."""


def without_places(text: str) -> str:
    """YAML as it is, but with the name alone of each file and folder that is named from the root or a home.

    Who reads a page can see from it which files were used, and not whose folders they were in. Relative paths stay, as do
    paths in comments that do not repeat a value.

    Args:
        text: of a ``recipe.yaml``, a plan or the request of a comparison, search or cross-validation.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:  # damaged: what looks like a path is taken for one
        return re.sub(r"(?<![\w.…])" + _PLACE.pattern, SHORT, text)
    values = {value: short for value in _texts(content) if (short := short_place(value)) != value}
    for value in sorted(values, key=len, reverse=True):
        if value not in text:  # folded over several lines, or escaped
            return yaml.safe_dump(_mapped(content), sort_keys=False, allow_unicode=True, width=10**6)
        text = text.replace(value, values[value])
    return text


def short_place(value: str) -> str:
    """The name alone of a file or folder that is named from the root or a home; any other text as it is."""
    if (start := _START.match(value)) is None:
        return value
    path = value[start.end() :].rstrip("\\/")
    folders = _PLACE.match(path)
    return value if folders is None else f"{start.group()}{SHORT}{path[folders.end() :]}"


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _texts(key)
            yield from _texts(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _texts(value)
    elif isinstance(content, str):
        yield content


def _mapped(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {_mapped(key): _mapped(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_mapped(value) for value in content]
    return short_place(content) if isinstance(content, str) else content
