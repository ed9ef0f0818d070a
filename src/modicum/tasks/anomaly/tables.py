"""Predictions of anomaly detection as a table."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from modicum.tasks.anomaly.threshold import Threshold


def prediction_columns(
    scores: Float[np.ndarray, "n"], threshold: Threshold, names: tuple[str, str] = ("normal", "abnormal")
) -> pd.DataFrame:
    """``prediction`` (blank where there is no threshold, or no finite score) and ``score``."""
    finite = np.isfinite(scores)
    called = [
        None if threshold.value is None or not known else names[int(score >= threshold.value)]
        for score, known in zip(scores, finite, strict=True)
    ]
    return pd.DataFrame({"prediction": pd.Series(called, dtype=object), "score": scores})
