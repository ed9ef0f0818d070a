"""The Lightning module: runs the updates of any stage, and keeps its progress so that it can be resumed."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from modicum.data.sampling import batches as cut_batches
from modicum.data.sampling import epoch_draws, epoch_order
from modicum.engine.inputs.batches import StageData, in_channels_last, loader
from modicum.engine.randomness import derive_seed, generator_at, seed_globals
from modicum.engine.recipe.settings import TrainingSettings
from modicum.engine.training.averaging import AveragedParameters
from modicum.engine.training.meters import Stopwatch, memory_account, saved_tensors
from modicum.engine.training.optimizers import make_optimizer
from modicum.engine.training.schedule import Schedule
from modicum.engine.training.step import BatchInStep, StepHooks, TrainingStep
from modicum.errors import InputError
from modicum.methods.base import TrainStage
from modicum.nn.weight_names import not_finite
from modicum.progress import say
from modicum.tasks.base import Batch


@dataclass
class TrainingProgress:
    """Progress of a stage's training. JSON-ready; part of every checkpoint."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sums: dict[str, float] = field(default_factory=dict)
    loss_count: int = 0
    best: dict[str, Any] | None = None
    epochs_without_improvement: int = 0
    seconds: float = 0.0
    finished: bool = False
    schedule: dict[str, Any] = field(default_factory=dict)
    near_chance: dict[str, Any] | None = None

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> "TrainingProgress":
        """Reads the progress of a checkpoint; earlier versions have other names for some of its keys."""
        values = dict(state.get("progress") or state["position"])
        if "stale" in values:
            values["epochs_without_improvement"] = values.pop("stale")
        return cls(**values)


