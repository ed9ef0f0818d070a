"""What a method owes the engine.

A method is a configuration and one or more stages, in order. A stage is plain PyTorch: it can be lifted into
somebody's own loop. There are two kinds.

* :class:`TrainStage` learns by gradients. It names its *updates*: for each, the parameters, and a function from a
  batch to named losses. The engine makes the optimisers, and drives all updates in their order for every batch.
* :class:`ExtractStage` learns nothing. The engine streams every image through it once and keeps its records in a
  store (or, where the disk is too small for them, calls it for every batch); the stages after it read what it
  provides by its name, ``batch["features"]``.

A method never sees a device, a file or a progress bar.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.nn.backbones import Backbone
from modicum.tasks.base import Batch, Task

RecordPart = tuple[slice | list[int], ...]
"""An index into one stored record."""


class MethodConfig(BaseModel):
    """Base of every method's configuration. Each field says its unit, the paper's default and its source."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _as_scheduled(epoch: int) -> float:
    return 1.0


@dataclass(frozen=True)
class Update:
    """One optimiser's share of a training step.

    Attributes:
        name: how the update is called in logs, for instance ``generator``.
        parameters: what it changes: parameters, or PyTorch parameter groups (``{"params": [...], "lr": ...}``).
        losses: from a batch to named scalar losses, already weighted; their sum is minimised.
        options: settings of the optimiser that differ from the run's, for instance ``{"betas": (0.5, 0.999)}``.
        lr_factor: from an epoch (from 0) to what the run's schedule of the learning rate is multiplied by in it.
    """

    name: str
    parameters: Sequence[Any]
    losses: Callable[[Batch], dict[str, Tensor]]
    options: Mapping[str, Any] = field(default_factory=dict)
    lr_factor: Callable[[int], float] = _as_scheduled


