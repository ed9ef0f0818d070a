"""The one Lightning module: it drives the updates of any stage, and knows where it is so that it can go on."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from modicum.data.sampling import batches as cut_batches
from modicum.data.sampling import epoch_draws, epoch_order
from modicum.engine.inputs.batches import StageData, in_channels_last, loader
from modicum.engine.randomness import generator_at, seed_globals
from modicum.engine.recipe.settings import TrainingSettings
from modicum.engine.training.averaging import AveragedParameters
from modicum.engine.training.meters import Stopwatch, memory_account, saved_tensors
from modicum.engine.training.optimizers import clip_gradients, make_optimizer, set_learning_rate
from modicum.engine.training.schedule import lr_factor
from modicum.errors import InputError
from modicum.methods.base import TrainStage
from modicum.tasks.base import Batch


@dataclass
class Position:
    """Where a stage's training stands. JSON-ready; part of every checkpoint."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sums: dict[str, float] = field(default_factory=dict)
    loss_count: int = 0
    best: dict[str, Any] | None = None
    epochs_without_improvement: int = 0
    seconds: float = 0.0
    finished: bool = False


class StageModule(lightning.LightningModule):
    """Trains one stage by manual optimisation.

    Args:
        stage: what learns.
        settings: the training loop's settings.
        data: what it learns from.
        seed: the run's seed.
        augmentation: from a batch and a generator to a batch, or None.
        at_start: called when Lightning is about to train.
        at_epoch_end: called when an epoch is done; returns whether to stop.
        at_step_end: called after each optimiser step.
    """

    def __init__(
        self,
        stage: TrainStage,
        settings: TrainingSettings,
        data: StageData,
        seed: int,
        augmentation: Callable[[Batch, torch.Generator], Batch] | None,
        at_start: Callable[[], None],
        at_epoch_end: Callable[[], bool],
        at_step_end: Callable[[dict[str, Any]], None],
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.stage = stage
        self.settings = settings
        self.data = data
        self.seed = seed
        self.augmentation = augmentation if data.shows_images else None
        self.updates = list(stage.updates())
        self.position = Position()
        self.average: AveragedParameters | None = None
        self.memory: dict[str, Any] | None = None
        self.watch = Stopwatch()
        self._activations = 0
        self._at_start = at_start
        self._at_epoch_end = at_epoch_end
        self._at_step_end = at_step_end
        self._restore: Callable[[list[Optimizer]], None] | None = None
        self._waiting_losses: list[dict[str, Tensor]] = []

    # --- set-up ------------------------------------------------------------------------------------------------

    def restore_when_ready(self, restore: Callable[[list[Optimizer]], None]) -> None:
        """Has ``restore`` called with the optimisers once they exist and everything is on its device."""
        self._restore = restore

    def configure_optimizers(self) -> list[Optimizer]:
        return [make_optimizer(update, self.settings) for update in self.updates]

    def plain_optimizers(self) -> list[Optimizer]:
        """The optimisers, without Lightning's wrapping."""
        return list(self.trainer.strategy.optimizers)

    def on_fit_start(self) -> None:
        if self.settings.ema_decay:
            learnable = {name: p for name, p in self.stage.named_parameters() if p.requires_grad}
            self.average = AveragedParameters(learnable, self.settings.ema_decay)
        if self._restore is not None:
            self._restore(self.plain_optimizers())

    def train_dataloader(self) -> Iterable[Batch]:
        place = (self.seed, self.stage.name, self.position.epoch)
        views, partners = self.data.drawn_views(*place), self.data.drawn_partners(*place)
        return loader(
            self.data.batches(self._rows_of_epoch()[self.position.batch :], views, partners),
            self.settings.workers,
            pin=self.device.type == "cuda",
        )

    def _rows_of_epoch(self) -> list[np.ndarray]:
        repeats = self.settings.repeats_per_epoch
        order = np.concatenate(
            [
                epoch_order(
                    self.data.sampling_labels,
                    self.settings.sampling,
                    seed=self.seed,
                    epoch=self.position.epoch * repeats + number,
                    rank=self.global_rank,
                    world_size=self.trainer.world_size,
                )
                for number in range(repeats)
            ]
        )
        # A last batch of one image has no batch statistics; small sets keep their only batch.
        whole = len(order) >= self.settings.batch_size
        return [
            self.data.train_rows[part]
            for part in cut_batches(order, self.settings.batch_size, drop_last=whole)
        ]

    def batches_per_epoch(self, world_size: int = 1) -> int:
        """Batches each process sees in an epoch."""
        images = epoch_draws(self.data.sampling_labels, self.settings.sampling, world_size)
        return max(1, self.settings.repeats_per_epoch * images // self.settings.batch_size)

    def steps_per_epoch(self, world_size: int = 1) -> int:
        """Optimiser steps in an epoch."""
        return -(-self.batches_per_epoch(world_size) // self.settings.accumulate)

    # --- the step ----------------------------------------------------------------------------------------------

    def on_train_start(self) -> None:
        self._at_start()

    def on_train_epoch_start(self) -> None:
        if self.position.batch == 0:
            seed_globals("epoch began", self.seed, self.stage.name, self.position.epoch)
            self.stage.on_epoch_start(self.position.epoch)
        else:
            self.stage.on_epoch_resume(self.position.epoch)
        self.watch.begin_wait()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.watch.begin_work()

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        began = time.perf_counter()
        place = (self.seed, self.stage.name, self.position.epoch, self.position.batch, self.global_rank)
        seed_globals("step", *place)
        batch = self.data.on_device(batch)
        if self.augmentation is not None:
            batch = self.augmentation(batch, generator_at("augment", *place))
        if self.device.type == "cuda" and self.settings.channels_last:
            batch = in_channels_last(batch)
        batches = self.batches_per_epoch(self.trainer.world_size)
        first = self.position.batch - self.position.batch % self.settings.accumulate
        group = min(self.settings.accumulate, batches - first)
        steps_now = self.position.batch + 1 == first + group
        losses, lr = self._run_updates(batch, group, steps_now)
        self.position.batch += 1
        self._waiting_losses.append({name: value.detach() for name, value in losses.items()})
        if steps_now:
            self.position.step += 1
            if self.average is not None:
                self.average.update()
            self._account_memory()
        self.watch.end_work(len(batch["position"]) * self.trainer.world_size)
        self.position.seconds += time.perf_counter() - began
        if steps_now:
            self.watch.pause()
            self._at_step_end({"lr": lr, "seconds": time.perf_counter() - began})
            self.watch.begin_wait()

    def _run_updates(self, batch: Batch, group: int, steps_now: bool) -> tuple[dict[str, Tensor], float]:
        shown: dict[str, Tensor] = {}
        lr = 0.0
        world = self.trainer.world_size
        per_epoch = self.steps_per_epoch(world)
        total, warmup = self.settings.epochs * per_epoch, round(self.settings.warmup_epochs * per_epoch)
        settings = self.settings
        min_factor = settings.min_lr / settings.lr
        factor = lr_factor(self.position.step, total, min(warmup, total), settings.schedule, min_factor)
        for update, optimizer in zip(self.updates, self.plain_optimizers(), strict=True):
            with self._only(optimizer), self._gradients_stay_local(not steps_now):
                with self._first_step_meter():
                    losses = update.losses(batch)
                if self.position.batch % self.settings.accumulate == 0:
                    optimizer.zero_grad(set_to_none=True)
                self.manual_backward(torch.stack(list(losses.values())).sum() / group)
                if steps_now:
                    lr = set_learning_rate(optimizer, factor * update.lr_factor(self.position.epoch))
                    if self.settings.clip_norm:
                        clip_gradients(optimizer, self.settings.clip_norm)
                    optimizer.step()
                    if self.device.type != "cpu":
                        # Room for the next forward pass. On a CPU the memory would go back to the system and
                        # return page by page, which takes a tenth of a small network's step.
                        optimizer.zero_grad(set_to_none=True)
            shown |= losses
        return shown, lr

    @contextmanager
    def _only(self, optimizer: Optimizer) -> Iterator[None]:
        """With several updates, only the parameters of this one receive gradients."""
        if len(self.updates) == 1:
            yield
            return
        self.toggle_optimizer(optimizer)
        try:
            yield
        finally:
            self.untoggle_optimizer(optimizer)

    def _gradients_stay_local(self, local: bool) -> AbstractContextManager[None]:
        no_sync = getattr(self.trainer.model, "no_sync", None)
        return no_sync() if local and no_sync is not None else nullcontext()

    # --- meters ------------------------------------------------------------------------------------------------

    @contextmanager
    def _first_step_meter(self) -> Iterator[None]:
        """Around a forward pass only: the meter holds on to what it counts, which would raise the true peak."""
        if self.memory is not None:
            yield
            return
        own = [*self.stage.parameters(), *self.stage.buffers()]
        with saved_tensors(own) as account:
            yield
        self._activations = max(self._activations, account.bytes)  # updates come one after another

    def _account_memory(self) -> None:
        """After the first step, when the optimisers have their state."""
        if self.memory is None:
            average = self.average.average if self.average else None
            self.memory = memory_account(self.stage, self.plain_optimizers(), self._activations, average)

    def take_losses(self) -> list[dict[str, float]]:
        """Losses of the batches since the last call, and adds them to the epoch's means.

        Raises:
            InputError: a loss is not finite: the training has diverged.
        """
        taken = [{name: float(value) for name, value in losses.items()} for losses in self._waiting_losses]
        self._waiting_losses.clear()
        for losses in taken:
            for name, value in losses.items():
                if not np.isfinite(value):
                    raise InputError(
                        f"loss '{name}' became {value} near step {self.position.step}",
                        f"lower the learning rate (now --set lr={self.settings.lr:g}) or check the images",
                    )
                self.position.loss_sums[name] = self.position.loss_sums.get(name, 0.0) + value
            self.position.loss_count += 1
        return taken

    # --- the end of an epoch -----------------------------------------------------------------------------------

    def on_train_epoch_end(self) -> None:
        self.watch.pause()
        seed_globals("epoch ended", self.seed, self.stage.name, self.position.epoch)
        self.stage.on_epoch_end(self.position.epoch)
        self.position.epoch += 1
        self.position.batch = 0
        if self._at_epoch_end():
            self.trainer.should_stop = True

    def position_dict(self) -> dict[str, Any]:
        """The position, JSON-ready."""
        return asdict(self.position)
