"""One training step in plain PyTorch: all updates of a stage on one batch.

Lightning's module and the memory dry run both use exactly this step; only their hooks differ.

>>> step = TrainingStep(stage.updates(), optimizers)
>>> losses, lr = step(batch)
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from modicum.engine.training.optimizers import clip_gradients, parameters_of, set_learning_rate
from modicum.methods.base import Update
from modicum.tasks.base import Batch

Part = Literal["backward", "step"]
"""The part of an update that has just been done: its backward pass, or its optimiser's step."""


@dataclass(frozen=True)
class BatchInStep:
    """Index of a batch among those whose gradients are accumulated for one optimiser step.

    Attributes:
        count: number of batches of the step; each loss is divided by it.
        first: whether it is the first: gradients of the previous step are released.
        last: whether it is the last: the optimisers step.
    """

    count: int = 1
    first: bool = True
    last: bool = True

    @classmethod
    def at(cls, batch: int, batches: int, accumulate: int) -> "BatchInStep":
        """The step of a batch (from 0) of an epoch. The last step of an epoch may have fewer batches than the others."""
        first = batch - batch % accumulate
        count = min(accumulate, batches - first)
        return cls(count, batch == first, batch + 1 == first + count)


def _backward(loss: Tensor) -> None:
    loss.backward()


def _nothing(part: Part, optimizer: Optimizer) -> None:
    pass


@dataclass(frozen=True)
class StepHooks:
    """Hooks around the parts of a step.

    Attributes:
        backward: runs the backward pass of a loss.
        no_sync: makes a context in which gradients are not reduced over processes; entered for every batch of a
            step but the last.
        around_forward: makes the context of each update's forward pass and losses.
        after: called after each part of an update, before its gradients are released.
    """

    backward: Callable[[Tensor], None] = _backward
    no_sync: Callable[[], AbstractContextManager[Any]] = nullcontext
    around_forward: Callable[[], AbstractContextManager[Any]] = nullcontext
    after: Callable[[Part, Optimizer], None] = _nothing


@dataclass(frozen=True)
class TrainingStep:
    """Runs the updates of a stage on a batch, in their order.

    Attributes:
        updates: the stage's updates.
        optimizers: one for each update.
        clip_norm: largest norm of the gradients of one optimiser; 0 does not clip.
        release_gradients: whether gradients are released right after the optimiser's step, which leaves room for the
            next forward pass, or only before the next backward pass. On a CPU the memory would go back to the
            system and return page by page, which takes a tenth of a small network's step.
        hooks: hooks around the parts.
    """

    updates: Sequence[Update]
    optimizers: Sequence[Optimizer]
    clip_norm: float = 0.0
    release_gradients: bool = False
    hooks: StepHooks = StepHooks()

    def __call__(
        self, batch: Batch, place: BatchInStep = BatchInStep(), lr_factor: float = 1.0, epoch: int = 0
    ) -> tuple[dict[str, Tensor], float]:
        """Trains on one batch.

        Args:
            batch: input of the updates' losses.
            place: the batch's index among those of its optimiser step.
            lr_factor: factor of the run's schedule; each update's factor multiplies it.
            epoch: from 0, for the updates' own factors.

        Returns:
            The losses by name, and the learning rate of the last update (0 where the optimisers do not step yet).
        """
        losses: dict[str, Tensor] = {}
        lr = 0.0
        for update, optimizer in zip(self.updates, self.optimizers, strict=True):
            local = nullcontext() if place.last else self.hooks.no_sync()
            with self._only(optimizer), local:
                losses |= self._gradients(update, optimizer, batch, place)
                if place.last:
                    lr = set_learning_rate(optimizer, lr_factor * update.lr_factor(epoch))
                    self._step(optimizer)
        return losses, lr

    def _gradients(
        self, update: Update, optimizer: Optimizer, batch: Batch, place: BatchInStep
    ) -> dict[str, Tensor]:
        with self.hooks.around_forward():
            losses = update.losses(batch)
        if place.first:
            optimizer.zero_grad(set_to_none=True)
        self.hooks.backward(torch.stack(list(losses.values())).sum() / place.count)
        self.hooks.after("backward", optimizer)
        return losses

    def _step(self, optimizer: Optimizer) -> None:
        if self.clip_norm:
            clip_gradients(optimizer, self.clip_norm)
        optimizer.step()
        self.hooks.after("step", optimizer)
        if self.release_gradients:
            optimizer.zero_grad(set_to_none=True)

    @contextmanager
    def _only(self, optimizer: Optimizer) -> Iterator[None]:
        """With several updates, lets only the parameters of this one receive gradients."""
        own_ids = {id(parameter) for parameter in parameters_of(optimizer)}
        others = [
            parameter
            for other in self.optimizers
            for parameter in parameters_of(other)
            if id(parameter) not in own_ids and parameter.requires_grad
        ]
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in others:
                parameter.requires_grad_(True)
