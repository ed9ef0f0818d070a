"""The Python API of modicum: ``load``, ``fit`` and ``Run``. The command line calls the same functions."""

import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

from modicum.atomic_files import remove_temporary, temporary_in
from modicum.data.layouts import load_manifest
from modicum.data.manifest import Manifest
from modicum.data.processes import usable_cores
from modicum.engine.devices import process_rank
from modicum.engine.fit import fit_recipe
from modicum.engine.recipe.given_recipe import GivenRecipe, given_recipe
from modicum.engine.recipe.new_recipe import make_recipe, plain_name, run_name
from modicum.engine.recipe.settings import Recipe
from modicum.engine.replaced_run import forget_old_run, old_run_aside
from modicum.engine.run_folder import STORES, RunFolder
from modicum.engine.run_state import check_same
from modicum.errors import InputError
from modicum.output_paths import in_one_line
from modicum.planning.plan_file import Plan, is_plan, read_plan
from modicum.progress import say
from modicum.run import Run
from modicum.wording import count_of

__all__ = ["Run", "ensemble", "fit", "load"]


@in_one_line
def load(source: str | Path, **options: Any) -> Manifest:
    """Reads any supported data set as a :class:`~modicum.data.manifest.Manifest`.

    Args:
        source: a table (CSV, TSV, Parquet), a folder, a MONAI datalist (JSON) or an array file (NPZ).
        options: ``columns``, ``images``, ``split_lists``, ``classes``, ``allow_outside``, ``missing``, ``unlabelled``,
            ``pairs``; see :func:`modicum.data.layouts.load_manifest`.
    """
    return load_manifest(source, **options)


@in_one_line
def fit(
    data: str | Path | None = None,
    method: str | None = None,
    *,
    recipe: str | Path | GivenRecipe | None = None,
    name: str | None = None,
    runs: str | Path = "runs",
    resume: bool = False,
    overwrite: bool = False,
    stores: str | Path | None = None,
    workers: int | None = None,
    batch_size: int | Literal["auto"] | None = None,
    memory: str | int | None = None,
    write_report: bool = True,
    self_contained: bool = False,
    **settings: Any,
) -> Run:
    """Trains a method on a data set, evaluates it and writes the report.

    Args:
        data: what :func:`load` reads, or a plan file of :func:`modicum.plan`, whose settings then stand below
            ``settings``. May be left out to resume a run (``resume`` and ``name``).
        method: ``modicum methods`` lists them; ``full`` by default, or that of the ``recipe``.
        recipe: settings to start from, below ``settings``: a name that ``modicum recipes`` lists, or a YAML file such
            as the ``recipe.yaml`` of another run (:mod:`modicum.engine.recipe.given_recipe` says what is taken from it).
        name: name of the run folder in ``runs``; made from data and method by default.
        runs: folder of all runs.
        resume: resume an unfinished run with the same settings; starts a new run if there is none.
        overwrite: replace a run with that name. It goes when the new one is whole, and comes back if the new one fails
            before it has learned anything.
        stores: folder of decoded images and features, shared by runs; ``runs/.stores`` by default.
        workers: processes that decode images; one a core by default.
        batch_size: images in a batch; ``"auto"`` is the largest whose predicted memory fits. The recipe keeps the
            number, and a resumed run uses it again.
        memory: memory that training may use, such as ``"8GB"`` or ``"7.5GiB"`` (a number is bytes): for ``"auto"``,
            or to be warned. By default the free memory of the GPU, or half of the machine's available memory.
        write_report: whether to write ``report.html`` at the end, which takes a second or two;
            :meth:`Run.report` does it later.
        self_contained: keep the frozen backbone's weights in the run folder too, as :meth:`Run.pack` does afterwards.
        settings: any setting of the recipe by its name: ``backbone="resnet18"``, ``weights="random"``,
            ``image_size=512``, ``label="grade"``, ``epochs=10``, ``lr=1e-3``, ...

    Returns:
        The finished run.

    Raises:
        InputError: an argument cannot be used; raised before training wherever possible.
        ResourceError: out of memory or disk.
        InterruptedRunError: stopped; resume with ``resume=True``.
    """
    if data is None:
        if not (resume and name):
            raise InputError("no data given", "pass a table or folder, or --resume with --name of a run")
        folder = RunFolder.open(Path(runs) / plain_name(name))
        resolved = Recipe.read(folder.recipe)
    else:
        chosen = None if batch_size == "auto" else batch_size
        base = given_recipe(recipe)
        if is_plan(data):
            planned = read_plan(data)
            data, base, name = _of_plan(planned, recipe, name)
        resolved = make_recipe(data, method, {**settings, "batch_size": chosen}, base)
        folder = RunFolder(Path(runs) / plain_name(name or run_name(data, base.title or resolved.method)))
        resolved = _within_memory(resolved, folder, resume, batch_size == "auto", memory)
    if resume and folder.status.get("state") == "finished":
        check_same(Recipe.read(folder.recipe), resolved, folder)
        return _packed(_completed(Run(folder), write_report), self_contained)
    replaces = overwrite and not resume and process_rank() == 0
    with old_run_aside(resolved, folder) if replaces else nullcontext():
        content = fit_recipe(
            resolved,
            folder,
            resume=resume,
            stores=Path(stores) if stores else folder.path.parent / STORES,
            workers=usable_cores() if workers is None else workers,
        )
    if resume and content:
        forget_old_run(folder)
    run = Run(folder)
    if content:  # only the first process of a distributed run writes
        if write_report:
            run.report()
        _packed(run, self_contained)
    return run