class StageModule(lightning.LightningModule):
    """Trains one stage with manual optimisation.

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
        self.progress = TrainingProgress()
        self.schedule = Schedule(settings)
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
        """Calls ``restore`` with the optimisers once they exist and everything is on its device."""
        self._restore = restore

    def configure_optimizers(self) -> list[Optimizer]:
        return [make_optimizer(update, self.settings, note=say) for update in self.updates]

    def plain_optimizers(self) -> list[Optimizer]:
        """The optimisers, without Lightning's wrapping."""
        return list(self.trainer.strategy.optimizers)

    def on_fit_start(self) -> None:
        if self.settings.ema_decay:
            learnable = {name: p for name, p in self.stage.named_parameters() if p.requires_grad}
            self.average = AveragedParameters(learnable, self.settings.ema_decay, self.settings.ema_power)
        if self._restore is not None:
            self._restore(self.plain_optimizers())

    def train_dataloader(self) -> Iterable[Batch]:
        rows = self._drawn_rows(self.settings.sampling, self.seed)
        partners: list[np.ndarray] = []
        if self.data.partner_sampling is not None:
            seed = derive_seed("partner", self.seed, self.stage.name)
            partners = self._drawn_rows(self.data.partner_sampling, seed, like=rows)
        plan = self.data.training_plan(rows, partners, self.seed, self.stage.name, self.progress.epoch)
        return loader(
            self.data.batches(plan.after(self.progress.batch)),
            self.settings.workers,
            pin=self.device.type == "cuda",
        )

    def _drawn_rows(
        self, sampling: str, seed: int, like: Sequence[np.ndarray] | None = None
    ) -> list[np.ndarray]:
        """Rows of each batch of the epoch for this process; with ``like``, in batches of the same lengths as those."""
        repeats = self.settings.repeats_per_epoch
        order = np.concatenate(
            [
                epoch_order(
                    self.data.sampling_labels,
                    sampling,
                    seed=seed,
                    epoch=self.progress.epoch * repeats + number,
                    rank=self.global_rank,
                    world_size=self.trainer.world_size,
                    decay=self.settings.sampling_decay,
                )
                for number in range(repeats)
            ]
        )
        if like is not None:
            sizes = [len(rows) for rows in like]
            drawn = self.data.train_rows[np.resize(order, sum(sizes))]
            return np.split(drawn, np.cumsum(sizes)[:-1])
        # A last batch of one image has no batch statistics; small sets keep their only batch.
        whole = len(order) >= self.settings.batch_size
        return [
            self.data.train_rows[part]
            for part in cut_batches(order, self.settings.batch_size, drop_last=whole)
        ]

    def batches_per_epoch(self, world_size: int = 1) -> int:
        """Number of batches per process in an epoch."""
        images = epoch_draws(self.data.sampling_labels, self.settings.sampling, world_size)
        return max(1, self.settings.repeats_per_epoch * images // self.settings.batch_size)

    def steps_per_epoch(self, world_size: int = 1) -> int:
        """Number of optimiser steps in an epoch."""
        return -(-self.batches_per_epoch(world_size) // self.settings.accumulate)

    # --- the step ----------------------------------------------------------------------------------------------

    def on_train_start(self) -> None:
        self._at_start()

    def on_train_epoch_start(self) -> None:
        if self.progress.batch == 0:
            seed_globals("epoch began", self.seed, self.stage.name, self.progress.epoch)
            self.stage.on_epoch_start(self.progress.epoch)
        else:
            self.stage.on_epoch_resume(self.progress.epoch)
        self.watch.begin_wait()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.watch.begin_work()

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        began = time.perf_counter()
        place = (self.seed, self.stage.name, self.progress.epoch, self.progress.batch, self.global_rank)
        seed_globals("step", *place)
        batch = self.data.on_device(batch)
        if self.augmentation is not None:
            batch = self.augmentation(
                batch, generator_at("augment", *place)
            )  # relatives by draws of their own
        if self.device.type == "cuda" and self.settings.channels_last:
            batch = in_channels_last(batch, self.data.kinds)
        batches = self.batches_per_epoch(self.trainer.world_size)
        first = self.progress.batch - self.progress.batch % self.settings.accumulate
        group = min(self.settings.accumulate, batches - first)
        steps_now = self.progress.batch + 1 == first + group
        losses, lr = self._run_updates(batch, group, steps_now)
        self.progress.batch += 1
        self._waiting_losses.append({name: value.detach() for name, value in losses.items()})
        if steps_now:
            self.progress.step += 1
            if self.average is not None:
                self.average.update()
            self._account_memory()
        self.watch.end_work(len(batch["row"]) * self.trainer.world_size)
        self.progress.seconds += time.perf_counter() - began
        if steps_now:
            self.watch.pause()
            self._at_step_end({"lr": lr, "seconds": time.perf_counter() - began})
            self.watch.begin_wait()

    def _run_updates(self, batch: Batch, group: int, steps_now: bool) -> tuple[dict[str, Tensor], float]:
        world = self.trainer.world_size
        per_epoch = self.steps_per_epoch(world)
        settings = self.settings
        factor = self.schedule.factor(self.progress.step, per_epoch)
        step = TrainingStep(
            self.updates,
            self.plain_optimizers(),
            clip_norm=settings.clip_norm,
            release_gradients=self.device.type != "cpu",
            hooks=StepHooks(self.manual_backward, self._no_sync, self._first_step_meter),
        )
        place = BatchInStep(group, self.progress.batch % settings.accumulate == 0, steps_now)
        return step(batch, place, factor, self.progress.epoch)

    def _no_sync(self) -> AbstractContextManager[None]:
        """Gradients stay in this process: those of the step's other batches are still to come."""
        no_sync = getattr(self.trainer.model, "no_sync", None)
        return nullcontext() if no_sync is None else no_sync()

    # --- meters ------------------------------------------------------------------------------------------------

    @contextmanager
    def _first_step_meter(self) -> Iterator[None]:
        """Context of the forward pass only: the meter keeps the tensors it counts, which would raise the true peak."""
        if self.memory is not None:
            yield
            return
        own_tensors = [*self.stage.parameters(), *self.stage.buffers()]
        with saved_tensors(own_tensors) as account:
            yield
        self._activations = max(self._activations, account.bytes)  # updates come one after another

    def _account_memory(self) -> None:
        """After the first step, when the optimisers have their state."""
        if self.memory is None:
            average = self.average.average if self.average else None
            self.memory = memory_account(self.stage, self.plain_optimizers(), self._activations, average)

    def take_losses(self) -> list[dict[str, float]]:
        """Returns the losses of the batches since the last call, and adds them to the epoch's means.

        Raises:
            InputError: a loss is not finite: the training has diverged.
        """
        taken = [{name: float(value) for name, value in losses.items()} for losses in self._waiting_losses]
        self._waiting_losses.clear()
        for losses in taken:
            for name, value in losses.items():
                if not np.isfinite(value):
                    raise self._diverged(name, value)
                self.progress.loss_sums[name] = self.progress.loss_sums.get(name, 0.0) + value
            self.progress.loss_count += 1
        return taken

    def _diverged(self, name: str, value: float) -> InputError:
        what = f"loss '{name}' became {value} near step {self.progress.step}"
        frozen = {n: p for n, p in self.stage.named_parameters() if not p.requires_grad}
        if broken := not_finite(frozen):  # training does not change them: they came so
            return InputError(
                f"{what}: {len(broken)} frozen tensors have values that are not numbers (for instance '{broken[0]}')",
                "start from other weights",
            )
        return InputError(
            what, f"lower the learning rate (now --set lr={self.settings.lr:g}) or check the images"
        )

    # --- the end of an epoch -----------------------------------------------------------------------------------

    def on_train_epoch_end(self) -> None:
        self.watch.pause()
        seed_globals("epoch ended", self.seed, self.stage.name, self.progress.epoch)
        self.stage.on_epoch_end(self.progress.epoch)
        self.progress.epoch += 1
        self.progress.batch = 0
        if self._at_epoch_end():
            self.trainer.should_stop = True
