"""Parses loss expressions: names, and weighted sums of names such as ``dice+0.5*bce``."""

from collections.abc import Mapping, Sequence
from typing import Any

from modicum.errors import InputError, did_you_mean

LOSS_SETTINGS: Mapping[str, Any] = {
    "loss": "auto",
    "class_weights": "none",
    "class_weights_decay": 0.9,
    "label_smoothing": 0.0,
}
"""Training settings that define a task's loss, with their defaults."""


def loss_terms(words: str, known_names: Sequence[str]) -> dict[str, float]:
    """Factors of the terms of a loss: ``[factor*]name``, joined by ``+``.

    Args:
        words: for instance ``smooth_l1+0.5*mse``; spaces do not count.
        known_names: valid names.

    Returns:
        The factor of each name, in the order of the words.

    Raises:
        InputError: an unknown name (with a suggestion), a repeated name, or a factor that is not a number above 0.

    >>> loss_terms("2*focal + dice", ["dice", "focal"])
    {'focal': 2.0, 'dice': 1.0}
    """
    terms: dict[str, float] = {}
    for word in words.split("+"):
        factor, star, name = (piece.strip() for piece in word.rpartition("*"))
        if name not in known_names:
            where = f" in '{words}'" if name != words else ""
            raise InputError(f"there is no loss '{name}'{where}", did_you_mean(name, known_names))
        if name in terms:
            raise InputError(f"loss '{words}' has '{name}' twice", f"give it one factor, such as 2*{name}")
        terms[name] = _factor(factor, words) if star else 1.0
    return terms


def _factor(text: str, words: str) -> float:
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor < float("inf"):
        raise InputError(
            f"loss '{words}': '{text}' is not a factor", "write a number above 0, for instance 0.5*NAME"
        )
    return factor


def refuse_settings(settings: Mapping[str, Any], keys: Sequence[str], reason: str, remedy: str) -> None:
    """Refuses settings of the training that would have no effect.

    Args:
        settings: values by the names of :data:`LOSS_SETTINGS`.
        keys: names of the settings without an effect.
        reason: why they have no effect, as the end of a sentence.
        remedy: what the user can do.

    Raises:
        InputError: one of them has another value than its default.
    """
    for key in keys:
        value = settings.get(key, LOSS_SETTINGS[key])
        if value is not None and value != LOSS_SETTINGS[key]:
            raise InputError(f"{key}={value!r} has no effect: {reason}", remedy)