@in_one_line
def ensemble(
    runs: Sequence[str | Path],
    *,
    name: str,
    folder: str | Path | None = None,
    stores: str | Path | None = None,
    workers: int | None = None,
    device: str | None = None,
    overwrite: bool = False,
    write_report: bool = True,
    **settings: Any,
) -> Run:
    """Makes a run whose prediction is the mean of several runs, before anything is decided by it.

    Severity scores are averaged, probabilities of classes, findings and pixels, and pictures; anomaly scores in standard
    deviations of each run's own normal validation images; boxes are fused. The new run folder holds all weights; it
    predicts, evaluates, reports and exports like any other.

    Args:
        runs: finished runs of the same task and classes, with the same settings of images and the same split.
        name: name of the new run folder.
        folder: folder of all runs; the first run's by default.
        stores: folder of decoded images; ``.stores`` beside the runs by default.
        workers: processes that decode images; one a core by default.
        device: where to compute.
        overwrite: replace a run of that name, which stays until the new one is whole.
        write_report: whether to write ``report.html``.
        settings: of the task, for the ensemble alone, such as ``fusion_overlap`` of boxes.

    Raises:
        InputError: runs that do not go together.
    """
    from modicum.engine.ensemble import ensemble_runs

    paths = [Path(run) for run in runs]
    place = Path(folder) if folder is not None else (paths[0].parent if paths else Path("runs"))
    made = RunFolder(place / plain_name(name))
    ensemble_runs(
        paths,
        made,
        stores=Path(stores) if stores else place / STORES,
        workers=usable_cores() if workers is None else workers,
        device=device,
        overwrite=overwrite,
        settings=settings,
    )
    run = Run(made)
    if write_report:
        run.report()
    return run


def _of_plan(
    plan: Plan, recipe: str | Path | GivenRecipe | None, name: str | None
) -> tuple[str, GivenRecipe, str]:
    """Data, recipe and name of the training that a plan describes; says why it is as it is."""
    if recipe is not None:
        raise InputError(f"plan '{plan.path}' is a recipe, and --recipe is '{recipe}'", "leave --recipe out")
    if not plan.is_single_fit:
        raise InputError(
            f"plan '{plan.path}' has {count_of(len(plan.steps), 'step')}, and fit makes one run",
            "run it with modicum.run_plan, or `modicum fit` on the command line",
        )
    (step,) = plan.steps
    for line in step.why[:2]:
        say(line)
    return plan.source(step), plan.recipe(step), name or plan.name


def _completed(run: Run, write_report: bool) -> Run:
    """A finished run, with what a kill after its last step left undone."""
    folder = run.folder
    if process_rank() != 0:
        return run
    missing = write_report and not folder.report.is_file()
    if missing or folder.checkpoints.exists() or temporary_in(folder.path):
        with folder.locked():
            remove_temporary(folder.path)
            shutil.rmtree(folder.checkpoints, ignore_errors=True)
    if missing:
        run.report()
    done = "its report, which was missing, was written" if missing else "nothing was done"
    say(f"run '{folder.name}' is finished already; {done}")
    return run


def _packed(run: Run, wanted: bool) -> Run:
    if wanted and process_rank() == 0:
        run.pack()
    return run


def _within_memory(
    recipe: Recipe, folder: RunFolder, resume: bool, choose: bool, memory: str | int | None
) -> Recipe:
    """The recipe with the largest batch size that fits if ``choose``; a resumed run keeps its own."""
    if resume and folder.recipe.is_file():
        if not choose:
            return recipe
        training = {"batch_size": Recipe.read(folder.recipe).training.batch_size}
        return recipe.model_copy(update={"training": recipe.training.model_copy(update=training)})
    if not choose and memory is None:
        return recipe
    from modicum.planning.fit_to_memory import fit_to_memory

    return fit_to_memory(recipe, memory, choose=choose)
