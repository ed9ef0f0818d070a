"""The learning rate as a function of the step."""

import math
from typing import Literal


def lr_factor(
    step: int,
    total: int,
    warmup: int,
    shape: Literal["cosine", "constant"] = "cosine",
    min_factor: float = 0.0,
) -> float:
    """The factor on the peak learning rate at optimiser step ``step`` (counted from 0).

    Linear warm-up: ``(step + 1) / warmup`` while ``step < warmup``. Then, for ``cosine``,
    ``(1 + cos(pi t)) / 2`` with ``t`` the share of the remaining steps that are done, so that the first step after
    the warm-up has factor 1 and the factor would be 0 at step ``total``; with a ``min_factor`` one,
    ``min_factor + (1 - min_factor) (1 + cos(pi t)) / 2``.

    Args:
        step: number of the step, from 0.
        total: number of steps of the whole training.
        warmup: number of warm-up steps.
        shape: schedule after the warm-up.
        min_factor: final factor of the cosine.
    """
    if step < warmup:
        return (step + 1) / warmup
    if shape == "constant":
        return 1.0
    done = (step - warmup) / max(1, total - warmup)
    return min_factor + (1 - min_factor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
