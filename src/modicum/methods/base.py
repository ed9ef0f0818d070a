"""What a method owes the engine: a configuration, and one or more stages in order.

The stages are in :mod:`modicum.methods.stages`, what a predictor is in :mod:`modicum.methods.predictor`, decisions
over a set of images in :mod:`modicum.methods.decision`. A method never sees a device, a file or a progress bar.
:func:`modicum.methods.checks.check_method` holds a method to all of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.methods.decision import Decision, Rows
from modicum.methods.stages import ExtractStage, FitStage, RecordPart, Stage, TrainStage, Update
from modicum.nn.backbones import Backbone
from modicum.tasks.base import AuxiliaryImage, Batch, Task

if TYPE_CHECKING:
    from modicum.methods.image_text.model import ImageTextModel

__all__ = [
    "PREDICTOR",
    "Context",
    "ExtractStage",
    "FitStage",
    "Method",
    "MethodConfig",
    "RecordPart",
    "Stage",
    "TrainStage",
    "Update",
    "unknown_statistics",
]

PREDICTOR = "predictor"
"""The part of a method that predicts, where one network of several is named."""


class MethodConfig(BaseModel):
    """Base of every method's configuration. Each field says its unit, the paper's default and its source."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def unknown_statistics() -> tuple[Sequence[float], Sequence[float]]:
    """Channel statistics of a run that is opened: the true ones come with its weights."""
    return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


def no_reference() -> Batch:
    """Reference rows of a run that is opened: whatever was made of them comes with its weights."""
    return {}


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
        stage_training: by stage, its settings of the training loop.
        reference: the rows of split ``reference`` as one batch on the CPU: images ``[n, c, h, w]`` in ``[0, 1]``, further
            inputs and targets (one annotated image, say). Empty where the data has none, and where ``has_data`` is false.
        seed: of the run.
        has_data: false where the networks are made to be filled (a run is opened) or counted (a memory prediction): what
            is made of data then comes with the weights, or does not matter, and nothing may be refused for lack of it.
    """

    task: Task
    backbone: Callable[[], Backbone]
    targets: Mapping[str, np.ndarray]
    loss_options: Mapping[str, Any]
    statistics: Callable[[], tuple[Sequence[float], Sequence[float]]] = unknown_statistics
    image_size: tuple[int, int] = (224, 224)
    training: Mapping[str, Any] = field(default_factory=dict)
    stage_training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reference: Callable[[], Batch] = no_reference
    seed: int = 0
    has_data: bool = True

    def loss(self) -> nn.Module:
        """The task's loss for these training rows."""
        return self.task.loss(self.targets, self.loss_options)


class Method(ABC):
    """How something is learned.

    Class attributes describe the method to users.

    Attributes:
        name: on the command line and in recipes.
        summary: one line.
        source: where it was published.
        tasks: names of the tasks it serves; the first is the default.
        Config: its own settings.
        training: settings of the training loop that differ from the general defaults.
        stage_training: by name of a train or fit stage, settings of the training loop that are its own; all of these
            stages are named, also with an empty mapping. Settings that a user gives for the whole run come before these.
        image: settings of the images that differ from the general defaults.
        backbone: settings of the backbone that differ from the general defaults.
        decides_over: ``image``: each output is an answer. ``set``: :meth:`decide` finds answers from the outputs of all
            images of a split, or of all images to predict.
        augments: whether its stages see images that augmentation can change. False where they learn from features that
            are extracted once: a recipe then has ``augment: none``, and another augmentation is refused.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str] = ""
    tasks: ClassVar[tuple[str, ...]]
    Config: ClassVar[type[MethodConfig]] = MethodConfig
    training: ClassVar[Mapping[str, Any]] = {}
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tune": {}}
    image: ClassVar[Mapping[str, Any]] = {}
    backbone: ClassVar[Mapping[str, Any]] = {}
    decides_over: ClassVar[Literal["image", "set"]] = "image"
    augments: ClassVar[bool] = True
    backbone_name: str | None = None
    """The backbone that it asked for; set by the engine."""

    def __init__(self, config: MethodConfig, context: Context) -> None:
        self.config = config
        self.context = context

    @classmethod
    def task_options(cls, config: MethodConfig) -> Mapping[str, Any]:
        """The task's own settings that this configuration decides, by name."""
        return {}

    @classmethod
    def auxiliary_images(cls, config: MethodConfig) -> tuple[AuxiliaryImage, ...]:
        """Further pictures of each row that the method reads, besides the task's own (a saliency map, lesion masks)."""
        return ()

    @abstractmethod
    def stages(self) -> Sequence[Stage]:
        """The stages in their order. Always the same objects."""

    @abstractmethod
    def predictor(self) -> nn.Module:
        """A module from images ``[b, c, h, w]`` in ``[0, 1]`` to outputs, sharing the stages' networks.

        All that its answers depend on besides the configuration is in its parameters and persistent buffers: from these
        it is made again where it was exported. See :mod:`modicum.methods.predictor` for what else it may offer.
        """

    def decide(self, outputs: Float[Tensor, "n outputs"], rows: Rows) -> Decision:
        """From the predictor's outputs for a set of images to the task's outputs, where ``decides_over`` is ``set``.

        Must give an answer for a single image too, and where neither patient nor eye is known. Called without gradients,
        with all stages in evaluation mode.

        Args:
            outputs: of the predictor, in the order of the rows; on the CPU. A network that decides moves them to where it
                is, ``outputs.to(self.head.weight.device)``.
            rows: what is known of the images.
        """
        return Decision(outputs)

    def image_text(self) -> "ImageTextModel | None":
        """Both encoders, where the method has learned images together with texts: for prompts, retrieval and maps of
        what a sentence reads. None for all other methods."""
        return None

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
            "export its predictor instead (--form predictor)",
        )

    def export_network(self, part: str = PREDICTOR) -> tuple[nn.Module, dict[str, Any]]:
        """One network of the method for use on its own, and what it takes to make it again besides the configuration.

        :func:`~modicum.methods.exported.exported_network` makes the method anew, without targets, and takes the same part
        of it.

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
