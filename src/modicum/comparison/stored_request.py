"""A request as YAML beside what it asks for: written, read, and compared with that of a call that goes on with it."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from modicum.atomic_files import write_text
from modicum.comparison.arguments import resolved_when_it_starts
from modicum.errors import InputError

_PARTS = ("settings.", "method_settings.", "search.")
"""Parts of a request of which users know the keys alone."""


def write_request(path: Path, values: Mapping[str, Any]) -> None:
    """Writes a request."""
    write_text(path, yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True))


def read_request(path: Path) -> dict[str, Any]:
    """Reads a request. Raises :class:`InputError` where the file is damaged."""
    try:
        return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, TypeError, ValueError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> InputError:
    """The error of a request that cannot be read."""
    return InputError(
        f"'{path}' cannot be read ({type(error).__name__})", "restore it, or choose another --name"
    )


def check_unchanged(
    what: str, before: Mapping[str, Any], now: Mapping[str, Any], free: Collection[str] = ()
) -> None:
    """Raises InputError where two requests differ.

    Args:
        what: a noun and the name of what is gone on with.
        before: the values of the request that it was started with.
        now: those of this call.
        free: keys that may differ, with dots.
    """
    old, new = _flat(before), _flat(now)
    for key in sorted(set(old) | set(new)):
        if key not in free and old.get(key) != new.get(key):
            name = key
            for part in _PARTS:
                name = name.removeprefix(part)
            raise InputError(
                f"{what} was started with {name}={old.get(key)!r}, now it is {new.get(key)!r}",
                "resume with the same settings, or choose another --name",
            )


def known_now(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without what is resolved only when a run starts, as it depends on the memory at hand."""
    return {key: value for key, value in settings.items() if not resolved_when_it_starts(key, value)}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
