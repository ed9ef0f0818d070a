"""All metrics of a classifier together, with or without confidence intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from modicum.errors import InputError, did_you_mean
from modicum.tasks.bootstrap import Estimate, Statistic, bootstrap, point_values
from modicum.tasks.classification.metric_table import metrics_of
from modicum.tasks.classification.metrics import (
    MAJORITY,
    calibration,
    decisions,
    majority,
    predicted_classes,
    ranking,
    sensitivity_name,
    surprise_of,
)

KINDS = ("binary", "multi-class", "multi-label")
Probabilities = Float[np.ndarray, "n classes"]
Truth = Num[np.ndarray, "n"] | Num[np.ndarray, "n classes"]
Means = dict[str, list[str]]


def evaluate(
    probabilities: Probabilities,
    truth: Truth,
    *,
    kind: str,
    classes: Sequence[str],
    ordered: bool = False,
    groups: Sequence[object] | np.ndarray | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    specificity: float = 0.95,
    thresholds: Sequence[float] | np.ndarray = (),
    class_groups: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Estimate]:
    """Every metric of :func:`metric_names`, with percentile intervals from resampled patients.

    Args:
        probabilities: in [0, 1], a column a class; for ``binary`` two, the second of the positive class.
        truth: class numbers ``[n]``; for ``multi-label`` ``[n, findings]`` of 1, 0 and NaN (unknown: that
            image is left out for that finding).
        kind: ``binary``, ``multi-class`` or ``multi-label``.
        classes: names of the classes or findings, in the order of the columns.
        ordered: the classes are grades; adds ``quadratic_kappa``.
        groups: the patient of each image, blank where unknown; None resamples images.
        resamples: how many; 0 for values alone.
        confidence: of the intervals.
        seed: of the resampling.
        specificity: where sensitivity is read.
        thresholds: from which probabilities on classes are predicted, see
            :func:`~modicum.tasks.classification.metrics.predicted_classes`.
        class_groups: classes of ``head``, ``medium`` and ``tail``; adds their mean accuracies, NaN of an empty group.

    Returns:
        Estimates by name, in the order of :func:`metric_names`. An undefined metric is NaN and has a reason.
        ``auroc``, ``average_precision`` and sensitivity at a specificity of several classes are means over the
        classes, each against the rest; all summaries of findings are means over the findings. Such a mean is
        over those classes or findings for which the metric is defined, and its reason names the others.

    Raises:
        InputError: shapes do not fit, probabilities that are none, a class number out of range.
    """
    statistics, means = metric_statistics(
        probabilities, truth, kind, classes, specificity, thresholds, class_groups
    )
    estimates = bootstrap(
        statistics,
        len(probabilities),
        means=means,
        groups=groups,
        resamples=resamples,
        confidence=confidence,
        seed=seed,
    )
    names = metric_names(kind, classes, ordered, specificity, bool(class_groups))
    return {name: estimates[name] for name in names}


def point_metrics(
    probabilities: Probabilities,
    truth: Truth,
    *,
    kind: str,
    classes: Sequence[str],
    ordered: bool = False,
    specificity: float = 0.95,
    thresholds: Sequence[float] | np.ndarray = (),
    class_groups: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, float]:
    """The values of :func:`evaluate` without intervals: milliseconds, for the end of an epoch."""
    statistics, means = metric_statistics(
        probabilities, truth, kind, classes, specificity, thresholds, class_groups
    )
    values, _ = point_values(statistics, len(probabilities), means)
    names = metric_names(kind, classes, ordered, specificity, bool(class_groups))
    return {name: values[name] for name in names}


def metric_names(
    kind: str,
    classes: Sequence[str],
    ordered: bool = False,
    specificity: float = 0.95,
    grouped: bool = False,
) -> list[str]:
    """What :func:`evaluate` returns, in order: the summaries, then ``<metric>/<class>`` class by class."""
    return list(metrics_of(kind, classes, ordered, specificity, grouped))


def top_label(
    probabilities: Probabilities, truth: Int[np.ndarray, "n"]
) -> tuple[Float[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """Probability of the predicted class, and whether it is right."""
    predicted = predicted_classes(probabilities, "multi-class")
    return np.take_along_axis(probabilities, predicted[:, None], axis=1)[:, 0].astype(
        np.float64
    ), predicted == truth


def metric_statistics(
    probabilities: np.ndarray,
    truth: np.ndarray,
    kind: str,
    classes: Sequence[str],
    specificity: float,
    thresholds: Sequence[float] | np.ndarray = (),
    class_groups: Mapping[str, Sequence[str]] | None = None,
) -> tuple[list[Statistic], Means]:
    """The metrics of :func:`evaluate` as functions of weighted images, and of each mean its members."""
    _check(probabilities, truth, kind, classes, specificity)
    probabilities = np.clip(probabilities.astype(np.float64), 0, 1)
    if kind == "multi-label":
        return _multi_label(probabilities, truth, classes, specificity, thresholds)
    truth = truth.astype(np.int64)
    if kind == "binary":
        statistics, means = _binary(probabilities, truth, classes, specificity, thresholds)
    else:
        statistics, means = _multi_class(probabilities, truth, classes, specificity)
    for group, members in (class_groups or {}).items():
        means[f"{group}_accuracy"] = [f"sensitivity/{name}" for name in members]
    return statistics, means


def _binary(
    probabilities: Probabilities,
    truth: Int[np.ndarray, "n"],
    classes: Sequence[str],
    specificity: float,
    thresholds: Sequence[float] | np.ndarray,
) -> tuple[list[Statistic], Means]:
    ranks = ranking(probabilities[:, 1], truth == 1, specificity=specificity, finding=f"'{classes[1]}'")
    decided = decisions(truth, predicted_classes(probabilities, "binary", thresholds), 2)
    names = {"sensitivity/1": "sensitivity", "specificity/1": "specificity"}
    names |= {name: name for name in ("accuracy", "balanced_accuracy", "kappa")}
    names |= {f"f1/{index}": f"f1/{name}" for index, name in enumerate(classes)}
    each = decided.renamed(
        {f"sensitivity/{index}": f"sensitivity/{name}" for index, name in enumerate(classes)}
    )
    statistics = [
        each,
        _named(ranks, "", specificity),
        decided.renamed(names),
        _two_way(probabilities, truth),
    ]
    statistics.append(majority(truth, 2))
    return statistics, {"macro_f1": [f"f1/{name}" for name in classes]}


def _multi_class(
    probabilities: Probabilities, truth: Int[np.ndarray, "n"], classes: Sequence[str], specificity: float
) -> tuple[list[Statistic], Means]:
    statistics = [
        _named(
            ranking(probabilities[:, index], truth == index, specificity=specificity, finding=f"'{name}'"),
            f"/{name}",
            specificity,
        )
        for index, name in enumerate(classes)
    ]
    names = {name: name for name in ("accuracy", "kappa", "quadratic_kappa")}
    for metric in ("sensitivity", "specificity", "f1"):
        names |= {f"{metric}/{index}": f"{metric}/{name}" for index, name in enumerate(classes)}
    statistics.append(
        decisions(truth, predicted_classes(probabilities, "multi-class"), len(classes)).renamed(names)
    )
    of_truth = np.take_along_axis(probabilities, truth[:, None], axis=1)[:, 0]
    squared = (probabilities**2).sum(axis=1) - 2 * of_truth + 1
    statistics.append(calibration(*top_label(probabilities, truth), squared, surprise_of(of_truth)))
    statistics.append(majority(truth, len(classes)))
    members = {"balanced_accuracy": "sensitivity", "macro_f1": "f1"}
    members |= {m: m for m in ("auroc", "average_precision", sensitivity_name(specificity))}
    return statistics, {mean: [f"{metric}/{name}" for name in classes] for mean, metric in members.items()}


def _multi_label(
    probabilities: Probabilities,
    truth: Num[np.ndarray, "n classes"],
    classes: Sequence[str],
    specificity: float,
    thresholds: Sequence[float] | np.ndarray,
) -> tuple[list[Statistic], Means]:
    statistics: list[Statistic] = []
    for index, name in enumerate(classes):
        labelled = np.flatnonzero(~np.isnan(truth[:, index].astype(np.float64)))
        score, present = probabilities[labelled, index], truth[labelled, index].astype(np.int64)
        of_one = np.asarray(thresholds)[..., index : index + 1]
        says = predicted_classes(
            score[:, None], "multi-label", of_one[labelled] if of_one.ndim == 2 else of_one
        )[:, 0]
        names = {"sensitivity/1": f"sensitivity/{name}", "specificity/1": f"specificity/{name}"}
        names |= {m: f"{m}/{name}" for m in ("accuracy", "balanced_accuracy")} | {"f1/1": f"macro_f1/{name}"}
        of_two = _two_way(np.stack([1 - score, score], axis=1), present)
        of_finding = [
            _named(
                ranking(score, present == 1, specificity=specificity, finding=f"'{name}'"),
                f"/{name}",
                specificity,
            ),
            decisions(present, says.astype(np.int64), 2).renamed(names),
            of_two.renamed({metric: f"{metric}/{name}" for metric in ("brier", "ece", "log_loss")}),
            majority(present, 2).renamed({MAJORITY: f"{MAJORITY}/{name}"}),
        ]
        statistics += [statistic.among(labelled, len(truth)) for statistic in of_finding]
    summaries = [name for name in metric_names("multi-label", classes, False, specificity) if "/" not in name]
    return statistics, {metric: [f"{metric}/{name}" for name in classes] for metric in summaries}


def _two_way(probabilities: Float[np.ndarray, "n 2"], truth: Int[np.ndarray, "n"]) -> Statistic:
    """Calibration of two classes: the Brier score is that of the positive one."""
    of_truth = np.where(truth == 1, probabilities[:, 1], probabilities[:, 0])
    confidence, correct = top_label(probabilities, truth)
    return calibration(confidence, correct, (probabilities[:, 1] - truth) ** 2, surprise_of(of_truth))


def _named(ranks: Statistic, of_class: str, specificity: float) -> Statistic:
    names = {metric: f"{metric}{of_class}" for metric in ("auroc", "average_precision")}
    return ranks.renamed(names | {"sensitivity_at_specificity": f"{sensitivity_name(specificity)}{of_class}"})


def _check(
    probabilities: np.ndarray, truth: np.ndarray, kind: str, classes: Sequence[str], specificity: float
) -> None:
    if kind not in KINDS:
        raise InputError(f"unknown kind of classification '{kind}'", did_you_mean(kind, KINDS))
    if len(set(classes)) != len(classes):
        raise InputError("two classes have the same name", "give each class its own name")
    if probabilities.shape[1] != len(classes) or (kind == "binary" and len(classes) != 2):
        expected = "2 columns and 2 classes" if kind == "binary" else "one column a class"
        raise InputError(
            f"{probabilities.shape[1]} columns of probabilities, {len(classes)} classes", f"give {expected}"
        )
    if truth.shape != (probabilities.shape if kind == "multi-label" else probabilities.shape[:1]):
        raise InputError(
            f"truth has shape {truth.shape}, probabilities {probabilities.shape}",
            "give one class index an image, or for kind 'multi-label' one column a finding",
        )
    if not 0 < specificity < 1:
        raise InputError(
            f"specificity is {specificity:g}", "give a number between 0 and 1, for instance 0.95"
        )
    if not np.isfinite(probabilities).all():
        rows = int((~np.isfinite(probabilities)).any(axis=1).sum())
        raise InputError(
            f"probabilities of {rows} of {len(probabilities)} images are not finite",
            "the model has diverged; lower the learning rate",
        )
    _check_values(probabilities, truth, kind, len(classes))


def _check_values(probabilities: np.ndarray, truth: np.ndarray, kind: str, num_classes: int) -> None:
    if not len(truth):
        return
    # Half precision is wrong in the third digit; logits are wrong in the first.
    low, high = float(probabilities.min()), float(probabilities.max())
    if low < -0.01 or high > 1.01:
        raise InputError(
            f"probabilities lie in {low:.3g}..{high:.3g}, not in 0..1",
            "apply softmax or sigmoid to the logits",
        )
    total = probabilities.astype(np.float64).sum(axis=1)
    worst = float(total[np.abs(total - 1).argmax()])
    if kind != "multi-label" and abs(worst - 1) > 0.05:
        raise InputError(f"the probabilities of an image add up to {worst:.3g}, not 1", "apply softmax")
    values = truth[~np.isnan(truth)] if kind == "multi-label" else truth
    wrong = values[~np.isin(values, (0, 1) if kind == "multi-label" else np.arange(num_classes))]
    if len(wrong):
        meant = "1, 0 or NaN for each finding" if kind == "multi-label" else f"0..{num_classes - 1}"
        raise InputError(f"truth has the value {wrong[0]:g}", f"give {meant}")
