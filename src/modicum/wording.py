"""Counts and lists as text for messages."""

from collections.abc import Iterable


def count_of(number: int, noun: str) -> str:
    """``1 image``, ``2,000 images``, ``3 boxes``, ``4 batches``."""
    ending = "es" if noun.endswith(("x", "ch")) else "s"
    return f"{number:,} {noun}{'' if number == 1 else ending}"


def listed(items: Iterable[object], most: int = 3) -> str:
    """The first few items, separated by commas, with dots if there are more: ``a, b, c, ...``."""
    texts = [str(item) for item in items]
    return ", ".join(texts[:most]) + (", ..." if len(texts) > most else "")
