"""Detection: boxes with classes and scores."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor, nn

from modicum.data.boxes.column import COLUMN, given_boxes
from modicum.data.manifest import Manifest, class_order
from modicum.errors import InputError
from modicum.tasks.base import Example, Scores, TaskOptions
from modicum.tasks.box_lists import BoxListTask
from modicum.tasks.detection.fusion import OVERLAP, fused_boxes
from modicum.tasks.detection.matching import matches
from modicum.tasks.detection.metric_table import METRICS
from modicum.tasks.detection.pictures import FALSE, HIT, MISSED, TRUE, boxed, split_by
from modicum.tasks.detection.scores import DetectionScores
from modicum.tasks.detection.shown_boxes import ShownFrom, best_by_f1
from modicum.tasks.metric import Metric, with_classes
from modicum.tasks.stored_values import names_of
from modicum.wording import count_of

ONE_CLASS = "object"
"""The class of boxes that have none."""


class DetectionOptions(TaskOptions):
    """Settings of detection."""

    hit_overlap: float = Field(
        0.5, gt=0, le=1, description="Least intersection over union of a hit, for FROC, counts and pictures."
    )
    show_above: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Score from which on boxes are counted and shown; files have all that are found. By default that "
        "with the best F1 on the validation images, 0.5 where they have no boxes.",
    )
    fusion_overlap: float = Field(
        OVERLAP,
        gt=0,
        lt=1,
        description="In an ensemble, intersection over union above which boxes of several runs are taken for one "
        "(weighted boxes fusion; 0.55 as published).",
    )


class Detection(BoxListTask):
    """Boxes around what is looked for. An image of whose boxes nothing is said is neither learned from nor scored.

    Args:
        classes: names of the classes of boxes, in the order of their numbers.
        options: see :class:`DetectionOptions`.
        unsaid: number of images of whose boxes nothing is said.
        shown_from: from which score on boxes are counted and shown; by default as the options say.
    """

    name: ClassVar[str] = "detection"
    Options: ClassVar[type[TaskOptions]] = DetectionOptions
    metric_table: ClassVar[tuple[Metric, ...]] = METRICS
    ensemble_settings: ClassVar[tuple[str, ...]] = ("fusion_overlap", "show_above", "hit_overlap")
    kind = "boxes"

    def __init__(
        self,
        classes: list[str],
        options: DetectionOptions | None = None,
        unsaid: int = 0,
        shown_from: ShownFrom | None = None,
    ) -> None:
        self.classes = list(classes)
        self.options = options or DetectionOptions.model_validate({})
        self._unsaid = unsaid
        given = self.options.show_above
        self.shown_from = shown_from or (ShownFrom() if given is None else ShownFrom(given, "given"))

    @classmethod
    def from_manifest(cls, manifest: Manifest, options: Mapping[str, Any]) -> "Detection":
        if options.get("classes"):
            raise InputError(
                "--classes with detection, whose classes are those of the boxes", "leave --classes out"
            )
        given = given_boxes(manifest)
        if not any(boxes is not None and len(boxes) for boxes in given):
            raise InputError(
                f"{manifest.source}: detection learns from boxes, and the data have none",
                "name their column or file with --boxes, or --boxes masks where there are masks",
            )
        names = class_order(
            {name for boxes in given for name in (boxes.class_names if boxes else None) or ()}
        )
        return cls(names or [ONE_CLASS], _own(options), sum(boxes is None for boxes in given))

    @classmethod
    def from_options(cls, options: Mapping[str, Any], num_classes: int | None = None) -> "Detection":
        return cls([f"class {number}" for number in range(num_classes or 1)], _own(options))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Detection":
        shown = values.get("shown_from")  # not in runs of earlier versions
        return cls(
            names_of(values["classes"], "classes"),
            DetectionOptions(**values["options"]),
            shown_from=None if shown is None else ShownFrom.from_dict(shown),
        )

    def to_dict(self) -> dict[str, Any]:
        options = self.options.model_dump(mode="json")
        return {
            "name": self.name,
            "kind": self.kind,
            "classes": self.classes,
            "options": options,
            "shown_from": self.shown_from.as_dict(),
        }

    @property
    def box_classes(self) -> tuple[str, ...]:
        return tuple(self.classes)

    @property
    def num_outputs(self) -> int:
        """Number of classes of boxes."""
        return len(self.classes)

    def output_values(self) -> dict[str, Any]:
        """What the numbers of each box are."""
        return {"values": "boxes", "columns": ["left", "top", "right", "bottom", "score", "class"]}

    @property
    def notes(self) -> list[str]:
        notes = []
        if self._unsaid:
            notes.append(
                f"of {self._unsaid:,} images nothing is said of boxes: they are neither learned from nor scored (an "
                "empty list, or a row without numbers, says that there are none)"
            )
        if self.shown_from.source == "validation":
            notes.append(
                f"boxes are counted and shown from a score of {self.shown_from.value:.3f} on: the best F1 on "
                f"{count_of(self.shown_from.boxes, 'box')} of the validation images"
            )
        return notes

    @property
    def monitor(self) -> str:
        return "map_50"

    def metrics(self) -> dict[str, Metric]:
        return with_classes(self.metric_table, self.classes if len(self.classes) > 1 else ())

    def targets(self, manifest: Manifest) -> dict[str, np.ndarray]:
        """``annotated``: whether something is said of an image's boxes, be it that there are none.

        Raises:
            InputError: nothing is said of any.
        """
        annotated = np.array([boxes is not None for boxes in given_boxes(manifest)], bool)
        if not annotated.any():
            raise InputError(
                f"{manifest.source}: column '{COLUMN}' says nothing of any image",
                "name the column or file of boxes with --boxes",
            )
        return {"annotated": annotated}

    def example_targets(self, count: int) -> dict[str, np.ndarray]:
        return {"annotated": np.ones(count, bool)}

    def sampling_labels(self, targets: Mapping[str, np.ndarray]) -> np.ndarray:
        """Whether an image's boxes are known: all rows that are learned from are sampled equally."""
        return targets["annotated"].astype(np.int64)

    def loss(self, targets: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> nn.Module:
        """Raises :class:`~modicum.errors.InputError`: the losses are the method's own."""
        raise InputError(
            f"task '{self.name}' has no loss of its own",
            "choose a method of this task: `modicum methods` lists them",
        )

    def graph_outputs(self) -> tuple[str, ...]:
        return ("detections",)

    @property
    def calibrates(self) -> str:
        return "" if self.shown_from.source == "given" else "show_above"

    @property
    def needs_calibration(self) -> bool:
        """Without validation images boxes are shown from one half on."""
        return False

    def calibrated(self, scores: Scores) -> "Detection":
        """The task that shows boxes from the score with the best F1 on."""
        assert isinstance(scores, DetectionScores)
        return Detection(self.classes, self.options, self._unsaid, best_by_f1(*scores.scores_and_hits()))

    def activate(self, outputs: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return outputs

    def joined(self, outputs: Sequence[Float[Tensor, "n _ 6"]]) -> Float[Tensor, "n k 6"]:
        """Weighted boxes fusion (Solovyev et al., 2021): see :func:`~modicum.tasks.detection.fusion.fused_boxes`."""
        parts = [part.float().cpu().numpy() for part in outputs]
        fused = [fused_boxes(of_image, self.options.fusion_overlap) for of_image in zip(*parts, strict=True)]
        packed = outputs[0].new_full((len(fused), max(len(boxes) for boxes in fused), 6), torch.nan)
        for row, boxes in zip(packed, fused, strict=True):
            row[: len(boxes)] = torch.from_numpy(boxes)
        return packed

    def scores(self) -> DetectionScores:
        return DetectionScores(self.classes, self.options.hit_overlap, self.shown_from.value)

    def examples(self, scores: Scores, count: int) -> list[Example]:
        assert isinstance(scores, DetectionScores)
        return scores.examples(count)

    def render(
        self,
        picture: UInt8[np.ndarray, "height width 3"],
        detections: Float[np.ndarray, "n 6"],
        truth: Float[np.ndarray, "m 5"],
    ) -> dict[str, UInt8[np.ndarray, "picture_height picture_width 3"]]:
        """The image, what was found in it (right or wrong), and what is there (found or missed)."""
        drawn_boxes = detections[detections[:, 4] >= self.shown_from.value]
        hit = matches(drawn_boxes, truth, (self.options.hit_overlap,))[0]
        taken = np.isin(np.arange(len(truth)), hit)
        return {
            "image": boxed(picture, []),
            "prediction": boxed(picture, split_by(drawn_boxes[:, :4], hit >= 0, HIT, FALSE)),
            "truth": boxed(picture, split_by(truth[:, :4], taken, TRUE, MISSED)),
        }


def _own(options: Mapping[str, Any]) -> DetectionOptions:
    return DetectionOptions(
        **{name: options[name] for name in DetectionOptions.model_fields if name in options}
    )
