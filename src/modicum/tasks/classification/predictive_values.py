"""What a decision is worth: sensitivity, specificity, and predictive values at any prevalence.

Predictive values depend on how common the condition is. A test set is often richer in cases than a clinic, so that the
values counted in it are too high for the clinic; Bayes' formula gives those at the prevalence a reader expects, with the
sensitivity and specificity that were measured. It takes for granted that these two are the same there.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy import sparse

from modicum.errors import InputError
from modicum.tasks.bootstrap import Statistic, Sums, Values

RATES = ("sensitivity", "specificity", "ppv", "npv")
AT_PREVALENCE = ("ppv_at_prevalence", "npv_at_prevalence")


def predictive_values(
    sensitivity: Float[np.ndarray, "n"] | float,
    specificity: Float[np.ndarray, "n"] | float,
    prevalence: float,
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Positive and negative predictive value by Bayes' formula; NaN where nothing is said to be so, or not so.

    Args:
        sensitivity: share of the cases that are found.
        specificity: share of the others that are left alone.
        prevalence: share of cases, above 0 and below 1.

    Raises:
        InputError: a prevalence that is 0, 1 or beyond.
    """
    check_prevalence(prevalence)
    found, left = np.atleast_1d(np.asarray(sensitivity, float)), np.atleast_1d(np.asarray(specificity, float))
    cases, others = prevalence, 1 - prevalence
    with np.errstate(divide="ignore", invalid="ignore"):
        ppv = found * cases / (found * cases + (1 - left) * others)
        npv = left * others / (left * others + (1 - found) * cases)
    return ppv, npv


def check_prevalence(prevalence: float) -> None:
    """Raises :class:`~modicum.errors.InputError` for a prevalence that is 0, 1 or beyond."""
    if not 0 < prevalence < 1:
        raise InputError(
            f"prevalence {prevalence:g} is not between 0 and 1", "give a share, for instance 0.05 for 5 %"
        )


def decision_rates(
    says: Bool[np.ndarray, "n"], positive: Bool[np.ndarray, "n"], prevalence: float | None = None
) -> Statistic:
    """``sensitivity``, ``specificity``, ``ppv`` and ``npv`` of decisions.

    Args:
        says: which images are said to be positive.
        positive: which are.
        prevalence: adds ``ppv_at_prevalence`` and ``npv_at_prevalence``.

    Raises:
        InputError: a prevalence that is 0, 1 or beyond.
    """
    if prevalence is not None:
        check_prevalence(prevalence)
    cells = np.stack([says & positive, says & ~positive, ~says & positive, ~says & ~positive])

    def finish(sums: Sums) -> Values:
        hits, alarms, missed, left = sums
        values = {
            "sensitivity": hits / (hits + missed),
            "specificity": left / (alarms + left),
            "ppv": hits / (hits + alarms),
            "npv": left / (left + missed),
        }
        if prevalence is not None:
            at = predictive_values(values["sensitivity"], values["specificity"], prevalence)
            values |= dict(zip(AT_PREVALENCE, at, strict=True))
        return values

    both = np.stack([positive, ~positive])
    needs = {
        "sensitivity": positive[None],
        "specificity": ~positive[None],
        "ppv": says[None],
        "npv": ~says[None],
    }
    needs |= {name: both for name in AT_PREVALENCE if prevalence is not None}
    reasons = {
        "sensitivity": "no image with it",
        "specificity": "no image without it",
        "ppv": "said of no image",
        "npv": "said of every image",
    }
    reasons |= dict.fromkeys(AT_PREVALENCE, "needs images with and without it")
    return Statistic(sparse.csr_array(cells.astype(np.float64)), finish, reasons, needs)
