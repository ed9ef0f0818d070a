"""The stages of a method: what is learned by gradients, extracted once, or fitted by streaming.

A stage is plain PyTorch: it can be taken into any other training loop. There are three kinds.

* :class:`TrainStage` learns by gradients. It names its *updates*: for each, the parameters, and a function from a
  batch to named losses. The engine makes the optimisers, and runs all updates in their order for every batch.
* :class:`ExtractStage` learns nothing. The engine streams every image through it once and keeps its records in a
  store (or, where the disk is too small for them, calls it for every batch); later stages read its records by
  name, ``batch["features"]``.
* :class:`FitStage` is fitted without gradients: statistics, memory banks, principal components, clusters. The engine
  streams the training images through it, in as many passes as it asks for.

A stage never sees a device, a file or a progress bar.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from modicum.nn.frozen import learned_tensors
from modicum.tasks.base import Batch

RecordPart = tuple[slice | list[int], ...]
"""An index into one stored record."""

Targets = Mapping[str, np.ndarray]
"""Arrays over rows: the task's targets by name, and for each further input ``NAME`` of the data ``has_NAME`` (bool)."""


def constant_lr(epoch: int) -> float:
    """The run's schedule as it is."""
    return 1.0


@dataclass(frozen=True)
class Update:
    """One optimiser's share of a training step.

    Attributes:
        name: of the update in logs, for instance ``generator``.
        parameters: what it changes: parameters, or PyTorch parameter groups (``{"params": [...], "lr": ...}``).
        losses: from a batch to named scalar losses, already weighted; their sum is minimised.
        options: settings of the optimiser that differ from the run's, for instance ``{"betas": (0.5, 0.999)}``.
        lr_factor: from an epoch (from 0) to a factor on the run's scheduled learning rate.
    """

    name: str
    parameters: Sequence[Any]
    losses: Callable[[Batch], dict[str, Tensor]]
    options: Mapping[str, Any] = field(default_factory=dict)
    lr_factor: Callable[[int], float] = constant_lr


class _LearningStage(nn.Module, ABC):
    """What stages that see training rows have in common.

    Attributes:
        name: of the stage, in logs, checkpoints and settings (``--set NAME.epochs=10``).
        reads: inputs it wants in a batch: ``image``, outputs of earlier extract stages, ``boxes``, further pictures,
            and any of these of another row: ``fellow_NAME`` (the same patient's other eye; with ``fellow_missing``,
            true where there is none and the row itself stands in) or ``partner_NAME`` (a training row drawn by a
            second sampler, with its targets; in validation always the same one). An extract stage that provides
            ``image`` replaces the images.
        partner_sampling: how partners are drawn: a sampling mode of :mod:`modicum.data.sampling`.
        learns_from_none: what a user can do where :meth:`learns_from` leaves no training row.
    """

    name: str
    reads: tuple[str, ...] = ("image",)
    partner_sampling: str = "balanced"
    learns_from_none: str = ""

    def learns_from(self, targets: Targets) -> Bool[np.ndarray, "rows"] | None:
        """Which rows the stage may see, as a mask; None for all. It must follow from the targets alone.

        Args:
            targets: of all rows of the data; ``has_boxes``, ``has_mask``, ... say which rows have a further input,
                ``has_fellow`` which have the patient's other eye in the same split.
        """
        return None


