"""Trains one stage: validation, selection of the best weights, checkpoints, stopping and resuming."""

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from modicum.distributed import gathered, share_buffers, wait_for_all, weighted_mean
from modicum.engine.checkpoint import (
    Checkpoint,
    load_tensors,
    newest_checkpoint,
    save_checkpoint,
    save_tensors,
)
from modicum.engine.devices import autocast, process_rank
from modicum.engine.inputs.batches import StageData
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import RunFolder
from modicum.engine.scoring import DecideFn
from modicum.engine.training.chance import near_chance
from modicum.engine.training.checkpoint_state import check_state
from modicum.engine.training.history import History
from modicum.engine.training.interrupts import InterruptHandler
from modicum.engine.training.lightning_trainer import make_trainer, quiet_lightning
from modicum.engine.training.meters import measured_by_allocator
from modicum.engine.training.optimizers import optimizer_tensors, restore_optimizers
from modicum.engine.training.results import StageResult
from modicum.engine.training.stage_module import StageModule, TrainingProgress
from modicum.engine.training.tracking import Tracking
from modicum.engine.training.validation import validate
from modicum.errors import InterruptedRunError
from modicum.methods.base import TrainStage
from modicum.nn import learned_tensors
from modicum.progress import Bar, bar, say, say_without_bar
from modicum.tasks.base import Task
from modicum.transforms import Augmentation

# Seconds. An epoch on stored features takes milliseconds, and a checkpoint more than that.
SHORT = 5.0


