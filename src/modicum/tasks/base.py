"""Base classes of tasks: targets, loss, scores, and how predictions are written.

A task defines *what* is learned, apart from how. Methods ask it for the size of the output and the loss; the engine
asks it for scores and for tables of predictions; the report finds its sections by the task's name. A new task is
a new subclass; a new method needs no code for evaluation and reports.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from modicum.batch import Batch
from modicum.data.manifest import Manifest
from modicum.data.prepared import StoreSettings
from modicum.data.slices import USUAL
from modicum.errors import InputError
from modicum.tasks.auxiliary_image import AuxiliaryImage, example_picture
from modicum.tasks.loss_words import LOSS_SETTINGS, refuse_settings
from modicum.tasks.metric import Metric, is_higher_better, known_metric, with_classes
from modicum.tasks.scores import Example, Scores

__all__ = [
    "AuxiliaryImage",
    "Batch",
    "Example",
    "ImageLevelTask",
    "Scores",
    "Task",
    "TaskOptions",
]


STORES = "stores"
"""Key of the folder of stores among the options of :meth:`Task.from_manifest`."""


class TaskOptions(BaseModel):
    """Base of a task's settings; each field states its unit and default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Task(ABC):
    """A kind of target and prediction."""

    name: ClassVar[str]
    Options: ClassVar[type[TaskOptions]] = TaskOptions
    metric_table: ClassVar[tuple[Metric, ...]] = ()
    """All metrics that tasks of this kind may report (:mod:`modicum.tasks.metric`)."""
    needs_labels: ClassVar[bool] = True
    """Whether images without a label are left out where others have one."""
    evaluated: ClassVar[bool] = True
    """Whether a finished run is evaluated on its validation and test images. An encoder predicts nothing."""
    made_of_the_table: ClassVar[bool] = True
    """Whether :meth:`from_manifest` reads the table and a few masks at most, so that it may be called twice."""
    one_class: ClassVar[bool] = False
    """Whether training images may all have the same label."""
    usual_slices: ClassVar[str] = USUAL
    """The slices of volumes that are learned from by default; see :mod:`modicum.data.slices`."""
    ensemble_settings: ClassVar[tuple[str, ...]] = ()
    """Settings of the task that an ensemble of runs may have of its own."""
    levels: ClassVar[int] = 256
    """Number of grey levels of stored images; see :class:`~modicum.data.prepared.StoreSettings`."""
    kind: str
    """A finer distinction inside the task, for instance ``multi-class``."""

    @classmethod
    @abstractmethod
    def from_manifest(cls, manifest: Manifest, options: Mapping[str, Any]) -> "Task":
        """Infers classes and kind from a manifest.

        Args:
            manifest: the data set.
            options: the task's settings, and what the engine knows besides: under :data:`STORES` the folder where a
                task may keep what it makes of the data for other runs.

        Raises:
            InputError: it cannot.
        """

    @classmethod
    def reads_pools(cls, options: Mapping[str, Any]) -> bool:
        """Whether images and targets of a row need not belong together, so that two folders may hold other names."""
        return False

    @classmethod
    def check_columns(cls, manifest: Manifest, options: Mapping[str, Any]) -> None:
        """Raises :class:`~modicum.errors.InputError` where a manifest lacks a column that :meth:`from_manifest` needs."""
        return

    @classmethod
    def from_options(cls, options: Mapping[str, Any], num_classes: int | None = None) -> "Task":
        """The task for data that are not available yet, to plan a training.

        Args:
            options: the task's settings.
            num_classes: number of outputs of a network: classes, or channels of an image; each task has its default.

        Raises:
            InputError: the task cannot be created without data.
        """
        raise InputError(f"task '{cls.name}' cannot be made without data", "give a table or folder of images")

    @classmethod
    @abstractmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Task":
        """The inverse of :meth:`to_dict`."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """JSON values for a run folder, from which :meth:`from_dict` rebuilds the task."""

    @classmethod
    def store_settings(cls, image: StoreSettings, options: Mapping[str, Any]) -> StoreSettings:
        """How images are stored.

        Args:
            image: the run's settings of the network's input.
            options: the task's settings.

        Raises:
            InputError: image settings that the task does not support.
        """
        return replace(image, levels=cls.levels)

    def example_batch(self, count: int, size: tuple[int, int]) -> Batch:
        """A synthetic batch, with the names, shapes and types of a loaded batch; images are all 0.

        Optional auxiliary images are left out.

        Args:
            count: number of rows.
            size: height and width of stored images.
        """
        batch = {"image": example_picture(count, size, self.channels, self.levels)}
        batch |= {
            auxiliary.column: auxiliary.example(count, size, self.levels)
            for auxiliary in self.auxiliary_images
            if auxiliary.required
        }
        targets = {name: torch.from_numpy(values) for name, values in self.example_targets(count).items()}
        return {**targets, "row": torch.from_numpy(np.arange(count)), **batch}

    def example_targets(self, count: int) -> dict[str, np.ndarray]:
        """Targets of synthetic rows, of every class and the largest size; see :meth:`targets`."""
        return {}

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """Size of the network's output."""

    def output_values(self) -> dict[str, Any]:
        """Description of the network's outputs for the card of an exported network."""
        return {"values": "logits"}

    def graph_outputs(self) -> tuple[str, ...]:
        """Names of the outputs of a network that is exported as a graph: those of :meth:`activate`, and where they are
        others the raw ones after them."""
        return ("outputs",)

    @property
    def notes(self) -> list[str]:
        """Notes for the report on how the targets were read."""
        return []

    def content_digests(self) -> dict[str, str]:
        """SHA-256, by column, of texts that were read beside the images: a run is not resumed with others."""
        return {}

    def artefacts(self) -> dict[str, str]:
        """Text files for the run folder, by name, such as a vocabulary learned from the training rows."""
        return {}

    def with_artefacts(self, read: Callable[[str], str | None], stores: Path | None = None) -> "Task":
        """The task of an opened run with what it needs of :meth:`artefacts` to read other data.

        Args:
            read: the text of a file in the run folder, or None where there is none.
            stores: folder where it may keep what it makes of the data; None to keep nothing.
        """
        return self

    @classmethod
    def samples_studies(cls, options: Mapping[str, Any]) -> bool:
        """Whether :meth:`sampling_labels` are the numbers of studies, so that an epoch can show one image of each."""
        return False

    @property
    def scored_in_pairs(self) -> bool:
        """Whether what is scored takes more than an image (its report, say): the last scored stage then answers, and
        not the predictor."""
        return False

    @property
    def auxiliary_images(self) -> tuple[AuxiliaryImage, ...]:
        """Images that are loaded with each image."""
        return ()

    @property
    def channels(self) -> int:
        """Number of input channels of the network: 1 (grey) or 3, times the number of slices."""
        return 3

    @property
    def adjacent_slices(self) -> int:
        """Slices to each side of an image that a network sees with it; they are among :attr:`channels`."""
        return 0

    @property
    def channels_alone(self) -> int:
        """Channels of an image without its adjacent slices."""
        return self.channels // (1 + 2 * self.adjacent_slices)

    @property
    def box_classes(self) -> tuple[str, ...] | None:
        """Names of the classes of boxes, in the order of their numbers; None for a task that knows nothing of boxes.

        Of a task that has some, batches number the classes of boxes so, and evaluations bring ``boxes`` and
        ``box_classes``.
        """
        return None

    @property
    def shuffled(self) -> tuple[str, ...]:
        """Auxiliary images that are unpaired: in training each image gets another row's, redrawn in every epoch."""
        return ()

    def assemble(self, batch: Batch) -> Batch:
        """A batch with targets computed from its auxiliary images, on the batch's device."""
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
        """Direction of a metric. Raises :class:`~modicum.errors.InputError` if it has none, or is unknown."""
        return is_higher_better(self.metric(metric))

    @abstractmethod
    def targets(self, manifest: Manifest) -> dict[str, np.ndarray]:
        """Targets of every row, by their names in a batch."""

    def cautions(self, manifest: Manifest) -> list[str]:
        """What a user should know of the targets before a training, a sentence each.

        Args:
            manifest: with a column ``split``.

        Raises:
            InputError: nothing can be learned from the training rows.
        """
        return []

    @abstractmethod
    def sampling_labels(self, targets: Mapping[str, np.ndarray]) -> np.ndarray:
        """Labels for balanced sampling; see :func:`modicum.data.sampling.sample_weights`."""

    @classmethod
    def validate_loss(cls, settings: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        """Checks the settings of a loss before any data are read. Here: methods of the task have their own losses.

        Args:
            settings: training settings, by the names of :data:`~modicum.tasks.loss_words.LOSS_SETTINGS`.
            options: the task's settings.

        Raises:
            InputError: an unknown loss, or settings that would have no effect.
        """
        reason = f"methods of task '{cls.name}' have losses of their own"
        refuse_settings(
            settings, list(LOSS_SETTINGS), reason, "leave it out; `modicum methods NAME` lists theirs"
        )

    def for_loss(self, words: str) -> "Task":
        """The task with the outputs that a loss needs. Raises :class:`InputError` if the targets do not allow it."""
        return self

    @abstractmethod
    def loss(self, targets: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> nn.Module:
        """The loss: ``(outputs, batch) -> scalar``.

        A method ``on_epoch_start(epoch)``, if it has one, is called before the first batch of each epoch.

        Args:
            targets: targets of the training rows, for class weights; empty if there is no training.
            options: the settings that :meth:`validate_loss` has checked.
        """

    @property
    def calibrates(self) -> str:
        """What :meth:`calibrated` is to choose on validation predictions, in a word or two; empty for nothing."""
        return ""

    @property
    def needs_calibration(self) -> bool:
        """Whether there must be validation images for that; else what is not chosen keeps its default."""
        return bool(self.calibrates)

    def calibrated(self, scores: Scores) -> "Task":
        """The task with settings chosen on the validation predictions, such as thresholds. Called once, after training.

        Args:
            scores: scores of the selected weights on the validation rows only.
        """
        return self

    @abstractmethod
    def activate(self, outputs: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Maps raw network outputs to user-facing values, for instance probabilities."""

    def averaged(self, outputs: Float[Tensor, "members n *outputs"]) -> Float[Tensor, "n *outputs"]:
        """The outputs of several networks as those of one: their mean, before anything is decided by it.

        Raises:
            InputError: predictions of this task have no mean.
        """
        raise InputError(f"predictions of task '{self.name}' have no mean", "use the runs one by one")

    def joined(self, outputs: Sequence[Float[Tensor, "n ..."]]) -> Float[Tensor, "n ..."]:
        """The outputs of several networks for the same images as those of one: :meth:`averaged`, unless a task's outputs
        are lists of unequal length.

        Args:
            outputs: of each network, in units of its :meth:`output_scale`.
        """
        return self.averaged(torch.stack(list(outputs)))

    def agreement(self) -> dict[str, Any]:
        """What tasks have in common whose outputs are averaged, by the words in which users are told of a difference."""
        facts = self.to_dict()
        return {key: facts.get(key) for key in ("name", "kind", "classes", "output")}

    def output_scale(self, validation: pd.DataFrame) -> tuple[float, float] | None:
        """Location and scale of a run's outputs, which are taken from them and divide them before they are averaged with
        those of other runs; None where the outputs of all runs have one scale.

        Args:
            validation: the table of the run's predictions on its own validation images.

        Raises:
            InputError: nothing there makes this run's outputs comparable.
        """
        return None

    @abstractmethod
    def scores(self) -> Scores:
        """A fresh collector."""

    @abstractmethod
    def examples(self, scores: Scores, count: int) -> list[Example]:
        """The most confident mistakes and some of the most confident hits, with the output to explain."""


class ImageLevelTask(Task):
    """A task whose prediction is a few numbers an image: rows of one table."""

    def averaged(self, outputs: Float[Tensor, "members n *outputs"]) -> Float[Tensor, "n *outputs"]:
        return outputs.mean(0)

    @abstractmethod
    def prediction_table(self, activated: np.ndarray) -> pd.DataFrame:
        """Columns of a predictions file for images without labels."""
