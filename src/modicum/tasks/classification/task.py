"""Classification of images: binary, multi-class (ordered or not), and multi-label with unknown findings."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modicum.data.manifest import LABELS_PREFIX, Manifest, are_consecutive, name_classes
from modicum.errors import InputError
from modicum.losses import CrossEntropy, FocalLoss, MaskedBCEWithLogits, class_weights_from_counts
from modicum.tasks.base import Example, ImageLevelTask, Scores, TaskOptions
from modicum.tasks.classification.metric_table import METRICS, metrics_of
from modicum.tasks.classification.scores import ClassificationScores
from modicum.tasks.classification.tables import prediction_columns
from modicum.tasks.metric import Metric

Kind = Literal["binary", "multi-class", "multi-label"]


class ClassificationOptions(TaskOptions):
    """Settings of classification."""

    specificity: float = Field(0.95, gt=0, lt=1, description="Where sensitivity is reported.")


class Classification(ImageLevelTask):
    """One of several classes an image, or several findings an image.

    Args:
        kind: ``binary`` (two classes, the second is the positive one), ``multi-class`` or ``multi-label``.
        classes: class names in the order of the outputs.
        ordered: the classes are grades; mistakes by two grades are worse than by one.
        specificity: where sensitivity is reported.
    """

    name: ClassVar[str] = "classification"
    Options: ClassVar[type[TaskOptions]] = ClassificationOptions
    metric_table: ClassVar[tuple[Metric, ...]] = METRICS

    def __init__(
        self, kind: Kind, classes: Sequence[str], *, ordered: bool = False, specificity: float = 0.95
    ) -> None:
        self.kind = kind
        self.classes = tuple(classes)
        self.ordered = ordered
        self.specificity = specificity

    @classmethod
    def from_manifest(cls, manifest: Manifest, options: Mapping[str, Any]) -> "Classification":
        """Finds kind and classes.

        Columns ``labels:<finding>`` make it multi-label; otherwise the ``label`` column decides. Options:
        ``classes`` (names in order), ``ordered`` (None: grades are classes that are consecutive whole numbers),
        ``specificity``.
        """
        specificity = float(options.get("specificity") or 0.95)
        findings = manifest.findings
        if findings:
            return cls("multi-label", options.get("classes") or findings, specificity=specificity)
        if "label" not in manifest.table:
            columns = ", ".join(str(c) for c in manifest.table.columns)
            raise InputError(
                f"{manifest.source}: no column 'label' or 'labels' (columns: {columns})",
                "name a table's with --label COLUMN, or sort the images into one folder a class",
            )
        found = manifest.classes()
        classes = [str(name) for name in options.get("classes") or found]
        if len(classes) < 2:
            only = f"only class '{classes[0]}'" if classes else "no labels"
            raise InputError(
                f"{manifest.source}: {only} in column 'label'", "a classifier needs two classes or more"
            )
        ordered = options.get("ordered")
        if ordered is None:
            ordered = len(classes) > 2 and are_consecutive(classes)
        kind: Kind = "binary" if len(classes) == 2 else "multi-class"
        return cls(kind, classes, ordered=bool(ordered) and kind == "multi-class", specificity=specificity)

    @classmethod
    def from_options(cls, options: Mapping[str, Any], num_classes: int | None = None) -> "Classification":
        """Classes that exclude each other, 2 by default."""
        names = [str(number) for number in range(num_classes or 2)]
        return cls("binary" if len(names) == 2 else "multi-class", names)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "classes": list(self.classes),
            "ordered": self.ordered,
            "specificity": self.specificity,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Classification":
        return cls(
            values["kind"], values["classes"], ordered=values["ordered"], specificity=values["specificity"]
        )

    @property
    def num_outputs(self) -> int:
        return len(self.classes)

    @property
    def monitor(self) -> str:
        return "quadratic_kappa" if self.ordered else "auroc"

    def metrics(self) -> dict[str, Metric]:
        return metrics_of(self.kind, self.classes, self.ordered, self.specificity)

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
                    f"{manifest.source}: finding '{name}' has no column", "add it, blank where unknown"
                )
            return {"labels": manifest.table[columns].to_numpy(dtype=np.float32)}
        if "label" not in manifest.table:
            raise InputError(f"{manifest.source}: no column 'label'", "name it with --label COLUMN")
        number = {name: index for index, name in enumerate(self.classes)}
        labels = np.empty(len(manifest), dtype=np.int64)
        for row, value in enumerate(manifest.table["label"]):
            if str(value) not in number:
                raise InputError(
                    f"{manifest.describe_row(row)}: label '{value}' is not in {name_classes(self.classes)}",
                    "fix the row, or name all classes with --classes",
                )
            labels[row] = number[str(value)]
        return {"label": labels}

    def example_targets(self, count: int) -> dict[str, np.ndarray]:
        if self.kind == "multi-label":
            present = np.arange(count)[:, None] % 2 == np.arange(len(self.classes)) % 2
            return {"labels": present.astype(np.float32)}
        return {"label": np.arange(count, dtype=np.int64) % len(self.classes)}

    def sampling_labels(self, targets: Mapping[str, np.ndarray]) -> np.ndarray:
        """Class numbers ``[n]``, or findings ``[n, findings]``, which are balanced by the rarest an image has."""
        return targets["labels" if self.kind == "multi-label" else "label"]

    def loss(self, targets: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> nn.Module:
        """The loss on a batch. Options: ``loss`` (auto, cross_entropy, focal, bce), ``class_weights``
        (none, balanced, or a list), ``label_smoothing``.
        """
        name = options.get("loss", "auto")
        default = "bce" if self.kind == "multi-label" else "cross_entropy"
        name = default if name == "auto" else name
        allowed = {"bce"} if self.kind == "multi-label" else {"cross_entropy", "focal"}
        if name not in allowed:
            raise InputError(
                f"loss '{name}' does not fit {self.kind} labels", f"use {' or '.join(sorted(allowed))}"
            )
        weights = self._class_weights(targets, options.get("class_weights", "none"))
        if name == "bce":
            return OnBatch(MaskedBCEWithLogits(weights), "labels")
        if name == "focal":
            return OnBatch(FocalLoss(), "label")
        smoothing = float(options.get("label_smoothing", 0.0))
        return OnBatch(CrossEntropy(weights, smoothing), "label")

    def _class_weights(self, targets: Mapping[str, np.ndarray], choice: Any) -> Tensor | None:
        if choice is None or choice == "none" or not targets:
            return None  # without training rows nothing will be learned: a run opened for prediction
        if choice == "balanced":
            if self.kind == "multi-label":
                positives = np.nansum(targets["labels"], axis=0)
                negatives = np.nansum(1 - targets["labels"], axis=0)
                return torch.tensor(negatives / np.maximum(positives, 1), dtype=torch.float32)
            counts = np.bincount(targets["label"], minlength=len(self.classes))
            return class_weights_from_counts(counts.tolist())
        weights = torch.tensor([float(w) for w in choice], dtype=torch.float32)
        if len(weights) != len(self.classes):
            raise InputError(
                f"class_weights has {len(weights)} values for {len(self.classes)} classes",
                f"give one each, in the order {name_classes(self.classes)}",
            )
        return weights

    def activate(self, outputs: Float[Tensor, "*batch classes"]) -> Float[Tensor, "*batch classes"]:
        """Logits to probabilities: sigmoid for findings, softmax for classes; in single precision or the outputs' own."""
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        return outputs.sigmoid() if self.kind == "multi-label" else outputs.softmax(-1)

    def scores(self) -> ClassificationScores:
        return ClassificationScores(self.kind, self.classes, self.ordered, self.specificity, self.activate)

    def prediction_table(self, activated: Float[np.ndarray, "n classes"]) -> Any:
        return prediction_columns(activated, self.classes, self.kind)

    def examples(self, scores: Scores, count: int) -> list[Example]:
        assert isinstance(scores, ClassificationScores)
        return scores.examples(count)


class OnBatch(nn.Module):
    """Applies a loss to the outputs and one target of the batch."""

    def __init__(self, loss: nn.Module, target: str) -> None:
        super().__init__()
        self.loss = loss
        self.target = target

    def forward(self, outputs: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        return self.loss(outputs, batch[self.target])
