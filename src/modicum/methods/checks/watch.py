"""Looks over the engine's shoulder while it trains a method: rows, batches, optimisers; and stops it where asked."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from modicum.batch import Batch, Kind, names_of
from modicum.methods.base import FitStage, Method, Stage, TrainStage, Update


class Stopped(BaseException):
    """The engine was stopped as by a kill: nothing after this is done, but what was saved before is there."""


@dataclass
class Watch:
    """What was seen of the methods of one class that the engine made.

    Attributes:
        stop_in: name of a stage, and in which of its batches to stop (from 1); None never stops.
        methods: the methods, in the order in which they were made.
        rows: by stage, the rows of the data that its training batches showed, relatives' too.
        masks: by stage, what ``learns_from`` gave, call by call.
        batches: by stage, training batches so far.
        began: by stage, how many batches there had been when each epoch or pass began.
        groups: by stage, the parameter groups of each optimiser at its first step.
    """

    stop_in: tuple[str, int] | None = None
    methods: list[Method] = field(default_factory=list)
    rows: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    masks: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    batches: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    began: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    groups: dict[str, list[list[dict[str, Any]]]] = field(default_factory=lambda: defaultdict(list))
    _stage: str = ""
    _optimizers: list[Optimizer] = field(default_factory=list)

    @property
    def method(self) -> Method:
        """The last one that was made."""
        return self.methods[-1]

    @contextmanager
    def on(self, method: type[Method]) -> Iterator["Watch"]:
        """Within, methods of this class are watched."""
        make = method.__init__

        def made(instance: Method, *args: Any, **kwargs: Any) -> None:
            make(instance, *args, **kwargs)
            if type(instance) is method:
                self.methods.append(instance)
                for stage in instance.stages():
                    self._watch(stage)

        hook = register_optimizer_step_pre_hook(self._before_step)
        try:
            with patch.object(method, "__init__", made):
                yield self
        finally:
            hook.remove()

    def _watch(self, stage: Stage) -> None:
        watched: Any = stage  # methods of one object are replaced
        if isinstance(stage, TrainStage | FitStage):
            watched.learns_from = self._noting_mask(stage.name, stage.learns_from)
        if isinstance(stage, TrainStage):
            watched.updates = self._watched_updates(stage.name, stage.updates)
            watched.on_epoch_start = self._noting_start(stage.name, stage.on_epoch_start)
        elif isinstance(stage, FitStage):
            watched.see = self._watched_see(stage.name, stage.see)
            watched.on_pass_start = self._noting_start(stage.name, stage.on_pass_start)

    def _noting_mask(self, stage: str, learns_from: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def wrapper(targets: Any) -> Any:
            mask = learns_from(targets)
            self.masks[stage].append(mask.copy() if isinstance(mask, np.ndarray) else mask)
            self.masks[stage].append(
                learns_from(targets)
            )  # once more, to see that it is a function of the targets
            return mask

        return wrapper

    def _noting_start(self, stage: str, start: Callable[[int], None]) -> Callable[[int], None]:
        def wrapper(number: int) -> None:
            self.began[stage].append(self.batches[stage])
            start(number)

        return wrapper

    def _watched_updates(
        self, stage: str, updates: Callable[[], Sequence[Update]]
    ) -> Callable[[], Sequence[Update]]:
        def wrapper() -> Sequence[Update]:
            update_list = list(updates())
            return [
                replace(update, losses=self._watched_losses(stage, update, last=update is update_list[-1]))
                for update in update_list
            ]

        return wrapper

    def _watched_losses(self, stage: str, update: Update, last: bool) -> Callable[[Batch], dict[str, Tensor]]:
        def wrapper(batch: Batch) -> dict[str, Tensor]:
            if torch.is_grad_enabled():  # else a validation
                self._saw(stage, batch, last)
            return update.losses(batch)

        return wrapper

    def _watched_see(self, stage: str, see: Callable[[Batch], None]) -> Callable[[Batch], None]:
        def wrapper(batch: Batch) -> None:
            self._saw(stage, batch, last=True)
            see(batch)

        return wrapper

    def _saw(self, stage: str, batch: Batch, last: bool) -> None:
        self._stage = stage
        for name in names_of(batch, Kind.ROW):
            self.rows[stage].update(batch[name].tolist())
        self.batches[stage] += last
        if last and self.stop_in == (stage, self.batches[stage]):
            raise Stopped

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not any(optimizer is other for other in self._optimizers):
            self._optimizers.append(optimizer)
            self.groups[self._stage].append([dict(group) for group in optimizer.param_groups])
