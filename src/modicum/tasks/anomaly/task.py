"""Anomaly detection: how abnormal an image is, learned from normal images (and, for some methods, a few abnormal ones).

What a method of this task owes. The predictor gives one number an image, outputs ``[n, 1]``: the higher, the more
abnormal, of any scale (distances, errors, or log-odds, which :meth:`Method.task_options` declares with
``{"output": "logit"}``). Where it can say where, it has :meth:`~modicum.methods.predictor.MakesMaps.maps`, whose first
map, ``{"anomaly": [n, rows, columns]}``, lies in ``[0, 1]`` by one rule for all images: it is written on request, shown
over examples, and measured against masks where the data have some. Targets of a batch are ``label`` (0 normal, 1
abnormal) and ``groups`` ``[n, groups]`` (1 where an image is of an abnormal class). Stages that learn from normal images
alone have ``learns_from = learns_from_normal``.

The threshold is chosen on the normal validation images, at the task's specificity.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.data.manifest import Manifest
from modicum.errors import InputError
from modicum.tasks.anomaly.groups import normal_and_groups
from modicum.tasks.anomaly.metric_table import METRICS, metrics_of
from modicum.tasks.anomaly.scores import AnomalyScores
from modicum.tasks.anomaly.standardised import scale_of_normals
from modicum.tasks.anomaly.tables import prediction_columns
from modicum.tasks.anomaly.threshold import FEWEST, Threshold, threshold_of_normals
from modicum.tasks.base import Batch, Example, ImageLevelTask, Scores, TaskOptions
from modicum.tasks.classification.positive_class import denies
from modicum.tasks.metric import Metric
from modicum.tasks.stored_values import names_of, one_of
from modicum.wording import count_of

Output = Literal["score", "logit"]


class AnomalyOptions(TaskOptions):
    """Settings of anomaly detection."""

    normal: str | list[str] | None = Field(
        None,
        description="Which classes are normal; by default the one that reads so (0, normal, healthy, no ...), or the "
        "only one there is. All others are abnormal, each a group of its own in scores.",
    )
    specificity: float = Field(
        0.95,
        gt=0,
        lt=1,
        description="Share of normal images that the threshold leaves alone, chosen on the normal validation images; and "
        "where sensitivity is reported.",
    )
    threshold: Literal["validation"] | float = Field(
        "validation",
        description="Score from which on an image is called abnormal: chosen on the normal validation images, or a "
        "number.",
    )
    output: Output = Field(
        "score",
        description="What networks say: a score of any scale, or log-odds (logit), shown as probabilities. Methods "
        "decide it.",
    )


def learns_from_normal(targets: Mapping[str, np.ndarray]) -> Bool[np.ndarray, "rows"]:
    """The mask of normal rows, for :meth:`~modicum.methods.TrainStage.learns_from` of stages without abnormal images."""
    return targets["label"] == 0


class Anomaly(ImageLevelTask):
    """A score an image, the higher the more abnormal.

    Args:
        normal: names of the normal classes; empty where the images have no labels and all are normal.
        groups: names of the abnormal classes.
        options: see :class:`AnomalyOptions`.
        threshold: what was chosen; None for what the options say.
        masks: whether the data mark where images are abnormal.
        note: which classes are normal, and why.
    """

    name: ClassVar[str] = "anomaly"
    Options: ClassVar[type[TaskOptions]] = AnomalyOptions
    metric_table: ClassVar[tuple[Metric, ...]] = METRICS
    one_class: ClassVar[bool] = True
    ensemble_settings: ClassVar[tuple[str, ...]] = ("specificity", "threshold")
    kind = "one-class"

    def __init__(
        self,
        normal: tuple[str, ...] = (),
        groups: tuple[str, ...] = (),
        options: AnomalyOptions | None = None,
        threshold: Threshold | None = None,
        *,
        masks: bool = False,
        note: str = "",
    ) -> None:
        self.normal, self.groups = tuple(normal), tuple(groups)
        self.options = options or AnomalyOptions.model_validate({})
        given = self.options.threshold
        self.threshold = threshold or (Threshold() if isinstance(given, str) else Threshold(given, "given"))
        self.masks = masks
        self._note = note

    @classmethod
    def from_manifest(cls, manifest: Manifest, options: Mapping[str, Any]) -> "Anomaly":
        """Finds which classes are normal; without labels all images are.

        Raises:
            InputError: several findings an image, or nothing says which class is normal.
        """
        own = _own(options)
        masks = "mask" in manifest.table or any(str(name).startswith("masks:") for name in manifest.table)
        if manifest.findings:
            raise InputError(
                f"{manifest.source}: task '{cls.name}' reads one label an image, and there are "
                f"{count_of(len(manifest.findings), 'finding')}",
                "name one column with --label, whose normal images have one class",
            )
        if "label" not in manifest.table:
            if own.normal is not None:
                raise InputError(
                    f"{manifest.source}: normal is '{own.normal}', and the images have no labels",
                    "name their column with --label",
                )
            return cls((), (), own, masks=masks, note="the images have no labels: all are taken as normal")
        classes = [str(name) for name in options.get("classes") or manifest.classes()]
        normal, groups, note = normal_and_groups(classes, own.normal, manifest.source)
        return cls(normal, groups, own, masks=masks, note=note)

    @classmethod
    def from_options(cls, options: Mapping[str, Any], num_classes: int | None = None) -> "Anomaly":
        return cls(("normal",), ("abnormal",), _own(options))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Anomaly":
        return cls(
            tuple(names_of(values["normal"], "normal classes", fewest=0)),
            tuple(names_of(values["groups"], "abnormal classes", fewest=0)),
            AnomalyOptions(**values["options"]),
            Threshold.from_dict(values["threshold"]),
            masks=one_of(values["masks"], (True, False), "masks"),
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "classes": [*self.normal, *self.groups],
            "normal": list(self.normal),
            "groups": list(self.groups),
            "options": self.options.model_dump(mode="json"),
            "threshold": self.threshold.as_dict(),
            "masks": self.masks,
        }

    @property
    def num_outputs(self) -> int:
        return 1

    def output_values(self) -> dict[str, Any]:
        """One number an image."""
        return {"values": "logits" if self.options.output == "logit" else "anomaly score"}

    def graph_outputs(self) -> tuple[str, ...]:
        return ("probability", "logit") if self.options.output == "logit" else ("score",)

    @property
    def notes(self) -> list[str]:
        """Which classes are normal, and the threshold that was chosen."""
        said = [self._note] if self._note else []
        if self.threshold.source == "validation":
            said.append(
                f"images are called abnormal from a score of {self.threshold.value:.4g} on: "
                f"{100 * self.options.specificity:g} % of {count_of(self.threshold.images, 'normal validation image')} "
                "lie below"
            )
        return said

    @property
    def monitor(self) -> str:
        return "auroc"

    def metrics(self) -> dict[str, Metric]:
        return metrics_of(self.groups, self.options.specificity, self.masks)

    def targets(self, manifest: Manifest) -> dict[str, np.ndarray]:
        """``label`` int64 ``[n]``: 0 normal, 1 abnormal; ``groups`` uint8 ``[n, groups]``.

        A class that training has not seen is abnormal, and in no group.

        Raises:
            InputError: the training images had no labels, and nothing says which of several classes is normal.
        """
        if "label" not in manifest.table:
            count = len(manifest)
            return {
                "label": np.zeros(count, np.int64),
                "groups": np.zeros((count, len(self.groups)), np.uint8),
            }
        normal = self.normal or normal_and_groups(manifest.classes(), None, manifest.source)[0]
        if not self.normal and not denies(normal[0]):
            raise InputError(
                f"{manifest.source}: all labels are '{normal[0]}', and the training images had none",
                "name the normal class in training: --label COLUMN --set normal=NAME",
            )
        labels = manifest.table["label"].astype(object).to_numpy()
        groups = (
            np.stack([labels == name for name in self.groups], 1) if self.groups else labels[:, None][:, :0]
        )
        return {
            "label": (~np.isin(labels.astype(str), normal)).astype(np.int64),
            "groups": groups.astype(np.uint8),
        }

    def cautions(self, manifest: Manifest) -> list[str]:
        """Few normal images to choose the threshold by.

        Raises:
            InputError: no training image is normal.
        """
        train, val = (manifest.part(split) for split in ("train", "val"))
        if not (self.targets(train)["label"] == 0).any():
            raise InputError(
                f"{manifest.source}: none of the {count_of(len(train), 'training image')} is normal",
                "give normal images the split train, or name the normal class with --set normal=NAME",
            )
        if self.threshold.source == "given" or not len(val):
            return []
        held_out = int((self.targets(val)["label"] == 0).sum())
        if held_out >= FEWEST:
            return []
        return [
            f"caution: {count_of(held_out, 'normal image')} in val to choose the threshold by; with fewer than {FEWEST} "
            "it says little of the specificity that new images will have"
        ]

    def example_targets(self, count: int) -> dict[str, np.ndarray]:
        label = np.arange(count, dtype=np.int64) % 2
        return {"label": label, "groups": np.repeat(label[:, None], len(self.groups), 1).astype(np.uint8)}

    def sampling_labels(self, targets: Mapping[str, np.ndarray]) -> np.ndarray:
        """Normal and abnormal."""
        return targets["label"]

    def loss(self, targets: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> nn.Module:
        """For methods that learn from abnormal images with labels: binary cross-entropy of outputs as log-odds.

        Raises:
            InputError: there are no such training images.
        """
        if len(targets) and len(np.unique(targets["label"])) < 2:
            raise InputError(
                "all training images are normal, and this method learns from labelled abnormal images too",
                "add some, or choose a method that needs none (modicum methods lists them)",
            )
        return AbnormalLoss()

    @property
    def calibrates(self) -> str:
        return "" if self.threshold.source == "given" else "threshold"

    @property
    def needs_calibration(self) -> bool:
        """Without validation images there are scores and no decisions."""
        return False

    def calibrated(self, scores: Scores) -> "Anomaly":
        """The task with the threshold that leaves the specificity's share of normal images below it."""
        assert isinstance(scores, AnomalyScores)
        values, abnormal = scores.scores_and_truth()
        chosen = threshold_of_normals(values[~abnormal], self.options.specificity)
        return Anomaly(self.normal, self.groups, self.options, chosen, masks=self.masks, note=self._note)

    def activate(self, outputs: Float[Tensor, "*batch outputs"]) -> Float[Tensor, "*batch outputs"]:
        """Scores as they are, or probabilities of log-odds; in double precision, so that sure images keep their order."""
        outputs = outputs.double()
        return outputs.sigmoid() if self.options.output == "logit" else outputs

    def averaged(self, outputs: Float[Tensor, "members n *outputs"]) -> Float[Tensor, "n *outputs"]:
        """The mean of standardised scores, or the log-odds of mean probabilities."""
        if self.options.output == "score":
            return outputs.mean(0)
        # By logarithms, so that images of which all members are sure keep their order.
        abnormal, normal = (F.logsigmoid(sign * outputs.double()).logsumexp(0) for sign in (1, -1))
        return (abnormal - normal).to(outputs.dtype)

    def agreement(self) -> dict[str, Any]:
        return {**super().agreement(), "normal": list(self.normal), "output": self.options.output}

    def output_scale(self, validation: pd.DataFrame) -> tuple[float, float] | None:
        """Mean and standard deviation of the scores of normal validation images; None for log-odds.

        Raises:
            InputError: there are too few, or a threshold is given in the scores of single runs.
        """
        return (
            None
            if self.options.output == "logit"
            else scale_of_normals(validation, self.threshold, self._names)
        )

    def scores(self) -> AnomalyScores:
        return AnomalyScores(
            self.groups, self.options.specificity, self.threshold, self.activate, self._names
        )

    @property
    def _names(self) -> tuple[str, str]:
        """What decisions are called: the classes' own names where there is one of each."""
        normal = self.normal[0] if len(self.normal) == 1 else "normal"
        return normal, self.groups[0] if len(self.groups) == 1 else "abnormal"

    def prediction_table(self, activated: Float[np.ndarray, "n outputs"]) -> pd.DataFrame:
        """Columns ``prediction`` and ``score``."""
        return prediction_columns(activated[:, 0], self.threshold, self._names)

    def examples(self, scores: Scores, count: int) -> list[Example]:
        assert isinstance(scores, AnomalyScores)
        return scores.examples(count)


class AbnormalLoss(nn.Module):
    """Binary cross-entropy of one log-odds an image against ``label``."""

    def forward(self, outputs: Float[Tensor, "batch 1"], batch: Batch) -> Float[Tensor, ""]:
        return F.binary_cross_entropy_with_logits(outputs[:, 0], batch["label"].to(torch.float32))


def _own(options: Mapping[str, Any]) -> AnomalyOptions:
    return AnomalyOptions(**{name: options[name] for name in AnomalyOptions.model_fields if name in options})
