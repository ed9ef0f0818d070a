"""One training step in plain PyTorch: all updates of a stage on one batch.

Lightning's module and the memory dry run both do exactly this; what differs between them are the hooks.

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
"""What an update has just done: its backward pass, or the step of its optimiser."""


@dataclass(frozen=True)
class BatchInStep:
    """A batch's place among those whose gradients are summed for one optimiser step.

    Attributes:
        count: batches of the step; each loss is divided by it.
        first: no gradients of this step are there yet, and those of the last one go.
        last: the optimisers step.
    """

    count: int = 1
    first: bool = True
    last: bool = True

    @classmethod
    def at(cls, batch: int, batches: int, accumulate: int) -> "BatchInStep":
        """Place of a batch (from 0) of an epoch. The last step of an epoch may have fewer batches than the others."""
        first = batch - batch % accumulate
        count = min(accumulate, batches - first)
        return cls(count, batch == first, batch + 1 == first + count)


def _backward(loss: Tensor) -> None:
    loss.backward()


def _nothing(part: Part, optimizer: Optimizer) -> None:
    pass


@dataclass(frozen=True)
class StepHooks:
    """What surrounds the parts of a step.

    Attributes:
        backward: does the backward pass of a loss.
        no_sync: makes a context in which processes keep their gradients to themselves; entered for every batch of a
            step but the last.
        around_forward: makes the context of each update's forward pass and losses.
        after: told which part an update has done, before its gradients are released.
    """

    backward: Callable[[Tensor], None] = _backward
    no_sync: Callable[[], AbstractContextManager[Any]] = nullcontext
    around_forward: Callable[[], AbstractContextManager[Any]] = nullcontext
    after: Callable[[Part, Optimizer], None] = _nothing


@dataclass(frozen=True)
class TrainingStep:
    """Runs the updates of a stage on a batch, in their order.

    Attributes:
        updates: of the stage.
        optimizers: one for each update.
        clip_norm: largest norm of the gradients of one optimiser; 0 does not clip.
        release_gradients: whether gradients go right after the optimiser's step, which leaves room for the next
            forward pass, or when the next backward pass needs theirs. On a CPU the memory would go back to the
            system and return page by page, which takes a tenth of a small network's step.
        hooks: what surrounds the parts.
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
            batch: what the updates' losses take.
            place: the batch's place among those of its optimiser step.
            lr_factor: of the run's schedule; each update's own factor multiplies it.
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
        """With several updates, only the parameters of this one receive gradients."""
        own = {id(parameter) for parameter in parameters_of(optimizer)}
        others = [
            parameter
            for other in self.optimizers
            for parameter in parameters_of(other)
            if id(parameter) not in own and parameter.requires_grad
        ]
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in others:
                parameter.requires_grad_(True)