class TrainStage(nn.Module, ABC):
    """A stage that learns by gradients. ``forward`` maps a batch to the outputs that the task scores.

    Attributes:
        name: of the stage, in logs and checkpoints.
        reads: what it wants in a batch: ``image``, or outputs of earlier extract stages. An extract stage that
            provides ``image`` takes the place of the images themselves.
        image_size: height and width that augmentation brings images to; None for the run's.
        patch: height and width of windows that augmentation cuts from training images at random; None for whole
            images.
        aligned_views: whether ``image`` shows the same view as the stored features (see
            :attr:`ExtractStage.views`), or the image as it is.
    """

    name: str
    reads: tuple[str, ...] = ("image",)
    image_size: tuple[int, int] | None = None
    patch: tuple[int, int] | None = None
    aligned_views: bool = False

    @abstractmethod
    def updates(self) -> Sequence[Update]:
        """The updates of one training step, in their order."""

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Outputs for validation and prediction."""

    def persistent_modules(self) -> tuple[str, ...] | None:
        """Names of the submodules that a finished run keeps; None for everything that was learned.

        A tensor that is not learned is kept where it is named itself.

        What only serves learning (a discriminator, a pool of images) is in every checkpoint and left out at the end.
        """
        return None

    def on_epoch_start(self, epoch: int) -> None:
        """Called before the first batch of an epoch (from 0), with PyTorch's generators seeded for it.

        What the stage wants to find again after a kill must be in its state: buffers, or parameters.
        """

    def on_epoch_resume(self, epoch: int) -> None:
        """Called instead of :meth:`on_epoch_start` where an epoch goes on after a kill, with the state restored.

        What depends on nothing but the number of the epoch is put in place again here, and need not be in the state.
        """

    def on_epoch_end(self, epoch: int) -> None:
        """Called after the last batch of an epoch, before validation, with PyTorch's generators seeded for it."""

    def findings(self) -> dict[str, Any]:
        """What was found besides weights, as plain values for ``metrics.json`` and the report."""
        return {}

    def artefacts(self) -> dict[str, str]:
        """What was found and is of use to other runs: text files of the finished run folder, by name."""
        return {}

    def validate(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Outputs of a validation batch, and named losses where the stage has some to show."""
        return self(batch), {}


class ExtractStage(nn.Module, ABC):
    """A stage without gradients: from images to one fixed-size record an image.

    Attributes:
        name: of the stage, in logs and in the store's settings.
        output: what the records are called in the batches of later stages.
        uses_backbone: whether the frozen backbone's weights determine the records.
        views: named geometric views of an image (:data:`modicum.transforms.VIEWS`) that get a record each, the
            image as it is first. Training draws one of them each time an image is shown.
    """

    name: str
    output: str = "features"
    uses_backbone: bool = True
    views: tuple[str, ...] = ("identity",)

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Records ``[b, ...]`` of a batch of images, in the type in which they are stored."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """All that determines the records besides the images and the backbone's weights."""

    def difference(self, first: Tensor, second: Tensor) -> float:
        """The largest difference of what two batches of records stand for."""
        return float((first.float() - second.float()).abs().max())

    def part_of(self, stored: Mapping[str, Any]) -> RecordPart | None:
        """How to cut this stage's records out of those that a stage with other settings stored.

        Args:
            stored: the other stage's :meth:`settings`.

        Returns:
            An index into one record, or None where its records do not hold this stage's.
        """
        return None


Stage = TrainStage | ExtractStage
PREDICTOR = "predictor"
"""The part of a method that predicts, where one network of several is named."""


def unknown_statistics() -> tuple[Sequence[float], Sequence[float]]:
    """Stands in where there are no training images: of a run that is opened, they come with its weights."""
    return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Context:
    """What a method is made for.

    Attributes:
        task: what is learned.
        backbone: makes the backbone the user chose, with its weights, for the run's image size.
        targets: targets of the training rows (for class weights and the like).
        loss_options: the run's loss settings, handed to :meth:`Task.loss`.
        statistics: mean and standard deviation of each channel over the pixels of the training images, in
            ``[0, 1]``; computed when asked for.
        image_size: height and width of the images.
        training: the run's settings of the training loop, by name.
    """

    task: Task
    backbone: Callable[[], Backbone]
    targets: Mapping[str, np.ndarray]
    loss_options: Mapping[str, Any]
    statistics: Callable[[], tuple[Sequence[float], Sequence[float]]] = unknown_statistics
    image_size: tuple[int, int] = (224, 224)
    training: Mapping[str, Any] = field(default_factory=dict)

    def loss(self) -> nn.Module:
        """The task's loss for these training rows."""
        return self.task.loss(self.targets, self.loss_options)


class Method(ABC):
    """How something is learned.

    Class attributes describe the method to users: ``name``, ``summary`` (one line), ``source`` (where it was
    published), ``tasks`` (names of tasks it serves), ``Config``, and ``training``, ``image`` and ``backbone``
    (settings of the training loop, of the images and of the backbone that differ from the general defaults).
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]]
    Config: ClassVar[type[MethodConfig]] = MethodConfig
    training: ClassVar[Mapping[str, Any]] = {}
    image: ClassVar[Mapping[str, Any]] = {}
    backbone: ClassVar[Mapping[str, Any]] = {}
    backbone_name: str | None = None
    """The backbone that it asked for; the engine notes it."""

    def __init__(self, config: MethodConfig, context: Context) -> None:
        self.config = config
        self.context = context

    @classmethod
    def task_options(cls, config: MethodConfig) -> Mapping[str, Any]:
        """The task's own settings that this configuration decides, by name."""
        return {}

    @abstractmethod
    def stages(self) -> Sequence[Stage]:
        """The stages in their order. Always the same objects."""

    @abstractmethod
    def predictor(self) -> nn.Module:
        """A module from images ``[b, c, h, w]`` in ``[0, 1]`` to outputs, sharing the stages' networks."""

    def tile(self) -> tuple[int, int] | None:
        """Height and width of the pieces in which the predictor sees larger images; None for whole images."""
        return None

    def merge(self) -> nn.Module:
        """What was learned as one plain backbone and a linear head, where it can be that.

        Returns:
            A :class:`~modicum.nn.Classifier` in evaluation mode whose backbone has timm's own layers, or such a
            backbone alone, where no head is learned. It may share tensors with the predictor.

        Raises:
            InputError: the method's network is more than its backbone.
        """
        raise InputError(
            f"what method '{self.name}' learns does not fold into its backbone",
            "use the run itself, or a method that merges (lora, dora, ssf, bitfit, partial, attention, full, linear)",
        )

    def export_network(self, part: str = PREDICTOR) -> tuple[nn.Module, dict[str, Any]]:
        """One network of the method for use on its own, and what it takes to make it again.

        Args:
            part: ``predictor``, or another network that a method offers.

        Returns:
            The network with what was learned, nothing that only served learning in it, and plain values for its card.

        Raises:
            InputError: the method has no such part.
        """
        if part != PREDICTOR:
            raise InputError(
                f"method '{self.name}' has no part '{part}'", f"leave --part out, or use {PREDICTOR}"
            )
        task = self.context.task
        return self.predictor(), {
            "config": self.config.model_dump(mode="json"),
            "image_size": list(self.context.image_size),
            "channels": [task.channels, task.num_outputs],
        }
