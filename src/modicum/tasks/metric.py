"""A metric as a value: its name, which direction is better, its range, and what people read of it.

The metrics of a kind of task stand in one table, ``Task.metric_table``. Scores, the selection of weights, reports,
comparisons and the command line all read that table, so that a new metric is one entry in it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from modicum.errors import InputError, did_you_mean

INFINITY = float("inf")
_PERCENT, _REST = "{percent}", "{rest}"


@dataclass(frozen=True)
class Metric:
    """Description of a metric: title, meaning, direction and range.

    Attributes:
        name: in ``metrics.json``. With ``{percent}`` in it, this is a family: see :meth:`at`.
        title: a heading of a few words.
        meaning: how to read a value, in a line next to it.
        explanation: the same in a sentence or two; empty if the line is enough.
        higher_is_better: None if the metric does not measure quality.
        range: the lowest and the highest possible value.
        unit: after the value, for instance ``dB``; empty for shares, and where it differs from data set to data set.
        decimals: number of decimals to show.
        baseline: name of the metric that says what this one comes to without looking at the images; empty for none.
        baseline_words: what that baseline does.
        chance: what guessing comes to on any data; None where that depends on the data.
        per_class: whether each of several classes has its own, ``<name>/<class>``.
        per_image: whether each image has its own, in a column of the predictions' table, and the metric is their mean.
        in_training: whether it is measured on the validation images after each epoch, and can thus select weights.
        in_brief: whether it is among the few that sum up an evaluation in one line.
        compared: whether a comparison has a column of it beside the metric that it is made by.
    """

    name: str
    title: str
    meaning: str
    explanation: str = ""
    higher_is_better: bool | None = True
    range: tuple[float, float] = (0.0, 1.0)
    unit: str = ""
    decimals: int = 3
    baseline: str = ""
    baseline_words: str = "saying the most common class for every image"
    chance: float | None = None
    per_class: bool = False
    per_image: bool = False
    in_training: bool = True
    in_brief: bool = False
    compared: bool = False

    @property
    def is_share(self) -> bool:
        """Whether values lie between 0 and 1, or nearly so, so that one axis shows several such metrics."""
        return max(map(abs, self.range)) < INFINITY and not self.unit

    @property
    def is_family(self) -> bool:
        """Whether this is a family of metrics whose names differ in a number."""
        return _PERCENT in self.name

    def at(self, percent: float) -> "Metric":
        """The member of a family: ``sensitivity_at_95_specificity`` for 95; any other metric as it is."""
        values = {_PERCENT: f"{percent:g}", _REST: f"{100 - percent:g}"}

        def filled(text: str) -> str:
            for mark, value in values.items():
                text = text.replace(mark, value)
            return text

        return replace(
            self,
            name=filled(self.name),
            title=filled(self.title),
            meaning=filled(self.meaning),
            explanation=filled(self.explanation),
        )

    def called(self, name: str) -> "Metric | None":
        """This metric, or the member of this family, if it has the name; else None."""
        if not self.is_family:
            return self if name == self.name else None
        before, after = map(re.escape, self.name.split(_PERCENT))
        number = re.fullmatch(rf"{before}(\d+(?:\.\d+)?){after}", name)
        metric = self.at(float(number[1])) if number and 0 < float(number[1]) < 100 else None
        return metric if metric is not None and metric.name == name else None

    def of_class(self, class_name: str) -> "Metric":
        """That of one class, ``dice/cup``, or of a grade and those above it, ``auroc/>=2``."""
        above = class_name.removeprefix(">=")
        whose = f"“{class_name}”" if above == class_name else f"“{above}” or more"
        return replace(self, name=f"{self.name}/{class_name}", title=f"{self.title} of {whose}")


def no_better_than_baselines(
    metrics: Iterable[Metric], values: Mapping[str, float | int | None]
) -> list[str]:
    """A sentence for each metric that is no better than its baseline on the same images.

    Args:
        metrics: which, higher is better in each.
        values: of metrics by name. A baseline of 1, where all images are of one class, tells nothing.
    """
    sentences = []
    for metric in metrics:
        value, baseline = values.get(metric.name), values.get(metric.baseline)
        if value is not None and baseline is not None and value <= baseline < 1:
            sentences.append(
                f"{metric.title.lower()} {value:.3f} is {'below' if value < baseline else 'no better than'} the "
                f"{baseline:.3f} of {metric.baseline_words}"
            )
    return sentences


LOSS = Metric(
    "loss",
    "Loss",
    "what training lowers, on images that it does not learn from; lower is better",
    higher_is_better=False,
    range=(-INFINITY, INFINITY),
)
"""Of every task whose stages have a loss in validation."""


def with_classes(metrics: Iterable[Metric], classes: Iterable[str]) -> dict[str, Metric]:
    """Metrics by name, in their order; then those of single classes, metric by metric and class by class."""
    metrics, classes = list(metrics), list(classes)
    by_name = {metric.name: metric for metric in metrics}
    of_classes = [metric.of_class(name) for metric in metrics if metric.per_class for name in classes]
    return by_name | {metric.name: metric for metric in of_classes}


def find_metric(table: Iterable[Metric], name: str) -> Metric | None:
    """The entry of a table for a name, of any class and number; None if there is none."""
    base, of_a_class, class_name = name.partition("/")
    if base == LOSS.name and not of_a_class:
        return LOSS
    matched = next((match for metric in table if (match := metric.called(base)) is not None), None)
    if matched is None or (of_a_class and not matched.per_class):
        return None
    return matched.of_class(class_name) if of_a_class else matched


def known_metric(metrics: Mapping[str, Metric], name: str, task: str) -> Metric:
    """One of a task's metrics, or :data:`LOSS`.

    Args:
        metrics: by name.
        name: what is looked for.
        task: what to call the task in messages.

    Raises:
        InputError: the task has no such metric or class; with the name that may have been meant.
    """
    if name == LOSS.name:
        return LOSS
    if name in metrics:
        return metrics[name]
    base, of_a_class, class_name = name.partition("/")
    classes = [other.partition("/")[2] for other in metrics if other.startswith(f"{base}/")]
    if of_a_class and classes:
        hint = did_you_mean(class_name, classes)
        raise InputError(f"metric '{name}': there is no class '{class_name}'", hint)
    summaries = [other for other in metrics if "/" not in other]
    raise InputError(f"unknown metric '{name}' for {task}", did_you_mean(name, summaries))


def is_higher_better(metric: Metric) -> bool:
    """Direction of a metric. Raises :class:`~modicum.errors.InputError` if it does not measure quality."""
    if metric.higher_is_better is None:
        raise InputError(f"metric '{metric.name}' says nothing of how good a model is", "use another")
    return metric.higher_is_better


def check_monitor(metric: Metric) -> None:
    """Raises :class:`~modicum.errors.InputError` for a metric that cannot select weights."""
    is_higher_better(metric)
    if not metric.in_training:
        raise InputError(
            f"metric '{metric.name}' is measured only in evaluations, not after each epoch",
            "choose another monitor",
        )


def check_monitor_name(table: Iterable[Metric], name: str) -> None:
    """As :func:`check_monitor`, by what is known of a task before its data are read.

    Raises:
        InputError: no task of this kind has such a metric, or it cannot select weights.
    """
    table = list(table)
    matched = find_metric(table, name)
    if matched is None:
        names = [metric.at(95.0).name for metric in table]
        raise InputError(f"setting 'monitor': unknown metric '{name}'", did_you_mean(name, names))
    check_monitor(matched)
