"""``modicum.tune``: searches settings of a method by its validation metric; every trial is an ordinary run."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modicum.comparison.executors import Executor, choose_executor
from modicum.comparison.progress import CellsProgress, cells_progress
from modicum.comparison.run_cell import Job, Outcome
from modicum.comparison.train_jobs import train_jobs
from modicum.data.processes import usable_cores
from modicum.engine.devices import chosen_device, process_rank
from modicum.engine.early_checks import check_recipe, check_rows
from modicum.engine.inputs.preparation import read_manifest, task_for, with_parts
from modicum.engine.recipe.given_recipe import given_recipe
from modicum.engine.recipe.new_recipe import plain_name, run_name
from modicum.engine.run_folder import STORES, RunFolder
from modicum.errors import InputError, InterruptedRunError
from modicum.output_paths import check_files, check_output, in_one_line
from modicum.progress import say
from modicum.tasks.metric import check_monitor
from modicum.tuning.request import Request
from modicum.tuning.results import (
    REQUEST,
    WRITTEN,
    Search,
    is_pruned,
    validation_value,
    values_by_epoch,
    write_results,
)
from modicum.tuning.study import JOURNAL, REQUIRED, STAGE, Study, imported_optuna
from modicum.wording import count_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

MOST_FAILURES = 3
"""Trials that may fail before any has succeeded: the search then ends, as something is wrong with all of them."""

_OF_NETWORKS = ("backbone", "name", "weights")
"""Settings whose choices are tried out on the networks before anything is decoded: a weights file may be missing."""


@in_one_line
def tune(
    data: str | Path,
    method: str | None = None,
    *,
    search: Sequence[str] | Mapping[str, Any],
    trials: int = 20,
    minutes: float | None = None,
    metric: str | None = None,
    search_seed: int = 0,
    recipe: str | Path | None = None,
    prune: bool = False,
    name: str | None = None,
    runs: str | Path = "runs",
    stores: str | Path | None = None,
    parallel: int | None = None,
    executor: str = "local",
    workers: int | None = None,
    **settings: Any,
) -> Search:
    """Searches settings of a method, by its metric on validation images; no trial is evaluated on the test split.

    Called again with the same arguments it goes on: finished trials are kept, stopped ones resumed, and with more
    ``trials`` further ones are made.

    Args:
        data: what :func:`modicum.load` reads.
        method: as for :func:`modicum.fit`.
        search: settings and where to look: ``["lr=1e-5..1e-2:log", "backbone=resnet18,resnet50"]``, or a mapping,
            ``{"lr": "1e-5..1e-2:log", "image_size": [224, 384]}``. A range of two whole numbers takes whole numbers.
        trials: number of trials in all.
        minutes: after which no further trial is started in this call; None for no limit.
        metric: validation metric to search by, which also selects each trial's weights; the task's own by default.
        search_seed: of what is proposed; the trainings' is the setting ``seed``.
        recipe: settings to start from, as for :func:`modicum.fit`.
        prune: end a trial after an epoch in which it is behind the median of earlier trials, of which five go to their
            end. It is compared with those that had ended when it was proposed: parallel trials do not prune each other.
        name: name of the folder in ``runs``; made from data and method by default.
        runs: folder of all runs.
        stores: folder of decoded images and features; ``runs/.stores`` by default.
        parallel: trials that are proposed and trained together, each in its own process; by default one per GPU.
        executor: ``local``, or ``ray`` for the cluster of ``RAY_ADDRESS``.
        workers: processes that decode images.
        settings: any other setting, for all trials.

    Raises:
        InputError: a mistake in settings or ranges, told before any image is decoded; or the first trials all failed.
        InterruptedRunError: stopped; the same call resumes.
    """
    if process_rank() != 0:
        raise InputError(
            "a search was started in several processes (torchrun, srun)",
            "start it once, with --parallel N or --executor ray",
        )
    if trials < 1 or (minutes is not None and minutes <= 0):
        raise InputError(
            f"--trials {trials}" if trials < 1 else f"--minutes {minutes:g}", "give a number above 0"
        )
    request = Request.of(data, method, search, settings, search_seed, metric, recipe, prune)
    imported_optuna()
    folder = Path(runs) / plain_name(
        name or f"{run_name(data, given_recipe(recipe).title or request.method)}-tune"
    )
    if RunFolder(folder).recipe.is_file():
        raise InputError(f"'{folder}' is a run, not a search", "choose another --name")
    if not (folder / REQUEST).is_file():
        check_output("--name", folder, [Path(data)], folder=True)
        check_files("--name", [folder / written for written in (*WRITTEN, JOURNAL)], [Path(data)])
    request.check_unchanged(folder / REQUEST)
    monitor, maximise = _checked_metric(request)
    with RunFolder(folder).locked():
        request.save(folder / REQUEST)
        chosen = choose_executor(executor, parallel, request.settings.get("device"), folder / "logs")
        cores = max(1, usable_cores() // chosen.max_parallel) if workers is None else workers
        study = Study(folder, request.space, search_seed, maximise)
        given = Path(stores or Path(runs) / STORES)
        try:
            return _Trials(request, folder, given, cores, chosen, study, monitor).run(trials, minutes)
        finally:
            chosen.close()


def _checked_metric(request: Request) -> tuple[str, bool]:
    """The metric that trials are compared by, and whether more of it is better.

    Raises:
        InputError: the data, the metric or the settings would fail every trial.
    """
    recipe = request.recipe_of(request.first)
    chosen_device(recipe.device)
    check_recipe(recipe)
    given = read_manifest(recipe.data, recipe.task, recipe.options)
    manifest = with_parts(given, recipe)
    if not (manifest.table["split"] == "val").any():
        raise InputError(
            f"{manifest.source}: no image is in split 'val', and a search chooses on validation images alone",
            "give some rows the split val, or raise the second of data.fractions (train, val, test)",
        )
    check_rows(recipe, given)
    for dimension in request.space:
        if dimension.choices is not None and dimension.key.rpartition(".")[2] in _OF_NETWORKS:
            for value in dimension.ends[1:]:
                check_rows(request.recipe_of({**request.first, dimension.key: value}), given)
    task = task_for(manifest, recipe)
    metric = recipe.training.monitor or task.monitor
    check_monitor(task.metric(metric))
    return metric, task.higher_is_better(metric)


class _Trials:
    """Trains the trials of a search."""

    def __init__(
        self,
        request: Request,
        folder: Path,
        stores: Path,
        workers: int,
        executor: Executor,
        study: Study,
        metric: str,
    ) -> None:
        self.request = request
        self.folder = folder
        self.stores = stores
        self.workers = workers
        self.executor = executor
        self.study = study
        self.metric = metric
        self.errors: dict[str, str] = {}

    def run(self, trials: int, minutes: float | None) -> Search:
        """Resumes what was stopped, then proposes and trains until there are so many, or the time is over."""
        began = time.monotonic()
        with cells_progress(trials, self.executor.verbose, "trials") as progress:
            for _ in range(min(trials, len(self.study.trials) - len(self.study.unfinished()))):
                progress.skip()
            try:
                if stopped := self.study.unfinished():
                    self._train(stopped, progress)
                while (left := trials - len(self.study.trials)) > 0:
                    if minutes is not None and time.monotonic() - began > 60 * minutes:
                        say(f"{minutes:g} minutes are over: {count_of(left, 'trial')} not started")
                        break
                    together = min(left, self.executor.max_parallel)
                    self._train([self._proposed() for _ in range(together)], progress)
            except (KeyboardInterrupt, InterruptedRunError) as error:
                raise InterruptedRunError(
                    f"search '{self.folder.name}' stopped; {progress.done} of {trials} trials have ended",
                    "resume it with the same command",
                ) from error
        return write_results(self.request, self.folder, self.study, self.metric, self.errors)

    def _proposed(self) -> "FrozenTrial":
        trial = self.study.propose()
        if not self.request.prune:
            return trial
        self.study.require(trial.number)
        return self.study.trials[trial.number]

    def _train(self, proposed: "Sequence[FrozenTrial]", progress: CellsProgress) -> None:
        """Trains trials together, and tells the study of them in their order."""
        ended: dict[str, Outcome] = {}
        by_name = {trial_name(trial.number): trial for trial in proposed}

        def on_end(outcome: Outcome) -> None:
            ended[outcome.name] = outcome

        try:
            train_jobs(self.executor, [self._job(one) for one in proposed], progress, on_end, "trial")
        finally:
            for name, trial in by_name.items():
                if (outcome := ended.get(name)) is not None:
                    self._tell(trial.number, outcome)
        write_results(self.request, self.folder, self.study, self.metric, self.errors)

    def _tell(self, number: int, outcome: Outcome) -> None:
        value, pruned = None, False
        if not outcome.error:
            run = RunFolder(self.folder / "trials" / outcome.name)
            value = validation_value(run, self.metric)
            if value is None:
                self.errors[outcome.name] = f"{self.metric} is not defined on the validation images"
            elif self.request.prune:
                self.study.report(number, *values_by_epoch(run, self.metric))
                pruned = is_pruned(run)
        else:
            self.errors[outcome.name] = outcome.error
        self.study.tell(number, value, pruned=pruned)
        failed = [trial for trial in self.study.trials if trial.state.name == "FAIL"]
        if self.study.best() is None and len(failed) >= MOST_FAILURES and outcome.error:
            raise InputError(
                f"the first {len(failed)} trials failed (the last: {outcome.detail})",
                "correct the settings or the ranges, and give the search another --name",
            )

    def _job(self, trial: "FrozenTrial") -> Job:
        given: dict[str, Any] = {} if self.request.recipe is None else {"recipe": self.request.recipe}
        found = self.request.values_of(trial.params)
        if scores := trial.user_attrs.get(REQUIRED):
            given[f"{trial.user_attrs[STAGE]}.{REQUIRED}"] = scores
        return Job(
            trial_name(trial.number),
            self.request.data,
            self.request.method,
            {**self.request.settings_of(found), **given, "write_report": False},
            str(self.folder / "trials"),
            str(self.stores),
            self.workers,
        )


def trial_name(number: int) -> str:
    """The folder of a trial, counted from 1."""
    return f"{number + 1:03d}"
