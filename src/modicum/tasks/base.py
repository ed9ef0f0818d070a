"""What a task owes the rest: targets, a loss, scores, and how its predictions are written.

A task says *what* is learned, apart from how. Methods ask it for the size of the output and the loss; the engine
asks it for scores and for tables of predictions; the report finds its sections by the task's name. A new task is
a new subclass, a new method gets evaluation and reports from it for nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, UInt8
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from modicum.batch import Batch
from modicum.data.manifest import Manifest, class_order
from modicum.data.prepared import StoreSettings
from modicum.errors import InputError
from modicum.tasks.auxiliary_image import AuxiliaryImage, example_picture
from modicum.tasks.metric import Metric, is_higher_better, known_metric, with_classes
from modicum.tasks.scores import DenseScores, Example, Scores
from modicum.tasks.value_range import ValueRange

__all__ = [
    "AuxiliaryImage",
    "Batch",
    "DenseScores",
    "DenseTask",
    "Example",
    "ImageLevelTask",
    "Scores",
    "Task",
    "TaskOptions",
]


class TaskOptions(BaseModel):
    """Base of a task's own settings; each field says its unit and default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Task(ABC):
    """A kind of target and prediction."""

    name: ClassVar[str]
    Options: ClassVar[type[TaskOptions]] = TaskOptions
    metric_table: ClassVar[tuple[Metric, ...]] = ()
    """What tasks of this kind may report: the one place that says so (:mod:`modicum.tasks.metric`)."""
    needs_labels: ClassVar[bool] = True
    """Whether images without a label are left out where others have one."""
    levels: ClassVar[int] = 256
    """Levels that images are stored in; see :class:`~modicum.data.prepared.StoreSettings`."""
    kind: str
    """A finer distinction inside the task, for instance ``multi-class``."""

    @classmethod
    @abstractmethod
    def from_manifest(cls, manifest: Manifest, options: Mapping[str, Any]) -> "Task":
        """Finds classes and kind in a manifest. Raises :class:`~modicum.errors.InputError` where it cannot."""

    @classmethod
    def from_options(cls, options: Mapping[str, Any], num_classes: int | None = None) -> "Task":
        """The task of data that nobody has seen yet, to say what a training will take.

        Args:
            options: the task's own settings.
            num_classes: outputs of a network: classes, or channels of a picture; each task has its default.

        Raises:
            InputError: the task cannot be made without data.
        """
        raise InputError(f"task '{cls.name}' cannot be made without data", "give the data")

    @classmethod
    @abstractmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Task":
        """The inverse of :meth:`to_dict`."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """What a run folder must keep so that the task can be made again."""

    @classmethod
    def store_settings(cls, image: StoreSettings, options: Mapping[str, Any]) -> StoreSettings:
        """How images are stored.

        Args:
            image: as the run's settings of the images say, for the network's input.
            options: the task's own settings.

        Raises:
            InputError: settings of the images that do not go with the task.
        """
        return replace(image, levels=cls.levels)

    def example_batch(self, count: int, size: tuple[int, int]) -> Batch:
        """Made-up rows, with the names, shapes and types of a loaded batch; pictures are all 0.

        Auxiliary images that not every row must have are not among them.

        Args:
            count: rows.
            size: height and width of stored images.
        """
        batch = {"image": example_picture(count, size, self.channels, self.levels)}
        batch |= {
            one.column: one.example(count, size, self.levels) for one in self.auxiliary_images if one.required
        }
        targets = {name: torch.from_numpy(values) for name, values in self.example_targets(count).items()}
        return {**targets, "position": torch.from_numpy(np.arange(count)), **batch}

    def example_targets(self, count: int) -> dict[str, np.ndarray]:
        """Targets of made-up rows, of every class, as large as targets can be; see :meth:`targets`."""
        return {}

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """Size of the network's output."""

    def output_values(self) -> dict[str, Any]:
        """What a network's outputs are, in the card of an exported network."""
        return {"values": "logits"}

    @property
    def notes(self) -> list[str]:
        """What a reader of the report should know of how the targets were read."""
        return []

    def artefacts(self) -> dict[str, str]:
        """What was made of the training rows and is of use elsewhere: text files of the run folder, by name."""
        return {}

    @property
    def auxiliary_images(self) -> tuple[AuxiliaryImage, ...]:
        """What is read beside each image."""
        return ()

    @property
    def channels(self) -> int:
        """Of images as networks get them: 1 (grey) or 3, and those of neighbouring slices."""
        return 3

    @property
    def adjacent_slices(self) -> int:
        """Slices to each side of an image that a network sees with it; they are among :attr:`channels`."""
        return 0

    @property
    def channels_alone(self) -> int:
        """Channels of an image without its neighbours."""
        return self.channels // (1 + 2 * self.adjacent_slices)

    @property
    def shuffled(self) -> tuple[str, ...]:
        """AuxiliarySources without pairs: in training each image sees one of another row, anew in every epoch."""
        return ()

    def assemble(self, batch: Batch) -> Batch:
        """A batch with the targets that auxiliary images stand for, on the batch's device."""
        return batch

    @property
    @abstractmethod
    def monitor(self) -> str:
        """The validation metric that selects the best weights unless the user names another."""

    def metrics(self) -> dict[str, Metric]:
        """All metrics that this task may report, by name and in the order of reports; of one class ``NAME/CLASS``."""
        return with_classes(self.metric_table, ())

    def metric(self, name: str) -> Metric:
        """One of :meth:`metrics`, or ``loss``. Raises :class:`~modicum.errors.InputError` for an unknown name."""
        return known_metric(self.metrics(), name, f"task {self.name} ({self.kind})")

    def higher_is_better(self, metric: str) -> bool:
        """Direction of a metric. Raises :class:`~modicum.errors.InputError` where it has none, or is not known."""
        return is_higher_better(self.metric(metric))

    @abstractmethod
    def targets(self, manifest: Manifest) -> dict[str, np.ndarray]:
        """Targets of every row, by the name they have in a batch."""

    @abstractmethod
    def sampling_labels(self, targets: Mapping[str, np.ndarray]) -> np.ndarray:
        """What balanced sampling goes by; see :func:`modicum.data.sampling.sample_weights`."""

    @abstractmethod
    def loss(self, targets: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> nn.Module:
        """The loss: ``(outputs, batch) -> scalar``. ``targets`` are those of the training rows (class weights)."""

    @abstractmethod
    def activate(self, outputs: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """From raw network outputs to what a user reads, for instance probabilities."""

    @abstractmethod
    def scores(self) -> Scores:
        """A fresh collector."""

    @abstractmethod
    def examples(self, scores: Scores, count: int) -> list[Example]:
        """The most confident mistakes and some of the most confident hits, with the output to explain."""


class ImageLevelTask(Task):
    """A task whose prediction is a few numbers an image: rows of one table."""

    @abstractmethod
    def prediction_table(self, activated: np.ndarray) -> pd.DataFrame:
        """Columns of a predictions file for images without a known truth."""


class DenseTask(Task):
    """A task whose prediction is a picture of the image's own size.

    Attributes:
        output_kind: what a prediction's file holds: ``label_map`` (a mask) or ``image`` (values in ``[0, 1]``, which the
            engine brings back to physical units where they are known).
    """

    needs_labels: ClassVar[bool] = False
    output_kind: ClassVar[Literal["label_map", "image"]]
    padding_value: ClassVar[float] = 0.0
    """What is said of pixels that the network did not see (``resize="crop"``)."""
    target_image: ClassVar[str | None] = None
    """The auxiliary image that a prediction is wanted to equal, where there is one."""

    @property
    def value_range(self) -> ValueRange | None:
        """What 0 and 1 of ``image`` outputs stand for; None where that is not known, or label maps are written."""
        return None

    @classmethod
    def store_settings(cls, image: StoreSettings, options: Mapping[str, Any]) -> StoreSettings:
        if image.crop != "none":
            raise InputError(
                f"crop '{image.crop}' does not go with task '{cls.name}': what lies beside the image would not follow",
                "leave the crop out, and use resize 'pad' to keep the aspect ratio",
            )
        return super().store_settings(image, options)

    def example_targets(self, count: int) -> dict[str, np.ndarray]:
        """Two domains in turn."""
        return {"domain": np.arange(count, dtype=np.int64) % 2}

    def targets(self, manifest: Manifest) -> dict[str, np.ndarray]:
        """``domain``, a number for each of the domains in their order, -1 where an image's is not known."""
        if "domain" not in manifest.table:
            return {}
        domains = manifest.table["domain"]
        number = {name: index for index, name in enumerate(class_order(domains.dropna().astype(str)))}
        numbers = [number.get(str(name), -1) for name in domains]  # blanks are NaN, which is no domain's name
        return {"domain": np.array(numbers, dtype=np.int64)}

    def sampling_labels(self, targets: Mapping[str, np.ndarray]) -> np.ndarray:
        """Domains; all images without one count as one more."""
        return np.unique(targets["domain"], return_inverse=True)[1]

    @abstractmethod
    def scores(self) -> DenseScores:
        """A fresh collector."""

    def validate_label_values(
        self, column: str, held: Bool[np.ndarray, "rows 256"], places: Sequence[str]
    ) -> list[str]:
        """Looks at which values the label maps of each row hold, before anything is learned from them.

        Args:
            column: of the auxiliary images, of kind ``label_map``.
            held: by row, which codes occur.
            places: what to call each row in a message.

        Returns:
            What a reader of the report should know.

        Raises:
            InputError: codes that mean nothing; it names the place.
        """
        return []

    @abstractmethod
    def ground_truth(self, auxiliary_images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What :meth:`DenseScores.add` compares with.

        Args:
            auxiliary_images: by column, at the image's own size: images and saliency float32 ``[c, h, w]`` in ``[0, 1]``,
                codes uint8 ``[h, w]``.
        """

    @abstractmethod
    def to_file(
        self, activated: Float[np.ndarray, "channels height width"]
    ) -> UInt8[np.ndarray, "height width"] | Float[np.ndarray, "out height width"]:
        """What a prediction's file holds."""

    @property
    def foreground(self) -> tuple[str, ...]:
        """Names of the classes whose regions are predicted; none where predictions are no masks."""
        return ()

    def foreground_regions(
        self, activated: Float[np.ndarray, "channels height width"]
    ) -> Bool[np.ndarray, "classes height width"]:
        """Where each class of :attr:`foreground` is predicted."""
        return np.zeros((0, *activated.shape[1:]), dtype=bool)

    @abstractmethod
    def summary(
        self, activated: Float[np.ndarray, "channels height width"], spacing: tuple[float, float] | None
    ) -> dict[str, float]:
        """A few numbers for the predictions' table, such as the area of each class."""

    @abstractmethod
    def render(
        self,
        image: Float[np.ndarray, "image_channels height width"],
        activated: Float[np.ndarray, "channels height width"],
        truth: Mapping[str, np.ndarray] | None,
    ) -> dict[str, UInt8[np.ndarray, "picture_height picture_width 3"]]:
        """Named pictures of one prediction for people to look at, in the order of showing."""
