"""The learning rate as a function of the step, and of the training loss where it waits for a plateau."""

import math
from typing import Any, Literal

import torch
from torch.optim.lr_scheduler import ExponentialLR, LRScheduler, MultiStepLR, ReduceLROnPlateau

from modicum.engine.recipe.settings import TrainingSettings

Shape = Literal["cosine", "constant"]
GAMMA = {"exponential": 0.6, "multi_step": 0.1, "plateau": 0.1}
"""Usual factors; those of Huang et al. (Diagnostics 2023, 13, 1664) and their code."""


def lr_factor(
    step: int,
    total: int,
    warmup: int,
    shape: Shape = "cosine",
    min_factor: float = 0.0,
    floor: float = 0.0,
) -> float:
    """The factor on the peak learning rate at optimiser step ``step`` (counted from 0).

    Linear warm-up: ``(step + 1) / warmup`` while ``step < warmup``. Then, for ``cosine``,
    ``(1 + cos(pi t)) / 2`` with ``t`` the share of the remaining steps that are done, so that the first step after
    the warm-up has factor 1 and the factor would be 0 at step ``total``; with a ``min_factor`` one,
    ``min_factor + (1 - min_factor) (1 + cos(pi t)) / 2``.

    Args:
        step: number of the step, from 0.
        total: number of steps of the whole training.
        warmup: number of warm-up steps.
        shape: schedule after the warm-up.
        min_factor: final factor of the cosine.
        floor: the cosine is cut off here: where it would fall below, the factor stays.
    """
    if step < warmup:
        return (step + 1) / warmup
    if shape == "constant":
        return 1.0
    done = (step - warmup) / max(1, total - warmup)
    cosine = min_factor + (1 - min_factor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return max(floor, cosine)


class Schedule:
    """The schedule of one stage's training.

    Args:
        settings: of the stage's training loop.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self.settings = settings
        self._optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        self._plateau = self._waiting_for_a_plateau() if settings.schedule == "plateau" else None
        of_epochs = settings.schedule in ("exponential", "multi_step")
        self._by_epoch = self._after_each_epoch() if of_epochs else []

    def factor(self, step: int, steps_per_epoch: int) -> float:
        """The factor on the peak rate at an optimiser step.

        Args:
            step: from 0.
            steps_per_epoch: optimiser steps in an epoch.
        """
        settings = self.settings
        if settings.schedule_by == "epoch":
            place, total = step // steps_per_epoch, settings.epochs
            warmup = min(round(settings.warmup_epochs), total)
        else:
            place, total = step, settings.epochs * steps_per_epoch
            warmup = min(round(settings.warmup_epochs * steps_per_epoch), total)
        if place < warmup or settings.schedule == "constant":
            return lr_factor(place, total, warmup, "constant")
        lowest = settings.min_lr / settings.lr
        if settings.schedule == "cosine":
            return lr_factor(place, total, warmup, min_factor=lowest)
        if settings.schedule == "clipped_cosine":
            return lr_factor(place, total, warmup, floor=lowest)
        if self._plateau is not None:
            return max(lowest, float(self._optimizer.param_groups[0]["lr"]))
        return max(lowest, self._by_epoch[min(step // steps_per_epoch, settings.epochs)])

    def _after_each_epoch(self) -> list[float]:
        """The factors after 0, 1, ... epochs, by PyTorch's own schedulers, counted from the start of the training."""
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        scheduler: LRScheduler
        if self.settings.schedule == "exponential":
            scheduler = ExponentialLR(optimizer, self._gamma)
        else:
            scheduler = MultiStepLR(optimizer, list(self.settings.milestones), self._gamma)
        optimizer.step()  # without it, the scheduler warns of a wrong order
        factors = []
        for _ in range(self.settings.epochs + 1):
            factors.append(float(optimizer.param_groups[0]["lr"]))
            scheduler.step()
        return factors

    @property
    def _gamma(self) -> float:
        return self.settings.gamma or GAMMA[self.settings.schedule]

    def _waiting_for_a_plateau(self) -> ReduceLROnPlateau:
        settings = self.settings
        return ReduceLROnPlateau(
            self._optimizer, factor=self._gamma, patience=settings.plateau_patience, min_lr=0.0
        )

    # --- what a plateau depends on ------------------------------------------------------------------------------

    def epoch_ended(self, training_loss: float) -> None:
        """Tells the schedule the mean training loss of an epoch."""
        if self._plateau is not None:
            self._plateau.step(training_loss)

    def state(self) -> dict[str, Any]:
        """What has to survive a kill; JSON-ready, empty where the schedule follows from the step alone."""
        if self._plateau is None:
            return {}
        plain = {
            key: value
            for key, value in self._plateau.state_dict().items()
            if isinstance(value, int | float | str | list)
        }
        return {**plain, "lr": float(self._optimizer.param_groups[0]["lr"])}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        if self._plateau is not None and state:
            rest = dict(state)
            self._optimizer.param_groups[0]["lr"] = rest.pop("lr")
            self._plateau.load_state_dict(rest)
