"""Classification of images: binary, multi-class (ordered or not), and multi-label with unknown findings.

Grades can also be learned as one *severity score* (``output="score"``), which thresholds turn into a grade.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from modicum.data.manifest import LABELS_PREFIX, Manifest, are_consecutive, name_classes
from modicum.errors import InputError
from modicum.tasks.base import Example, ImageLevelTask, Scores, TaskOptions
from modicum.tasks.classification.class_groups import ClassGroups, groups_of
from modicum.tasks.classification.learnable_labels import class_cautions, finding_cautions, order_note
from modicum.tasks.classification.metric_table import METRICS, metrics_of, severity_metrics_of
from modicum.tasks.classification.objectives import (
    OnBatch,
    Output,
    check_fits,
    make_loss,
    output_of,
    prior_of,
    usual_loss,
    validate_loss_settings,
    weights_of,
)
from modicum.tasks.classification.operating_points import OperatingPoints, PointChoice, point_notes
from modicum.tasks.classification.options import ClassificationOptions, no_positive, point_choice_of
from modicum.tasks.classification.positive_class import negative_then_positive
from modicum.tasks.classification.scores import ClassificationScores
from modicum.tasks.classification.severity_scores import SeverityScores
from modicum.tasks.classification.tables import prediction_columns, severity_columns
from modicum.tasks.classification.thresholds import Source as ThresholdsFrom
from modicum.tasks.classification.thresholds import Thresholds
from modicum.tasks.loss_words import LOSS_SETTINGS, refuse_settings
from modicum.tasks.metric import Metric
from modicum.tasks.stored_values import names_of, number_of, numbers_of, one_of
from modicum.wording import count_of

Kind = Literal["binary", "multi-class", "multi-label"]


class Classification(ImageLevelTask):
    """One of several classes an image, or several findings an image.

    Args:
        kind: ``binary`` (two classes, the second is the positive one), ``multi-class`` or ``multi-label``.
        classes: class names in the order of the outputs.
        ordered: the classes are grades; mistakes by two grades are worse than by one.
        specificity: where sensitivity is reported.
        output: the network's output for an image: ``logits``, one a class, or ``score``, its severity in grades.
        thresholds: the scores at which the next grade begins: ``midpoints`` (0.5, 1.5, ...), ``validation`` (chosen on
            validation predictions, see :meth:`calibrated`), or the values.
        order_assumed: the classes are taken as grades because of their names alone; :attr:`notes` says so.
        points: how logits become probabilities and decisions, or how that is to be chosen on validation predictions.
        positive_note: which of two classes is the positive one, and why.
        groups: head, medium and tail, whose accuracies are reported; None for none.

    Raises:
        InputError: a score of findings or of classes without an order, or thresholds that do not fit the classes.
    """

    name: ClassVar[str] = "classification"
    Options: ClassVar[type[TaskOptions]] = ClassificationOptions
    metric_table: ClassVar[tuple[Metric, ...]] = METRICS

    def __init__(
        self,
        kind: Kind,
        classes: Sequence[str],
        *,
        ordered: bool = False,
        specificity: float = 0.95,
        output: Output = "logits",
        thresholds: Thresholds | str | Sequence[float] = "midpoints",
        order_assumed: bool = False,
        points: OperatingPoints | PointChoice | None = None,
        positive_note: str = "",
        groups: ClassGroups | None = None,
    ) -> None:
        self.kind = kind
        self.classes = tuple(classes)
        self.ordered = ordered
        self.specificity = specificity
        self.output = output
        self.order_assumed = order_assumed
        self._thresholds = thresholds
        self.thresholds: Thresholds | None = None
        if output == "score":
            check_fits("mse", kind, ordered)
            self.thresholds = Thresholds.of(thresholds, len(self.classes))
        self.positive_note = positive_note
        self.groups = groups
        self.point_choice = points if isinstance(points, PointChoice) else PointChoice()
        self.points = (
            points if isinstance(points, OperatingPoints) else self.point_choice.start(kind, self.classes)
        )

    @classmethod
    def from_manifest(cls, manifest: Manifest, options: Mapping[str, Any]) -> "Classification":
        """Finds kind and classes.

        Columns ``labels:<finding>`` make it multi-label; otherwise the ``label`` column decides. Options:
        ``classes`` (names in order), ``ordered`` (None: grades are classes that are consecutive whole numbers),
        ``positive`` (of two classes; see :func:`negative_then_positive`), ``specificity``, ``operating_point``,
        ``temperature``, and ``thresholds`` for the time when a loss wants a score.
        """
        specificity = float(options.get("specificity") or 0.95)
        points = point_choice_of(options)
        findings = manifest.findings
        positive = options.get("positive")
        if findings:
            if positive is not None:
                raise no_positive(positive, f"{len(findings)} findings")
            _refuse_groups(options, "these are findings")
            names = options.get("classes") or findings
            return cls("multi-label", names, specificity=specificity, points=points)
        if "label" not in manifest.table:
            columns = ", ".join(str(c) for c in manifest.table.columns)
            raise InputError(
                f"{manifest.source}: no column 'label' or 'labels' (columns: {columns})",
                "name the column of the table with --label COLUMN, or sort the images into one folder a class",
            )
        class_names = manifest.classes()
        classes = [str(name) for name in options.get("classes") or class_names]
        if len(classes) < 2:
            only = f"only class '{classes[0]}'" if classes else "no labels"
            raise InputError(
                f"{manifest.source}: {only} in column 'label'", "add images of at least one other class"
            )
        ordered = options.get("ordered")
        if ordered is None:
            ordered = len(classes) > 2 and are_consecutive(classes)
        kind: Kind = "binary" if len(classes) == 2 else "multi-class"
        is_ordered = bool(ordered) and kind == "multi-class"
        note = ""
        if kind == "binary":
            given = bool(options.get("classes"))
            classes, note = negative_then_positive(classes, positive, in_given_order=given)
        elif positive is not None:
            raise no_positive(positive, f"{len(classes)} classes")
        return cls(
            kind,
            classes,
            ordered=is_ordered,
            specificity=specificity,
            thresholds=options.get("thresholds") or "midpoints",
            order_assumed=is_ordered and options.get("ordered") is None,
            points=points,
            positive_note=note,
            groups=groups_of(manifest, classes, options),
        )

    @classmethod
    def from_options(cls, options: Mapping[str, Any], num_classes: int | None = None) -> "Classification":
        """Grades, 2 by default; of one, whose network has one output, a severity score."""
        names = [str(number) for number in range(num_classes or 2)]
        kind: Kind = "binary" if len(names) == 2 else "multi-class"
        return cls(kind, names, ordered=len(names) != 2, output="score" if num_classes == 1 else "logits")

    def to_dict(self) -> dict[str, Any]:
        """Of a score also ``output``, ``thresholds`` and ``thresholds_from``; dictionaries without them are of logits,
        which have ``operating_points`` where they were given or chosen.
        """
        values = {
            "name": self.name,
            "kind": self.kind,
            "classes": list(self.classes),
            "ordered": self.ordered,
            "specificity": self.specificity,
        }
        if self.groups is not None:
            values["class_groups"] = self.groups.as_dict()
        if self.thresholds is None:
            return values | self.points.as_dict()
        return values | {"output": "score", **self.thresholds.as_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Classification":
        kind = one_of(values["kind"], get_args(Kind), "kind")
        classes = names_of(values["classes"], "classes", 2 if kind == "binary" else None)
        plain = {
            "ordered": one_of(values["ordered"], (True, False), "ordered"),
            "specificity": number_of(values["specificity"], "specificity", 0, 1),
        }
        if one_of(values.get("output", "logits"), ("logits", "score"), "output") == "logits":
            count = {"binary": 1, "multi-label": len(classes)}.get(kind, 0)
            points = OperatingPoints.from_dict(values.get("operating_points"), count)
            groups = ClassGroups.from_dict(values.get("class_groups"))
            if groups is not None:
                one_of(sorted(groups.counts), (sorted(classes),), "classes in groups")
            return cls(kind, classes, **plain, points=points, groups=groups)
        found_by = one_of(values["thresholds_from"], get_args(ThresholdsFrom), "thresholds' source")
        given = Thresholds(numbers_of(values["thresholds"], "thresholds", len(classes) - 1), found_by)
        return cls(kind, classes, **plain, output="score", thresholds=given)

    def _with_score(self, thresholds: Thresholds | str | Sequence[float]) -> "Classification":
        return Classification(
            cast(Kind, self.kind),
            self.classes,
            ordered=self.ordered,
            specificity=self.specificity,
            output="score",
            thresholds=thresholds,
            positive_note=self.positive_note,
        )

    @property
    def num_outputs(self) -> int:
        return len(self.classes) if self.thresholds is None else 1

    def graph_outputs(self) -> tuple[str, ...]:
        return ("probabilities", "logits") if self.thresholds is None else ("score",)

    @property
    def notes(self) -> list[str]:
        """Which class is the positive one; that classes are taken as grades, where nobody said so; how outputs become
        decisions, where that was chosen on validation predictions.
        """
        lines = [self.positive_note] if self.positive_note else []
        if self.groups is not None:
            lines.append(self.groups.note())
        if self.order_assumed:
            lines.append(order_note(self.classes))
        if self.thresholds is None:
            return [*lines, *point_notes(self.points, self.kind, self.classes)]
        if self.thresholds.source != "validation":
            return lines
        values = ", ".join(f"{value:.3g}" for value in self.thresholds.values)
        chosen = (
            f"scores become grades at {values}, where quadratic kappa is highest on the validation images"
        )
        return [*lines, chosen]

    @property
    def monitor(self) -> str:
        return "quadratic_kappa" if self.ordered else "auroc"

    def metrics(self) -> dict[str, Metric]:
        if self.thresholds is not None:
            return severity_metrics_of(self.classes, self.specificity)
        return metrics_of(self.kind, self.classes, self.ordered, self.specificity, self.groups is not None)

    def targets(self, manifest: Manifest) -> dict[str, np.ndarray]:
        """``label`` int64 ``[n]``, or ``labels`` float32 ``[n, findings]`` with NaN where unknown.

        Raises:
            InputError: a column is missing, or a label is not one of the classes.
        """
        if self.kind == "multi-label":
            columns = [f"{LABELS_PREFIX}{name}" for name in self.classes]
            missing = [column for column in columns if column not in manifest.table]
            if missing:
                name = missing[0].removeprefix(LABELS_PREFIX)
                raise InputError(
                    f"{manifest.source}: finding '{name}' has no column",
                    "add the column, with blank cells where the finding is unknown",
                )
            return {"labels": manifest.table[columns].to_numpy(dtype=np.float32)}
        if "label" not in manifest.table:
            raise InputError(f"{manifest.source}: no column 'label'", "name it with --label COLUMN")
        number = {name: index for index, name in enumerate(self.classes)}
        labels = np.empty(len(manifest), dtype=np.int64)
        for row, value in enumerate(manifest.table["label"]):
            if str(value) not in number:
                more = int((manifest.table["label"].astype(str) == str(value)).sum()) - 1
                raise InputError(
                    f"{manifest.describe_row(row)}: label '{value}' is not in {name_classes(self.classes)}"
                    + (f" (nor in {count_of(more, 'other row')})" if more else ""),
                    "fix the row, or leave its label blank: it is then left out",
                )
            labels[row] = number[str(value)]
        return {"label": labels}

    def cautions(self, manifest: Manifest) -> list[str]:
        if self.kind == "multi-label":
            return finding_cautions(manifest, self.classes)
        return class_cautions(manifest, self.classes)

    def example_targets(self, count: int) -> dict[str, np.ndarray]:
        if self.kind == "multi-label":
            present = np.arange(count)[:, None] % 2 == np.arange(len(self.classes)) % 2
            return {"labels": present.astype(np.float32)}
        return {"label": np.arange(count, dtype=np.int64) % len(self.classes)}

    def sampling_labels(self, targets: Mapping[str, np.ndarray]) -> np.ndarray:
        """Class numbers ``[n]``, or findings ``[n, findings]``, which are balanced by the rarest an image has."""
        return targets["labels" if self.kind == "multi-label" else "label"]

    @classmethod
    def validate_loss(cls, settings: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        validate_loss_settings(settings, options)

    def for_loss(self, words: str) -> "Classification":
        """One output for losses of a severity score, a logit a class for others. Raises as :func:`check_fits`."""
        if words == "auto":
            return self
        check_fits(words, self.kind, self.ordered, self.classes)
        if output_of(words) != "score":
            return self
        if self.groups is not None:
            _refuse_groups(self.groups.as_dict(), f"loss '{words}' makes grades of a severity score")
        return self._with_score(self._thresholds)

    def loss(self, targets: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> OnBatch:
        """The loss on a batch. Options: those of :data:`~modicum.tasks.loss_words.LOSS_SETTINGS`, and ``sampling``, whose
        class shares ``logit_adjusted`` corrects for; ``auto`` is ``bce`` of findings, ``cross_entropy`` of classes and
        ``mse`` of a score.

        Raises:
            InputError: the loss does not fit the labels or the outputs, or the class weights do not fit the classes.
        """
        given = {**LOSS_SETTINGS, **options}
        words = usual_loss(self.kind, self.output) if given["loss"] == "auto" else given["loss"]
        check_fits(words, self.kind, self.ordered)
        if output_of(words) != self.output:
            raise InputError(
                f"loss '{words}' is of {output_of(words)}, but this task's output is {self.output}",
                f"use task.for_loss('{words}')",
            )
        if targets and self.kind == "multi-label":
            refuse_settings(given, ["label_smoothing"], "bce smooths no labels", "leave it at 0")
        # Of a score whose grades are not known yet (a plan without data) there are no classes to weight.
        asked = given["class_weights"] if len(self.classes) > 1 else "none"
        weights = weights_of(asked, targets, self.classes)
        decay = float(given["class_weights_decay"]) if given["class_weights"] == "dynamic" else None
        prior = prior_of(words, targets, len(self.classes), str(given.get("sampling", "natural")))
        return make_loss(words, weights, float(given["label_smoothing"]), decay, prior)

    @property
    def calibrates(self) -> str:
        if self.thresholds is None:
            return self.point_choice.pending(self.kind)
        return "thresholds" if self.thresholds.pending else ""

    @property
    def needs_calibration(self) -> bool:
        """Thresholds of a score are asked for; operating points have a default, and are chosen where they can be."""
        return self.thresholds is not None and self.thresholds.pending

    def calibrated(self, scores: Scores) -> "Classification":
        """The task with what is chosen on the scores: operating points and temperature, or of a severity score the
        thresholds that maximise quadratic kappa.
        """
        if not self.calibrates:
            return self
        assert isinstance(scores, ClassificationScores)
        if isinstance(scores, SeverityScores):
            assert self.thresholds is not None
            return self._with_score(self.thresholds.tuned(*scores.scores_and_truth()))
        chosen = self.point_choice.chosen(
            *scores.outputs_and_truth(), self.kind, self.classes, self.specificity
        )
        return Classification(
            cast(Kind, self.kind),
            self.classes,
            ordered=self.ordered,
            specificity=self.specificity,
            points=chosen,
            positive_note=self.positive_note,
            groups=self.groups,
        )

    def activate(self, outputs: Float[Tensor, "*batch outputs"]) -> Float[Tensor, "*batch outputs"]:
        """Logits, divided by the temperature, to probabilities: sigmoid for findings, softmax for classes; a score stays
        what it is, in grades.

        In single precision or the outputs' own.
        """
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        if self.thresholds is not None:
            return outputs
        if self.points.temperature != 1:
            outputs = outputs / self.points.temperature
        return outputs.sigmoid() if self.kind == "multi-label" else outputs.softmax(-1)

    def averaged(self, outputs: Float[Tensor, "members n *outputs"]) -> Float[Tensor, "n *outputs"]:
        """The mean of severity scores, or the logits of mean probabilities."""
        if self.output == "score":
            return outputs.mean(0)
        if self.kind == "multi-label":
            return torch.logit(outputs.double().sigmoid().mean(0)).to(outputs.dtype)
        logs = outputs.double().log_softmax(-1)
        return (logs.logsumexp(0) - math.log(len(outputs))).to(outputs.dtype)

    def scores(self) -> ClassificationScores:
        if self.thresholds is not None:
            return SeverityScores(self.kind, self.classes, self.thresholds, self.specificity, self.activate)
        return ClassificationScores(
            self.kind,
            self.classes,
            self.ordered,
            self.specificity,
            self.activate,
            self.points.thresholds,
            None if self.groups is None else self.groups.members(),
        )

    def prediction_table(self, activated: Float[np.ndarray, "n outputs"]) -> Any:
        """Columns ``prediction`` and, a class, ``p_<class>``; of a score ``prediction`` and ``score``."""
        if self.thresholds is not None:
            return severity_columns(activated[:, 0], self.classes, self.thresholds)
        return prediction_columns(activated, self.classes, self.kind, self.points.thresholds)

    def examples(self, scores: Scores, count: int) -> list[Example]:
        assert isinstance(scores, ClassificationScores)
        return scores.examples(count)


def _refuse_groups(options: Mapping[str, Any], reason: str) -> None:
    if options.get("head_above") is not None or options.get("tail_below") is not None:
        raise InputError(
            f"head_above and tail_below group classes by their images, and {reason}", "leave them out"
        )
