"""Metrics of a severity score: how it ranks images, and the grades that it is read as.

Ranking is by *cut points*: grade ``g`` or more against the grades below. ``auroc`` is the mean over them, each of which
is there as ``auroc/>=<grade>``; ``sensitivity_at_95_specificity`` is that of the lowest cut, any disease against none.
The other metrics are of the grade that the thresholds make of a score, as :mod:`modicum.tasks.classification.metrics`
defines them; ``mae`` is the mean distance of that grade from the true one, in grades. A score is not a probability, so
there is no calibration.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from modicum.errors import InputError
from modicum.tasks.bootstrap import Estimate, Statistic, Sums, Values, bootstrap, point_values
from modicum.tasks.classification.metric_table import cut_name, severity_metrics_of
from modicum.tasks.classification.metrics import decisions, majority, ranking, sensitivity_name
from modicum.tasks.classification.thresholds import Thresholds

Severity = Float[np.ndarray, "n"]
Grades = Int[np.ndarray, "n"]
OF_A_GRADE = ("sensitivity", "specificity")


def evaluate_severity(
    scores: Severity,
    truth: Grades,
    *,
    classes: Sequence[str],
    thresholds: Thresholds,
    groups: Sequence[object] | np.ndarray | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    specificity: float = 0.95,
) -> dict[str, Estimate]:
    """Every metric of :func:`severity_metrics_of`, with percentile intervals from resampled patients.

    Args:
        scores: in grades, higher is more severe.
        truth: grades from 0.
        classes: names of the grades, rising.
        thresholds: from scores to grades.
        groups: the patient of each image, blank where unknown; None resamples images.
        resamples: how many; 0 for values alone.
        confidence: of the intervals.
        seed: of the resampling.
        specificity: where sensitivity is read.

    Returns:
        Estimates by name. An undefined metric is NaN and has a reason; means are over the cuts or grades on which the
        metric is defined, and their reason names the others.

    Raises:
        InputError: scores that are not finite, or a grade out of range.
    """
    statistics, means = severity_statistics(scores, truth, classes, thresholds, specificity)
    estimates = bootstrap(
        statistics,
        len(scores),
        means=means,
        groups=groups,
        resamples=resamples,
        confidence=confidence,
        seed=seed,
    )
    return {name: estimates[name] for name in severity_metrics_of(classes, specificity)}


def severity_metrics(
    scores: Severity,
    truth: Grades,
    *,
    classes: Sequence[str],
    thresholds: Thresholds,
    specificity: float = 0.95,
) -> dict[str, float]:
    """The values of :func:`evaluate_severity` without intervals, for the end of an epoch."""
    statistics, means = severity_statistics(scores, truth, classes, thresholds, specificity)
    values, _ = point_values(statistics, len(scores), means)
    return {name: values[name] for name in severity_metrics_of(classes, specificity)}


def severity_statistics(
    scores: Severity, truth: Grades, classes: Sequence[str], thresholds: Thresholds, specificity: float
) -> tuple[list[Statistic], dict[str, list[str]]]:
    """The metrics of :func:`evaluate_severity` as functions of weighted images, and of each mean its members."""
    _check(scores, truth, len(classes))
    predicted = thresholds.grades(scores)
    names = {name: name for name in ("accuracy", "balanced_accuracy", "kappa", "quadratic_kappa")}
    names |= {f"f1/{number}": f"f1/{name}" for number, name in enumerate(classes)}
    if len(classes) == 2:
        names |= {f"{metric}/1": metric for metric in OF_A_GRADE}
    else:
        del names["balanced_accuracy"]  # a mean over the grades that there are
        of_grades = [(metric, *grade) for metric in OF_A_GRADE for grade in enumerate(classes)]
        names |= {f"{metric}/{number}": f"{metric}/{name}" for metric, number, name in of_grades}
    statistics = [decisions(truth, predicted, len(classes)).renamed(names), _distance(truth, predicted)]
    statistics.append(majority(truth, len(classes)))
    statistics += [_cut(scores, truth, cut, classes, specificity) for cut in range(1, len(classes))]
    means = {"macro_f1": [f"f1/{name}" for name in classes]}
    if len(classes) == 2:
        return statistics, means
    return statistics, {
        **means,
        "balanced_accuracy": [f"sensitivity/{name}" for name in classes],
        "auroc": [f"auroc/{cut_name(name)}" for name in classes[1:]],
    }


def _cut(scores: Severity, truth: Grades, cut: int, classes: Sequence[str], specificity: float) -> Statistic:
    """The ranking of one cut; of the lowest one the sensitivity too."""
    finding = f"grade '{classes[cut]}'" + (" or more" if cut + 1 < len(classes) else "")
    ranks = ranking(scores, truth >= cut, specificity=specificity, finding=finding)
    names = {"auroc": "auroc" if len(classes) == 2 else f"auroc/{cut_name(classes[cut])}"}
    if cut == 1:
        names["sensitivity_at_specificity"] = sensitivity_name(specificity)
    return ranks.renamed(names)


def _distance(truth: Grades, predicted: Grades) -> Statistic:
    """``mae``: the mean distance between two grades."""
    terms = sparse.csr_array(np.stack([np.abs(truth - predicted), np.ones(len(truth))]).astype(np.float64))

    def finish(sums: Sums) -> Values:
        return {"mae": sums[0] / sums[1]}

    return Statistic(terms, finish, {"mae": "no images"})


def _check(scores: Severity, truth: Grades, num_grades: int) -> None:
    if not np.isfinite(scores).all():
        broken = int((~np.isfinite(scores)).sum())
        raise InputError(
            f"scores of {broken} of {len(scores)} images are not finite",
            "the model has diverged; lower the learning rate",
        )
    wrong = truth[(truth < 0) | (truth >= num_grades)]
    if len(wrong):
        raise InputError(f"truth has the value {wrong[0]}", f"give 0..{num_grades - 1}")