class StageTrainer:
    """Keeps one stage's training in a run folder.

    Args:
        stage: what learns.
        recipe: the run's settings.
        folder: where checkpoints and history go.
        data: what the stage learns from.
        task: scores the validation.
        device: where to compute.
        frozen: what other stages learn and this one does not: it receives no gradients while this one trains.
        decide: makes answers of the outputs of all validation rows; None where each output is an answer.
        tracking: is told what is recorded, if anything is to be.
    """

    def __init__(
        self,
        stage: TrainStage,
        recipe: Recipe,
        folder: RunFolder,
        data: StageData,
        task: Task,
        device: torch.device,
        frozen: Iterable[nn.Parameter] = (),
        decide: DecideFn | None = None,
        tracking: Tracking | None = None,
    ) -> None:
        self.stage = stage
        self.settings = recipe.training_of(stage.name)
        self.seed = recipe.seed
        self.frozen = [parameter for parameter in frozen if parameter.requires_grad]
        self.decide = decide
        self.folder = folder
        self.data = data
        self.task = task
        self.device = device
        if stage.scored:
            self.monitor = self.settings.monitor or task.monitor
            self.higher = False if self.monitor == "loss" else task.higher_is_better(self.monitor)
        else:  # by its own loss, or one part of it, if this stage's settings say so
            self.monitor = str(recipe.stages.get(stage.name, {}).get("monitor") or "loss")
            self.higher = False
        self.history = History(folder.history, tracking)
        self.stop = InterruptHandler()
        self._last_checkpoint = time.monotonic()
        self._bar: Bar = Bar()
        self._note = ""
        size = stage.image_size or recipe.image.size
        augmentation = Augmentation(self.settings.augment, size, stage.patch, data.kinds)
        changes = augmentation.operations or stage.image_size or stage.patch
        self.module = StageModule(
            stage,
            self.settings,
            data,
            recipe.seed,
            augmentation if changes else None,
            self.stop.steps_begin,
            self._end_epoch,
            self._step_ended,
        )

    # --- the run -----------------------------------------------------------------------------------------------

    def run(self) -> StageResult:
        """Trains from the newest checkpoint, or from the start, and leaves the selected weights in the stage."""
        checkpoint = newest_checkpoint(self.folder.checkpoints, self.stage.name, check_state)
        if checkpoint is not None:
            self._go_on_from(checkpoint)
        elif process_rank() == 0:
            self.history.begin_stage(self.stage.name, -1)
        if not self.module.progress.finished:
            with self._others_frozen():
                self._fit()
        wait_for_all()  # the first process may still be writing the best weights
        self._load_selected()
        wait_for_all()  # and the others reading them
        return self._result()

    @contextmanager
    def _others_frozen(self) -> Iterator[None]:
        for parameter in self.frozen:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in self.frozen:
                parameter.requires_grad_(True)

    def _fit(self) -> None:
        progress, settings = self.module.progress, self.settings
        self.stage.train()  # an earlier stage left the networks they share in evaluation mode
        trainer = make_trainer(settings, self.device, settings.epochs - progress.epoch)
        world = max(1, trainer.world_size)
        per_epoch = self.module.steps_per_epoch(world)
        with (
            bar(self.stage.name, settings.epochs * per_epoch) as self._bar,
            self._handling_interrupts(),
            quiet_lightning(),
        ):
            self._bar.advance(progress.step)
            trainer.fit(self.module)

    def _go_on_from(self, checkpoint: Checkpoint) -> None:
        self.module.progress = TrainingProgress.from_dict(checkpoint.state)
        self.module.schedule.restore(self.module.progress.schedule)
        _, unexpected = self.stage.load_state_dict(checkpoint.tensors["learned"], strict=False)
        assert not unexpected, unexpected
        if process_rank() == 0:
            self.history.begin_stage(self.stage.name, checkpoint.step)
        self.module.memory = checkpoint.state["memory"]
        self.module.watch.images = checkpoint.state["images"]
        self.module.watch.waiting = checkpoint.state["waiting"]
        self.module.watch.working = checkpoint.state["working"]
        if self.module.progress.finished:
            # Selected weights, if any, are loaded later.
            self.stage.load_state_dict(checkpoint.tensors.get("average", {}), strict=False)
            return
        say(f"Going on from epoch {self.module.progress.epoch + 1}, step {checkpoint.step}.")

        def restore(optimizers: list[Optimizer]) -> None:
            restore_optimizers(
                optimizers, checkpoint.tensors.get("optimizer", {}), checkpoint.state["optimizer"]
            )
            if self.module.average is not None:
                self.module.average.load(checkpoint.tensors["average"], checkpoint.state["average_updates"])

        self.module.restore_when_ready(restore)

    def _handling_interrupts(self) -> AbstractContextManager[None]:
        return self.stop.install(
            lambda: self._bar.note("stopping after this step ..."),
            lambda: self.folder.set_status("interrupted"),
        )

    # --- hooks of the module -----------------------------------------------------------------------------------

    def _step_ended(self, facts: dict[str, Any]) -> None:
        progress = self.module.progress
        self._bar.advance()
        record = {"kind": "step", "stage": self.stage.name, "epoch": progress.epoch, "step": progress.step}
        if self.stop.requested or progress.step % 20 == 0 or progress.step < 20:
            losses = self.module.take_losses()[-1]
            listed = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
            self._bar.note(f"epoch {progress.epoch + 1}: {listed}{self._note}")
            self.history.add({**record, "lr": facts["lr"], "losses": losses, "seconds": facts["seconds"]})
        if progress.batch >= self.module.batches_per_epoch(self.module.trainer.world_size):
            return  # the checkpoint after validation follows immediately
        every = self.settings.checkpoint_steps
        due = progress.step % every == 0 if every else False
        due = due or time.monotonic() - self._last_checkpoint > 60 * self.settings.checkpoint_minutes
        stop = self._all_stop() if self._may_stop(progress.step) else False
        if due or stop:
            self._checkpoint()
        if stop:
            raise self._interrupted(f"at step {progress.step}")

    def _may_stop(self, step: int) -> bool:
        """One process checks at every step; several, which must stop at the same step, compare at some of them."""
        return self.module.trainer.world_size == 1 or step % 10 == 0

    def _all_stop(self) -> bool:
        return any(gathered(self.stop.requested))

    def _interrupted(self, where: str) -> InterruptedRunError:
        return InterruptedRunError(f"stopped {where}; the run is kept", self.folder.resume_hint)

    def _end_epoch(self) -> bool:
        progress, settings = self.module.progress, self.settings
        self.module.take_losses()
        means = {name: value / max(1, progress.loss_count) for name, value in progress.loss_sums.items()}
        train = weighted_mean(means, progress.loss_count)
        progress.loss_sums, progress.loss_count = {}, 0
        record: dict[str, Any] = {"kind": "epoch", "stage": self.stage.name, "epoch": progress.epoch}
        record |= {"step": progress.step, "train": {"loss": sum(train.values()), **train}}
        self.module.schedule.epoch_ended(record["train"]["loss"])
        progress.schedule = self.module.schedule.state()
        last, missed = progress.epoch >= settings.epochs, None
        if len(self.data.val_rows) and (last or progress.epoch % settings.validate_every == 0):
            record["val"] = self._validate()
            missed = self._missed(record["val"].get(self.monitor))
            self._select(record["val"], last or missed is not None)
        stop = bool(settings.patience and progress.epochs_without_improvement >= settings.patience)
        progress.finished = last or stop or missed is not None
        if progress.finished:
            chance = self.stage.chance_losses(settings.batch_size)
            progress.near_chance = near_chance(
                record["train"], record.get("val", {}), chance, self.stage.name
            )
        self.history.add(record)
        self._tell(record)
        asked = self._all_stop()
        recent = time.monotonic() - self._last_checkpoint < SHORT and not settings.checkpoint_steps
        if progress.finished or asked or not recent:
            self._checkpoint()
        if missed is not None:
            say(f"Stopped early after epoch {progress.epoch}: {self.monitor} has not reached {missed:.4g}.")
        elif stop and not last:
            waited = progress.epochs_without_improvement
            say(f"Stopped early after epoch {progress.epoch}: {self.monitor} has not improved for {waited}.")
        if asked:
            raise self._interrupted(f"after epoch {progress.epoch}")
        return progress.finished

    def _tell(self, record: dict[str, Any]) -> None:
        """A line an epoch, for who has no progress bar to look at."""
        words = [f"loss {record['train']['loss']:.3f}"]
        value = record.get("val", {}).get(self.monitor)
        if value is not None:
            words.append(f"validation {self.monitor} {value:.3f}")
        done = f"{self.stage.name}: epoch {record['epoch']} of {self.settings.epochs}"
        say_without_bar(f"{done}: {', '.join(words)}, {self.module.progress.seconds:.0f} s in all")

    def _validate(self) -> dict[str, float]:
        with self._selected_weights():
            return validate(
                self.stage,
                self.data,
                self.task,
                batch_size=self.settings.batch_size,
                rank=self.module.global_rank,
                device=self.module.device,
                forward_context=lambda: autocast(self.settings.precision, self.device),
                seed=self.seed,
                decide=self.decide,
            )

    def _selected_weights(self) -> Any:
        return self.module.average.in_network() if self.module.average else nullcontext()

    # --- selection ---------------------------------------------------------------------------------------------

    def _missed(self, value: float | None) -> float | None:
        """The score that this epoch required, where the best so far does not have it; None after the last epoch.

        Args:
            value: of this epoch; the best is that of the weights that would be selected.
        """
        progress, required = self.module.progress, self.settings.required_scores
        if not progress.epoch <= len(required) or progress.epoch >= self.settings.epochs:
            return None
        least = required[progress.epoch - 1]
        values = [value, progress.best["value"] if progress.best else None]
        known = [one for one in values if one is not None and np.isfinite(one)]
        if least is None:
            return None
        enough = any(one >= least if self.higher else one <= least for one in known)
        return None if enough else least

    def _select(self, metrics: dict[str, float], ends: bool) -> None:
        progress = self.module.progress
        value = metrics.get(self.monitor, float("nan"))
        best = progress.best["value"] if progress.best else None
        better = np.isfinite(value) and (best is None or (value > best if self.higher else value < best))
        if self.settings.select == "last":
            better, progress.epochs_without_improvement = ends, -1
        self._note = f", {self.monitor} {value:.3f}"
        if not better:
            progress.epochs_without_improvement += 1
            return
        progress.epochs_without_improvement = 0
        file = f"{self.stage.name}-best-{progress.step:08d}.safetensors"
        digest = ""
        with self._selected_weights():
            if self.module.global_rank == 0:
                digest = save_tensors(self.folder.checkpoints / file, learned_tensors(self.stage))
        progress.best = {
            "metric": self.monitor,
            "mode": "max" if self.higher else "min",
            "split": "test" if self.stage.scored and self.settings.select == "oracle" else "val",
            "value": value,
            "epoch": progress.epoch,
            "step": progress.step,
            "file": file,
            "digest": digest,
        }

    def _load_selected(self) -> None:
        best = self.module.progress.best
        if best is not None:
            tensors = load_tensors(self.folder.checkpoints / best["file"], best["digest"] or None)
            self.stage.load_state_dict(tensors, strict=False)
        else:
            if len(self.data.val_rows):
                say(f"{self.monitor} was never defined on the validation images; the last weights are kept.")
            if self.module.average is not None:
                self.module.average.take_over()
            share_buffers(self.stage)  # each process has those of its own last batch
        self.stage.eval()

    def _result(self) -> StageResult:
        progress = self.module.progress
        selection = dict(progress.best or {"metric": None, "epoch": progress.epoch, "step": progress.step})
        selection.pop("file", None)
        selection.pop("digest", None)
        if (missed := self._missed(selection.get("value"))) is not None:
            selection["required"] = missed
        if progress.near_chance:
            selection["near_chance"] = progress.near_chance
        spent = self.module.watch.summary() | {"epochs": progress.epoch, "steps": progress.step}
        memory = dict(self.module.memory or {})
        return StageResult(selection, memory, spent)

    # --- checkpoints -------------------------------------------------------------------------------

    def _checkpoint(self) -> None:
        self.module.take_losses()
        self._last_checkpoint = time.monotonic()
        if self.device.type == "cuda" and self.module.memory:
            peak = torch.cuda.max_memory_allocated(self.device)
            self.module.memory = measured_by_allocator(self.module.memory, peak)
        if self.module.global_rank != 0:
            return
        self.history.flush()
        optimizer, rest = optimizer_tensors(self.module.plain_optimizers())
        average: dict[str, Tensor] = self.module.average.average if self.module.average else {}
        watch = self.module.watch
        state = {
            "progress": asdict(self.module.progress),
            "best": self.module.progress.best,
            "optimizer": rest,
            "average_updates": self.module.average.updates if self.module.average else 0,
            "memory": self.module.memory,
            "images": watch.images,
            "waiting": watch.waiting,
            "working": watch.working,
        }
        tensors = {"learned": learned_tensors(self.stage), "optimizer": optimizer, "average": average}
        save_checkpoint(
            self.folder.checkpoints, Checkpoint(self.stage.name, self.module.progress.step, tensors, state)
        )