class TrainStage(_LearningStage):
    """A stage that learns by gradients. ``forward`` maps a batch to the outputs that the task scores.

    Attributes:
        scored: whether the task scores the outputs on the validation rows. A stage that is not (a pretext task, a
            degrader) is selected by its own validation loss; see :meth:`validate`.
        decided: whether outputs go through :meth:`Method.decide` before they are scored, as the predictor's do.
        image_size: height and width that augmentation brings images to; None for the run's.
        patch: height and width of windows that augmentation cuts from training images at random; None for whole
            images.
        aligned_views: whether ``image`` shows the same view as the stored features (see
            :attr:`ExtractStage.views`), or the image as it is.
    """

    scored: bool = True
    decided: bool = False
    image_size: tuple[int, int] | None = None
    patch: tuple[int, int] | None = None
    aligned_views: bool = False

    @abstractmethod
    def updates(self) -> Sequence[Update]:
        """The updates of one training step, in their order.

        Stages that share networks each get new optimisers; what other stages learn and this one does not receives no
        gradients while this one trains.
        """

    def forward(self, batch: Batch) -> Tensor:
        """Outputs for validation and prediction. Stages that are not scored need none."""
        raise TypeError(f"stage '{self.name}' has no outputs to score")

    def chance_losses(self, batch_size: int) -> dict[str, float]:
        """Of named losses, the value where the stage tells nothing apart, such as ``log 2`` for a pair of equals.

        Training that ends there is reported: its loss looks like a result, and nothing was learned. By default none.
        """
        return {}

    def persistent_modules(self) -> tuple[str, ...] | None:
        """Names of the submodules that a finished run keeps; None for everything that was learned.

        A tensor that is not learned is kept where it is named itself. What only serves learning (a discriminator, a
        pool of images) is in every checkpoint and left out at the end.
        """
        return None

    def on_epoch_start(self, epoch: int) -> None:
        """Called before the first batch of an epoch (from 0), with PyTorch's generators seeded for it.

        State that must survive a kill has to be in buffers or parameters.
        """

    def on_epoch_resume(self, epoch: int) -> None:
        """Called instead of :meth:`on_epoch_start` where an epoch goes on after a kill, with the state restored.

        What depends on the number of the epoch alone is set again here, and need not be in the state.
        """

    def on_epoch_end(self, epoch: int) -> None:
        """Called after the last batch of an epoch, before validation, with PyTorch's generators seeded for it."""

    def findings(self) -> dict[str, Any]:
        """Results besides weights, as plain values for ``metrics.json`` and the report."""
        return {}

    def artefacts(self) -> dict[str, str]:
        """Results that other runs can use: text files of the finished run folder, by name."""
        return {}

    def preview(self, batch: Batch) -> Float[Tensor, "images views c h w"] | None:
        """Pictures in ``[0, 1]`` of what the stage makes of a few training images, for the report; by default none.

        Called once before the stage learns, in evaluation mode, without gradients and with seeded generators, with
        a batch that is not augmented. Nothing of it is learned from.
        """
        return None

    def validate(self, batch: Batch) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Outputs of a validation batch (None where the stage is not scored), and named losses, where it has some.

        Called in evaluation mode without gradients and with seeded generators. By default a scored stage gives its
        outputs and no loss, another stage the losses of its updates.
        """
        if self.scored:
            return self(batch), {}
        losses: dict[str, Tensor] = {}
        for update in self.updates():
            losses |= update.losses(batch)
        return None, losses


class ExtractStage(nn.Module, ABC):
    """A stage without gradients: from images to one fixed-size record an image.

    Attributes:
        name: of the stage, in logs and in the store's settings.
        output: name of the records in the batches of later stages.
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
        """The largest difference of the values that two batches of records encode."""
        return float((first.float() - second.float()).abs().max())

    def part_of(self, stored: Mapping[str, Any]) -> RecordPart | None:
        """How to cut this stage's records out of those that a stage with other settings stored.

        Args:
            stored: the other stage's :meth:`settings`.

        Returns:
            An index into one record, or None where its records do not hold this stage's.
        """
        return None


class FitStage(_LearningStage):
    """A stage that is fitted by streaming, without gradients: statistics, memory banks, principal components, clusters.

    What it finds belongs in buffers. They may have any size, also one that is known only afterwards: register them
    empty and assign them in :meth:`finish`. They are saved and loaded with the run. Rows come in the order of the
    data, in evaluation mode, without augmentation unless the stage's settings name one; several processes each see
    all rows and end with the same buffers.

    Attributes:
        split: the rows that it is shown: ``train``, or ``val`` where it needs images that nothing was fitted to (a
            threshold on scores, which are too low on the images that a scorer was fitted to).
    """

    split: Literal["train", "val"] = "train"

    @abstractmethod
    def see(self, batch: Batch) -> None:
        """Takes one batch of its rows, on the stage's device, without gradients and with seeded generators."""

    @abstractmethod
    def finish(self) -> bool | None:
        """Called after each pass over the rows; true asks for another pass."""

    def on_pass_start(self, number: int) -> None:
        """Called before each pass (from 0)."""

    def findings(self) -> dict[str, Any]:
        """Results besides buffers, as plain values for ``metrics.json`` and the report."""
        return {}

    def artefacts(self) -> dict[str, str]:
        """Results that other runs can use: text files of the finished run folder, by name."""
        return {}

    def fitted(self) -> dict[str, Tensor]:
        """The buffers to save, by name: all persistent ones outside :class:`~modicum.nn.Frozen` parts."""
        return {
            name: tensor
            for name, tensor in learned_tensors(self).items()
            if not isinstance(tensor, nn.Parameter)
        }

    def load_fitted(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts saved buffers in place, whatever their sizes. Raises KeyError where the stage has no such buffer."""
        with torch.no_grad():
            for name, tensor in tensors.items():
                owner, _, last = name.rpartition(".")
                buffers = self.get_submodule(owner)._buffers
                current = buffers[last]
                if current is not None and current.shape == tensor.shape:
                    current.copy_(tensor)  # another stage may share it
                else:
                    buffers[last] = tensor.to(tensor.device if current is None else current.device, copy=True)


Stage = TrainStage | ExtractStage | FitStage
