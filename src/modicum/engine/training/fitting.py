"""Fits one stage by streaming the training images through it, without gradients."""

import time
from collections.abc import Callable
from typing import Any

import torch

from modicum.distributed import wait_for_all
from modicum.engine.checkpoint import Checkpoint, newest_checkpoint, save_checkpoint
from modicum.engine.devices import autocast, process_rank
from modicum.engine.inputs.batches import StageData, loader
from modicum.engine.randomness import generator_at, seed_globals
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import RunFolder
from modicum.engine.training.interrupts import InterruptHandler
from modicum.engine.training.meters import Stopwatch, memory_account
from modicum.engine.training.results import StageResult
from modicum.errors import InterruptedRunError
from modicum.methods import FitStage
from modicum.progress import bar
from modicum.tasks.base import Batch

Augment = Callable[[Batch, torch.Generator], Batch]


class StageFitter:
    """Fits one stage in a run folder. If it is stopped in a pass, it restarts; once fitted, it is not fitted again.

    Args:
        stage: the stage to fit.
        recipe: the run's settings.
        folder: the run folder, which keeps the fitted tensors until the run is finished.
        data: the rows it sees.
        device: where to compute.
        augment: augments batches, if the stage's settings ask for it.
    """

    def __init__(
        self,
        stage: FitStage,
        recipe: Recipe,
        folder: RunFolder,
        data: StageData,
        device: torch.device,
        augment: Augment | None = None,
    ) -> None:
        self.stage = stage
        self.settings = recipe.training_of(stage.name)
        self.seed = recipe.seed
        self.folder = folder
        self.data = data
        self.device = device
        self.augment = augment
        self.watch = Stopwatch()
        self._interrupts = InterruptHandler()

    def run(self) -> StageResult:
        """Fits the stage, or loads the tensors that an earlier start of the run has fitted."""
        self.stage.to(self.device).eval()
        done = newest_checkpoint(
            self.folder.checkpoints, self.stage.name, lambda found: StageResult(**found.state["result"])
        )
        if done is not None:
            self.stage.load_fitted(done.tensors.get("fitted", {}))
            return StageResult(**done.state["result"])
        passes, began = 0, time.perf_counter()
        with self._interrupts.install(lambda: None):
            self._check_not_stopped()
            while self._pass(passes):
                passes += 1
        result = self._result(passes + 1, time.perf_counter() - began)
        if process_rank() == 0:  # also without a process group, if nothing was trained before
            state: dict[str, Any] = {"result": vars(result), "best": None}
            tensors = {"fitted": self.stage.fitted()}
            save_checkpoint(self.folder.checkpoints, Checkpoint(self.stage.name, passes + 1, tensors, state))
        wait_for_all()
        return result

    @torch.no_grad()
    def _pass(self, number: int) -> bool:
        """One pass over the rows, the same in every process; returns whether there is another."""
        batches = self.data.in_order(self.data.train_rows, self.settings.batch_size)
        seed_key = (self.seed, self.stage.name, number)
        seed_globals("pass", *seed_key)
        self.stage.on_pass_start(number)
        title = self.stage.name if number == 0 else f"{self.stage.name}, pass {number + 1}"
        with bar(title, len(batches)) as progress:
            self.watch.begin_wait()
            for index, stored in enumerate(loader(batches, 0, pin=False)):
                self.watch.begin_work()
                batch = self.data.on_device({name: tensor.to(self.device) for name, tensor in stored.items()})
                seed_globals("see", *seed_key, index)
                if self.augment is not None:
                    batch = self.augment(batch, generator_at("augment", *seed_key, index))
                with autocast(self.settings.precision, self.device):
                    self.stage.see(batch)
                self.watch.end_work(len(batch["row"]))
                self._check_not_stopped()
                progress.advance()
        self.watch.pause()
        seed_globals("finish", *seed_key)
        return bool(self.stage.finish())

    def _check_not_stopped(self) -> None:
        if self._interrupts.requested:
            raise InterruptedRunError(f"stopped in stage '{self.stage.name}'", self.folder.resume_hint)

    def _result(self, passes: int, seconds: float) -> StageResult:
        selection = {"metric": None, "epoch": passes, "step": 0}
        spent = self.watch.summary() | {"train_seconds": seconds, "epochs": passes, "steps": 0}
        memory = memory_account(self.stage, [], 0, None)
        memory["peak_bytes"] -= memory["gradients_bytes"]  # other stages' parameters have none here
        return StageResult(selection, {**memory, "gradients_bytes": 0}, spent)
