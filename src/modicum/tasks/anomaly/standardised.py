"""Scores of several runs in one unit: standard deviations of what each run says of its own normal validation images."""

import numpy as np
import pandas as pd

from modicum.errors import InputError
from modicum.tasks.anomaly.threshold import Threshold

FEWEST = 2
"""Normal validation images without which there is no deviation."""


def scale_of_normals(
    validation: pd.DataFrame, threshold: Threshold, names: tuple[str, str]
) -> tuple[float, float]:
    """Mean and standard deviation (divided by the number less one) of the scores of normal images.

    Args:
        validation: table of predictions, with the columns ``truth`` and ``score``.
        threshold: of the run.
        names: what a normal and an abnormal image are called in the table.

    Raises:
        InputError: there are too few, or a threshold is given in the scores of single runs.
    """
    if threshold.source == "given":
        raise InputError(
            f"the threshold {threshold.value:g} is given in the scores of single runs, and those of an ensemble are in "
            "standard deviations of normal validation images",
            "train the runs without --set threshold",
        )
    scores = validation["score"].to_numpy(np.float64)
    if "truth" in validation:
        scores = scores[validation["truth"].astype(str) == names[0]]
    scores = scores[np.isfinite(scores)]
    deviation = float(scores.std(ddof=1)) if len(scores) >= FEWEST else 0.0
    if not deviation > 0:
        raise InputError(
            f"{len(scores)} finite scores of normal validation images, and no two that differ: they are the unit in "
            "which scores of several runs compare",
            "give more normal images the split val",
        )
    return float(scores.mean()), deviation
