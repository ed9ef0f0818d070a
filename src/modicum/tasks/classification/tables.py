"""Predictions of classifiers as tables."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from modicum.tasks.classification.metrics import predicted_classes
from modicum.tasks.classification.thresholds import Thresholds


def prediction_columns(
    probabilities: Float[np.ndarray, "n classes"],
    classes: Sequence[str],
    kind: str,
    thresholds: Sequence[float] | np.ndarray = (),
) -> pd.DataFrame:
    """``prediction`` and one ``p_<class>`` column a class.

    For findings (``multi-label``) the prediction lists those with a probability of 0.5 or more, joined by ``|``; with
    thresholds, see :func:`~modicum.tasks.classification.metrics.predicted_classes`.
    """
    table = pd.DataFrame({f"p_{name}": probabilities[:, index] for index, name in enumerate(classes)})
    names = np.array(classes, dtype=object)
    prediction: list[str] = []
    if len(probabilities):
        predicted = predicted_classes(probabilities, kind, thresholds)
        prediction = (
            ["|".join(names[row]) for row in predicted] if kind == "multi-label" else list(names[predicted])
        )
    table.insert(0, "prediction", prediction)
    return table


def severity_columns(
    scores: Float[np.ndarray, "n"], classes: Sequence[str], thresholds: Thresholds
) -> pd.DataFrame:
    """``prediction`` (the name of the grade, blank where the score is not finite) and ``score``."""
    finite = np.isfinite(scores)
    grades = thresholds.grades(np.where(finite, scores, 0.0))
    names = [classes[grade] if is_finite else None for grade, is_finite in zip(grades, finite, strict=True)]
    return pd.DataFrame({"prediction": pd.Series(names, dtype=object), "score": scores})


def truth_columns(truth: np.ndarray, classes: Sequence[str], kind: str) -> pd.DataFrame:
    """``truth`` (a class name), or one ``truth_<finding>`` column a finding (1, 0, blank for unknown)."""
    if kind == "multi-label":
        return pd.DataFrame(
            {f"truth_{name}": pd.array(truth[:, i], dtype="Int64") for i, name in enumerate(classes)}
            if not np.isnan(truth).any()
            else {
                f"truth_{name}": pd.array(
                    [None if np.isnan(v) else int(v) for v in truth[:, i]], dtype="Int64"
                )
                for i, name in enumerate(classes)
            }
        )
    return pd.DataFrame({"truth": [classes[index] for index in truth]})
