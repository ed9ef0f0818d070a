"""Finds methods by name, those of other installed packages too (entry points ``modicum.methods``)."""

from importlib.metadata import EntryPoint, entry_points

from modicum.errors import InputError, did_you_mean
from modicum.methods.base import Method

GROUP = "modicum.methods"
MADE_OF_RUNS = {"ensemble": EntryPoint("ensemble", "modicum.methods.ensemble:Ensemble", GROUP)}
"""Methods that are made of finished runs, not trained: a run folder may name them, a user does not choose them."""


def method_entries() -> dict[str, EntryPoint]:
    """Known method names and where each lives; loads none of them."""
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def method_class(name: str) -> type[Method]:
    """The method called ``name``. Raises :class:`~modicum.errors.InputError` with a suggestion where unknown."""
    entries = method_entries()
    if name not in {**entries, **MADE_OF_RUNS}:
        raise InputError(f"unknown method '{name}'", did_you_mean(name, entries))
    method = {**MADE_OF_RUNS, **entries}[name].load()
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise InputError(
            f"method '{name}' of package '{entries[name].value}' is not a modicum Method (expected a subclass of "
            "modicum.methods.Method)",
            "update that package, or correct its entry point",
        )
    return method
