"""``modicum.cross_validate``: trains a method once a fold, pools what each fold predicts, and joins the runs."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from modicum.comparison.executors import Executor, choose_executor
from modicum.comparison.progress import cells_progress
from modicum.comparison.run_cell import Job, Outcome
from modicum.comparison.train_jobs import train_jobs
from modicum.cross_validation.cross_validation import CrossValidation
from modicum.cross_validation.page import write_page
from modicum.cross_validation.request import Request
from modicum.cross_validation.results import METRICS, PAGE, WRITTEN, save, with_ensemble, write_out_of_fold
from modicum.data.processes import usable_cores
from modicum.engine.devices import chosen_device, process_rank
from modicum.engine.early_checks import check_recipe, check_rows
from modicum.engine.ensemble import ensemble_runs
from modicum.engine.inputs.preparation import read_manifest, with_parts
from modicum.engine.model_file import task_of_run
from modicum.engine.out_of_fold import OutOfFold, score_out_of_fold
from modicum.engine.recipe.given_recipe import given_recipe
from modicum.engine.recipe.new_recipe import plain_name, run_name
from modicum.engine.recipe.settings import Recipe
from modicum.engine.replaced_run import forget_old, old_aside, refuse_own_source
from modicum.engine.run_folder import CROSS_VALIDATION, STORES, RunFolder
from modicum.engine.run_state import check_same
from modicum.errors import InputError, InterruptedRunError
from modicum.methods.ensemble import Ensemble
from modicum.output_paths import check_files, check_output, in_one_line
from modicum.planning.fit_to_memory import fit_to_memory
from modicum.progress import quietly, say
from modicum.run import Run
from modicum.wording import count_of

ENSEMBLE = "ensemble"


@in_one_line
def cross_validate(
    data: str | Path | None = None,
    method: str | None = None,
    *,
    folds: int = 5,
    recipe: str | Path | None = None,
    name: str | None = None,
    runs: str | Path = "runs",
    resume: bool = False,
    overwrite: bool = False,
    stores: str | Path | None = None,
    parallel: int | None = None,
    executor: str = "local",
    workers: int | None = None,
    batch_size: int | Literal["auto"] | None = None,
    memory: str | int | None = None,
    write_report: bool = True,
    **settings: Any,
) -> CrossValidation:
    """Trains a method once a fold of the patients, scores each image by the run that has not seen it, and joins the runs.

    Without a test split in the data each fold's images are tested once, and a part of the other folds' patients
    validates (the share of ``fractions``: 0.15 of 0.85 by default). A test split that is given is one for every fold, and
    each fold's images validate once.

    Args:
        data: what :func:`modicum.load` reads. May be left out to resume (``resume`` and ``name``).
        method: as for :func:`modicum.fit`.
        folds: number of folds.
        recipe: settings to start from, as for :func:`modicum.fit`.
        name: name of the folder in ``runs``; made from data, method and folds by default.
        runs: folder of all runs.
        resume: resume an unfinished cross-validation with the same settings; finished folds are kept.
        overwrite: replace a cross-validation with that name. It goes when the new one is whole, and comes back if the new
            one fails before it has learned anything.
        stores: folder of decoded images and features; ``runs/.stores`` by default.
        parallel: number of folds at once, each in its own process; by default one per GPU.
        executor: ``local``, or ``ray`` for the cluster of ``RAY_ADDRESS``.
        workers: processes that decode images.
        batch_size: as for :func:`modicum.fit`; ``"auto"`` is chosen once, for all folds.
        memory: as for :func:`modicum.fit`.
        write_report: whether each fold and the ensemble get a report too, besides the page over all folds.
        settings: any setting of the recipe, as for :func:`modicum.fit`.

    Raises:
        InputError: an error that folds would have, raised before the first one starts; or a fold failed.
        InterruptedRunError: stopped; go on with ``resume=True``.
    """
    if process_rank() != 0:
        raise InputError(
            "a cross-validation was started in several processes (torchrun, srun)",
            "start it once, with --parallel N or --executor ray",
        )
    replaces = overwrite and not resume
    request, folder = _asked(
        data, method, folds, recipe, name, runs, resume, replaces, {**settings, "batch_size": batch_size}
    )
    if resume and _is_whole(folder):
        forget_old(RunFolder(folder))
        say(f"cross-validation '{folder.name}' is finished already; nothing was done")
        return CrossValidation.open(folder)
    _check_once(request)
    with _old_aside(request, folder) if replaces else nullcontext(), RunFolder(folder).locked():
        request = _within_memory(request, folder, memory)
        request.save(folder / CROSS_VALIDATION)
        chosen = choose_executor(executor, parallel, request.settings.get("device"), folder / "logs")
        cores = max(1, usable_cores() // chosen.max_parallel) if workers is None else workers
        stores_folder = Path(stores or Path(runs) / STORES)
        try:
            trained = _train(request, folder, stores_folder, cores, chosen, write_report)
        finally:
            chosen.close()
        cores = usable_cores() if workers is None else workers
        _finish(request, folder, trained, stores_folder, cores, write_report)
    if resume:
        forget_old(RunFolder(folder))
    return CrossValidation.open(folder)


def _is_whole(folder: Path) -> bool:
    return (folder / METRICS).is_file() and (folder / PAGE).is_file()


@contextmanager
def _old_aside(request: Request, folder: Path) -> Iterator[None]:
    """Puts an old cross-validation of the name aside for the block; see :mod:`modicum.engine.replaced_run`."""
    if not (folder / CROSS_VALIDATION).is_file():
        yield
        return
    old, noun = RunFolder(folder), "cross-validation"
    refuse_own_source(request.recipe_of(1), old, noun)

    def learned() -> bool:
        return any(RunFolder(run).learned_something for run in (folder / "folds").glob("*"))

    with old_aside(old, noun, learned, lambda: _is_whole(folder)):
        yield


def _asked(
    data: str | Path | None,
    method: str | None,
    folds: int,
    recipe: str | Path | None,
    name: str | None,
    runs: str | Path,
    resume: bool,
    replaces: bool,
    settings: dict[str, Any],
) -> tuple[Request, Path]:
    """The request and its folder, which is new, to be replaced, or that of the same request."""
    if data is None:
        if not (resume and name):
            raise InputError(
                "no data given", "pass a table or folder, or --resume with --name of a cross-validation"
            )
        folder = Path(runs) / plain_name(name)
        return Request.read(folder / CROSS_VALIDATION), folder
    request = Request.of(data, method, folds, settings, recipe)
    title = given_recipe(recipe).title or request.method
    folder = Path(runs) / plain_name(name or f"{run_name(data, title)}-{folds}-folds")
    stored = folder / CROSS_VALIDATION
    if RunFolder(folder).recipe.is_file():
        raise InputError(f"'{folder}' is a run, not a cross-validation", "choose another --name")
    if stored.is_file() and not (resume or replaces):
        raise InputError(
            f"cross-validation '{folder}' exists already",
            "pass --resume to go on with it, --name for another, or --overwrite to replace it",
        )
    if stored.is_file() and resume:
        kept = Request.read(stored)
        if request.settings.get("batch_size") == "auto":  # chosen when it began
            known = {key: kept.settings[key] for key in ("batch_size",) if key in kept.settings}
            request = replace(request, settings={**request.settings, **known})
        request.check_unchanged(stored)
    else:
        check_output("--name", folder, [Path(data)], folder=True)
        check_files("--name", [folder / written for written in WRITTEN], [Path(data)])
    return request, folder


def _check_once(request: Request) -> None:
    """Raises InputError for what would fail a fold, before the first one starts."""
    recipe = request.recipe_of(1)
    chosen_device(recipe.device)
    check_recipe(recipe)
    manifest = read_manifest(recipe.data, recipe.task, recipe.options)
    for fold in range(2, request.folds + 1):
        with_parts(manifest, request.recipe_of(fold))
    check_rows(recipe, manifest)


def _within_memory(request: Request, folder: Path, memory: str | int | None) -> Request:
    """The request with a batch size that is chosen once, so that all folds have the same."""
    choose = request.settings.get("batch_size") == "auto"
    if not choose and memory is None:
        return request
    fitted = fit_to_memory(request.recipe_of(1), memory, choose=choose)
    if not choose:
        return request
    return replace(request, settings={**request.settings, "batch_size": fitted.training.batch_size})


def _train(
    request: Request, folder: Path, stores: Path, workers: int, executor: Executor, write_report: bool
) -> list[RunFolder]:
    """Trains all folds that are not finished; returns their runs in order."""
    runs = [RunFolder(folder / "folds" / str(fold)) for fold in range(1, request.folds + 1)]
    jobs, errors = [], dict[str, str]()

    def on_end(outcome: Outcome) -> None:
        if outcome.error:
            errors[outcome.name] = outcome.detail

    with cells_progress(request.folds, executor.verbose, "folds") as progress:
        for fold, run in enumerate(runs, 1):
            if run.status.get("state") == "finished":
                check_same(Recipe.read(run.recipe), request.recipe_of(fold), run)
                progress.skip()
            else:
                jobs.append(_job(request, fold, run, stores, workers, write_report))
        try:
            train_jobs(executor, jobs, progress, on_end, "fold")
        except (KeyboardInterrupt, InterruptedRunError) as error:
            raise InterruptedRunError(
                f"cross-validation '{folder.name}' stopped; {progress.done} of {request.folds} folds have ended",
                RunFolder(folder).resume_hint,
            ) from error
    if errors:
        first = next(iter(errors))
        raise InputError(
            f"{count_of(len(errors), 'fold')} of {request.folds} failed (fold {first}: {errors[first]})",
            "correct it; --resume then trains the failed folds alone",
        )
    return runs


def _job(request: Request, fold: int, run: RunFolder, stores: Path, workers: int, write_report: bool) -> Job:
    settings = {**request.settings_of(fold), "write_report": write_report}
    if request.recipe is not None:
        settings["recipe"] = request.recipe
    return Job(run.name, request.data, request.method, settings, str(run.path.parent), str(stores), workers)


def _finish(
    request: Request, folder: Path, runs: list[RunFolder], stores: Path, workers: int, write_report: bool
) -> None:
    """Pools the predictions, makes the ensemble, and writes tables and page."""
    held = score_out_of_fold(runs, RunFolder(folder), stores=stores, workers=workers)
    content = write_out_of_fold(request, folder, task_of_run(runs[0]), held, runs)
    made, reason = _ensemble(folder, runs, held, stores, workers, write_report)
    content = with_ensemble(content, made, reason, runs)
    save(folder, content)
    write_page(folder, content)


def _ensemble(
    folder: Path, runs: list[RunFolder], held: OutOfFold, stores: Path, workers: int, write_report: bool
) -> tuple[RunFolder | None, str]:
    """The ensemble of the folds as a run, or why there is none."""
    task = task_of_run(runs[0])
    if task.name not in Ensemble.tasks:
        return None, f"predictions of task '{task.name}' have no mean: use the runs in folds/"
    made = RunFolder(folder / ENSEMBLE)
    if made.path.exists() and made.status.get("state") != "finished":
        shutil.rmtree(made.path)  # stopped while it was made
    if not made.recipe.is_file():
        say("joining the folds to an ensemble")
        try:
            with quietly():  # each run has said what there is to say of the data
                ensemble_runs(
                    [run.path for run in runs],
                    made,
                    stores=stores,
                    workers=workers,
                    held_out=held.uncalibrated,
                )
        except InputError as error:
            shutil.rmtree(made.path, ignore_errors=True)
            return None, f"{error.problem}; use the runs in folds/"
    for run in (*runs, made) if write_report else ():
        if not run.report.is_file():  # a fold may have ended between its last two steps
            Run(run).report()
    return made, ""
