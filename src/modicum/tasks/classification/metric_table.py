"""The metrics of classifiers in words and numbers; :mod:`modicum.tasks.classification.metrics` defines them."""

from collections.abc import Sequence
from dataclasses import replace

from modicum.tasks.metric import INFINITY, Metric, with_classes

METRICS = (
    Metric(
        "auroc",
        "AUROC",
        "0.5 is guessing, 1 is perfect",
        "How well it ranks images with a condition above those without: 0.5 is guessing, 1 is perfect.",
        chance=0.5,
        per_class=True,
        in_brief=True,
    ),
    Metric(
        "average_precision",
        "Average precision",
        "area under precision and recall",
        "Precision averaged over all it finds. Guessing gives the share of positive images.",
        per_class=True,
    ),
    Metric(
        "accuracy",
        "Accuracy",
        "right decisions",
        "The share of images that it named rightly.",
        baseline="majority_accuracy",
        in_brief=True,
    ),
    Metric(
        "majority_accuracy",
        "Accuracy of the most common class",
        "of saying that class for every image: what accuracy is to be compared with",
        higher_is_better=None,
    ),
    Metric(
        "balanced_accuracy",
        "Balanced accuracy",
        "every class counts alike",
        "The share found of each class, averaged, so that rare classes count as much as common ones.",
        in_brief=True,
    ),
    Metric(
        "macro_f1",
        "Macro F1",
        "found and right, every class alike",
        "The balance between finding and being right, averaged over classes.",
    ),
    # Of several classes whose groups are stated (head_above, tail_below).
    Metric(
        "head_accuracy",
        "Accuracy of the head",
        "mean over the classes with many training images",
        "The share found of each common class, averaged.",
        compared=True,
    ),
    Metric(
        "medium_accuracy",
        "Accuracy of the middle",
        "mean over the classes between head and tail",
        "The share found of each class that is neither common nor rare, averaged.",
        compared=True,
    ),
    Metric(
        "tail_accuracy",
        "Accuracy of the tail",
        "mean over the classes with few training images",
        "The share found of each rare class, averaged.",
        compared=True,
    ),
    Metric(
        "kappa",
        "Cohen's kappa",
        "agreement on classes beyond chance",
        "Agreement with the true classes beyond chance: 0 is chance, 1 is perfect; every mistake counts alike.",
        range=(-1.0, 1.0),
        chance=0.0,
    ),
    Metric(
        "sensitivity_at_{percent}_specificity",
        "Sensitivity at {percent} % specificity",
        "found, with {rest} false alarms in 100, read from the ROC curve of these images",
        per_class=True,
    ),
    Metric(
        "quadratic_kappa",
        "Quadratic kappa",
        "agreement on grades beyond chance",
        "Agreement with the true grades beyond chance: 0 is chance, 1 is perfect. Two grades off weigh four times as "
        "much as one.",
        range=(-1.0, 1.0),
        chance=0.0,
        in_brief=True,
    ),
    # Of severity scores alone.
    Metric(
        "mae",
        "Mean absolute error",
        "distance from the true grade, in grades; lower is better",
        "How many grades it is off on average: 0 is perfect. Lower is better.",
        higher_is_better=False,
        range=(0.0, INFINITY),
    ),
    # Of several classes, squares are added up over them.
    Metric(
        "brier",
        "Brier score",
        "squared error; lower is better",
        higher_is_better=False,
        range=(0.0, 2.0),
    ),
    Metric("ece", "Calibration error", "stated to observed; lower is better", higher_is_better=False),
    Metric(
        "log_loss",
        "Log loss",
        "negative log-likelihood; lower is better",
        higher_is_better=False,
        range=(0.0, INFINITY),
    ),
    # Of prediction sets, where an evaluation was asked for some (--conformal).
    Metric(
        "coverage",
        "Coverage of prediction sets",
        "sets that hold the true class, to be compared with what was asked for",
        higher_is_better=None,
        per_class=True,
        in_training=False,
    ),
    Metric(
        "set_size",
        "Size of prediction sets",
        "classes in a set on average; of findings 1 is decided, 2 undecided",
        higher_is_better=None,
        range=(1.0, INFINITY),
        in_training=False,
    ),
    Metric("sensitivity", "Sensitivity", "positives found, as decided", per_class=True),
    Metric("specificity", "Specificity", "negatives left alone, as decided", per_class=True),
)
_OF_ONE_CLASS = ("sensitivity", "specificity")
_OF_GROUPS = ("head_accuracy", "medium_accuracy", "tail_accuracy")
_OF_SETS = ("coverage", "set_size")
_BESIDE_GROUPS = ("balanced_accuracy", "macro_f1")


def metrics_of(
    kind: str,
    classes: Sequence[str],
    ordered: bool = False,
    specificity: float = 0.95,
    grouped: bool = False,
) -> dict[str, Metric]:
    """The metrics of a classifier by name: the summaries, then ``<metric>/<class>`` class by class.

    Args:
        kind: ``binary``, ``multi-class`` or ``multi-label``. Of two classes, the second one's metrics are the summaries.
        classes: names of the classes or findings.
        ordered: the classes are grades.
        specificity: where sensitivity is read.
        grouped: the classes are in groups: head, medium and tail.
    """
    table = [metric.at(100 * specificity) for metric in METRICS if metric.name not in ("mae", *_OF_SETS)]
    if grouped:
        table = [replace(m, compared=True) if m.name in _BESIDE_GROUPS else m for m in table]
    else:
        table = [metric for metric in table if metric.name not in _OF_GROUPS]
    if not (ordered and kind == "multi-class"):
        table = [metric for metric in table if metric.name != "quadratic_kappa"]
    if kind == "multi-label":
        table = [metric for metric in table if metric.name != "kappa"]
    if kind == "binary":
        return with_classes(table, ())
    metrics = with_classes(table, classes)
    if kind == "multi-label":
        return metrics
    return {name: metric for name, metric in metrics.items() if name not in _OF_ONE_CLASS}


def cut_name(grade: str) -> str:
    """``>=2``: grade 2 or more against the grades below."""
    return f">={grade}"


def severity_metrics_of(classes: Sequence[str], specificity: float = 0.95) -> dict[str, Metric]:
    """The metrics of a severity score by name: the summaries, then cut by cut and grade by grade.

    Args:
        classes: names of the grades, rising. Of two, the second one's metrics are the summaries.
        specificity: where sensitivity is read, at the lowest cut.
    """
    no_severity = ("average_precision", "brier", "ece", "log_loss", *_OF_GROUPS, *_OF_SETS)
    table = {m.name: m.at(100 * specificity) for m in METRICS if m.name not in no_severity}
    of_grades = [table.pop(name) for name in _OF_ONE_CLASS]
    if len(classes) == 2:
        return with_classes([*table.values(), *of_grades], ())
    cuts = [table["auroc"].of_class(cut_name(name)) for name in classes[1:]]
    each = [metric.of_class(name) for metric in of_grades for name in classes]
    return {metric.name: metric for metric in (*table.values(), *cuts, *each)}
