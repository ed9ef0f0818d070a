"""Intervals of a reliability diagram where several images are of one patient.

Wilson's interval takes images as independent. With several of a patient it is computed for the *effective* number of
images: the images of a bin divided by the design effect, the variance of their share between patients over that of
independent images. Where all images of a bin are alike nothing can be said of that variance, and a patient counts once.

Source: Korn and Graubard, Confidence intervals for proportions with small expected number of positive counts estimated
from survey data, Survey Methodology 24 (1998), with Wilson's interval in place of Clopper and Pearson's.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float

from modicum.tasks.bootstrap import group_numbers
from modicum.tasks.classification.curves import Reliability, reliability, wilson_interval
from modicum.tasks.classification.metrics import confidence_bin


def reliability_by_patient(
    confidence: Float[np.ndarray, "n"],
    correct: Bool[np.ndarray, "n"],
    groups: Sequence[object] | np.ndarray | None,
    *,
    bins: int,
    level: float = 0.95,
) -> Reliability:
    """As :func:`~modicum.tasks.classification.curves.reliability`, with intervals for patients instead of images.

    Args:
        confidence: stated probability.
        correct: whether it was so.
        groups: the patient of each image, blank where unknown; None takes images as independent.
        bins: of equal width.
        level: of the interval.
    """
    found = reliability(confidence, correct, bins=bins, level=level)
    if groups is None:
        return found
    unit, bin_of = group_numbers(groups, len(confidence)), confidence_bin(confidence, bins)
    effective = np.array(
        [effective_size(correct[bin_of == one], unit[bin_of == one]) for one in range(bins)], dtype=np.float64
    )
    share = np.nan_to_num(found.accuracy)
    low, high = wilson_interval(share * effective, effective, level)
    return replace(found, low=low, high=high)


def effective_size(correct: Bool[np.ndarray, "n"], unit: np.ndarray) -> float:
    """How many independent images these of several patients are worth: between the patients and the images.

    Args:
        correct: of each image.
        unit: number of its patient.
    """
    images = len(correct)
    if not images:
        return 0.0
    share = float(correct.mean())
    _, of_unit = np.unique(unit, return_inverse=True)
    units = int(of_unit.max()) + 1
    if share in (0.0, 1.0) or units < 2:
        return float(units)
    deviations = np.bincount(of_unit, weights=correct - share)
    between = float((deviations**2).sum()) / images**2
    effect = between / (share * (1 - share) / images)
    return float(np.clip(images / max(effect, 1e-12), 1.0, images))
