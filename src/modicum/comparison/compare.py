"""``modicum.compare``: trains every method with every seed under one budget, and tabulates the results."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from modicum.comparison.ablation import stacked
from modicum.comparison.executors import Executor, choose_executor
from modicum.comparison.grid import Cell, chosen_rates, search_cells, seed_cells
from modicum.comparison.image_names import ImageNames
from modicum.comparison.progress import CellsProgress, cells_progress
from modicum.comparison.protocols import folds_of
from modicum.comparison.request import Request
from modicum.comparison.results import WRITTEN, Comparison, write_results
from modicum.comparison.run_cell import Job, Outcome
from modicum.comparison.train_jobs import train_jobs
from modicum.data.processes import usable_cores
from modicum.engine.devices import chosen_device, process_rank
from modicum.engine.inputs.preparation import read_manifest
from modicum.engine.recipe.given_recipe import given_recipe
from modicum.engine.recipe.new_recipe import plain_name, run_name
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import STORES, RunFolder
from modicum.engine.run_state import check_same
from modicum.errors import InputError, InterruptedRunError
from modicum.nn import Backbone
from modicum.output_paths import check_files, check_output, in_one_line
from modicum.progress import say
from modicum.report import build
from modicum.report.sections_by_task import sections_of


@in_one_line
def compare(
    data: str | Path,
    methods: str | Sequence[str] | None = None,
    *,
    seeds: int = 3,
    lr: float | Sequence[float] = (),
    sweep: Mapping[str, Any] | None = None,
    vary: str = "every",
    recipe: str | Path | None = None,
    protocol: str = "split",
    name: str | None = None,
    runs: str | Path = "runs",
    stores: str | Path | None = None,
    parallel: int | None = None,
    executor: str = "local",
    workers: int | None = None,
    **settings: Any,
) -> Comparison:
    """Trains several methods on one data set under the same budget, and tabulates their scores and costs.

    Every cell is an ordinary run folder in ``runs/NAME/cells``. When called again, finished cells are kept,
    unfinished ones are resumed, and failed ones are tried again.

    Args:
        data: what :func:`modicum.load` reads.
        methods: names, or one text of names separated by commas; ``modicum methods`` lists them. By default that of the
            recipe, or ``full`` and ``linear``.
        seeds: number of seeds; they are 0, 1, ...
        lr: peak learning rate of all methods; each method's own by default. With several, every method is tried
            with each at the first seed, and the one with the best validation value is used for all seeds.
        sweep: settings and the values that each takes: a list, or a mapping from names to values. Every combination
            is a separate row: ``{"mode": ["nc", "nc+r"]}`` gives ``reggan-mode=nc`` and ``reggan-mode=nc+r``. A key
            ``METHOD.key`` is for that method only.
        vary: ``every``: each combination of swept values is a row. ``one``: the reference is a row, and each value alone.
            ``stack``: then the values that won on validation, one on top of the other in the order of ``sweep``.
        recipe: settings to start from, as for :func:`modicum.fit`; its epochs, batch and image size come before those
            that a comparison has by default.
        protocol: ``split`` tests on the data's own test split; ``leave-one-domain-out`` on every domain of the column
            ``domain`` in turn, while the others train and validate.
        name: name of the folder in ``runs``; made from the data's name by default.
        runs: folder of all runs.
        stores: folder of decoded images and features; ``runs/.stores`` by default.
        parallel: number of cells at once, each in its own process; by default one per GPU.
        executor: ``local``, or ``ray`` for the cluster of ``RAY_ADDRESS``.
        workers: processes that decode images.
        settings: any setting of the recipe, for all methods; ``**{"METHOD.key": value}`` for one of them. Without
            ``epochs`` and ``batch_size``, all methods get 20 and 16; those that predict images get the defaults
            that they have in common.

    Returns:
        The comparison. Cells that failed are in :attr:`Comparison.failed`, and rows of the table.

    Raises:
        InputError: an error that all cells would have, raised before the first one starts.
        InterruptedRunError: stopped; the same call resumes.
    """
    if process_rank() != 0:
        raise InputError(
            "a comparison was started in several processes (torchrun, srun)",
            "start it once, with --parallel N or --executor ray",
        )
    names = _names(methods or given_recipe(recipe).values.get("method") or ("full", "linear"))
    rates = (lr,) if isinstance(lr, int | float) else tuple(lr)
    request = Request.of(data, names, seeds, rates, settings, sweep, protocol, recipe, vary)
    folder = Path(runs) / plain_name(name or run_name(data, "compare"))
    if RunFolder(folder).recipe.is_file():
        raise InputError(f"'{folder}' is a run, not a comparison", "choose another --name")
    request_file = folder / "compare.yaml"
    if not request_file.is_file():
        check_output("--name", folder, [Path(data)], folder=True)
        check_files("--name", [folder / written for written in WRITTEN], [Path(data)])
    if protocol == "split":  # otherwise its domains have to be read first
        request.check_unchanged(request_file)
    request, names_of_images = _check_once(request, new=not request_file.is_file())
    request.check_unchanged(request_file)
    device = request.settings.get("device")
    with RunFolder(folder).locked():
        chosen = choose_executor(executor, parallel, device, folder / "logs")
        request.save(folder / "compare.yaml")
        stores_folder = Path(stores or Path(runs) / STORES)
        cells = _Cells(request, folder, stores_folder, workers, chosen, names_of_images)
        try:
            return cells.train_all()
        finally:
            chosen.close()


def _names(methods: str | Sequence[str]) -> list[str]:
    parts = methods.split(",") if isinstance(methods, str) else methods
    return [part.strip() for part in parts if part.strip()]


def _check_once(request: Request, new: bool) -> tuple[Request, ImageNames]:
    """Checks for errors that would fail every cell.

    Returns:
        The request with the domains that are held out in turn, and the names of images, which no file may contain.
    """
    recipe = request.recipe_of(next(iter(request.variants)))
    chosen_device(recipe.device)
    manifest = read_manifest(recipe.data, recipe.task, recipe.options)
    request = replace(request, folds=folds_of(request.protocol, manifest, recipe.task))
    if new and sections_of(recipe.task).backbone:
        Backbone(recipe.backbone.name, recipe.image.size)
    return request, ImageNames.of(manifest)


class _Cells:
    """Trains the cells of a comparison."""

    def __init__(
        self,
        request: Request,
        folder: Path,
        stores: Path,
        workers: int | None,
        executor: Executor,
        names: ImageNames,
    ) -> None:
        self.request = request
        self.folder = folder
        self.cells_folder = folder / "cells"
        self.stores = stores
        self.workers = max(1, usable_cores() // executor.max_parallel) if workers is None else workers
        self.executor = executor
        self.names = names
        self.errors: dict[str, str] = {}

    def train_all(self) -> Comparison:
        """Trains the search for learning rates, if there is one, then all seeds; writes the tables after each cell."""
        search = search_cells(self.request)
        groups = len(self.request.variants) * max(1, len(self.request.folds))
        total = groups * self.request.seeds
        if search:  # its best cells are those of the first seed
            total += len(search) - groups
        with cells_progress(total, self.executor.verbose) as progress:
            try:
                self._train(search, progress)
                chosen = chosen_rates(self.request, self.cells_folder)
                ended = {cell.name for cell in search}
                self._train(
                    [cell for cell in seed_cells(self.request, chosen) if cell.name not in ended], progress
                )
                if self.request.vary == "stack":
                    total += self._train_stacks(progress)
            except (KeyboardInterrupt, InterruptedRunError) as error:
                raise InterruptedRunError(
                    f"comparison '{self.folder.name}' stopped; {progress.done} of {total} cells have ended",
                    "resume it with the same command",
                ) from error
        return write_results(self.request, self.folder, self.errors)

    def _train_stacks(self, progress: CellsProgress) -> int:
        """Trains the rows in which winners are stacked; returns the number of their cells."""
        rows = stacked(self.request, self.cells_folder)
        if not rows:
            say("fewer than two settings won against the reference on validation: nothing to stack")
            return 0
        trained = set(self.request.variants)
        self.request = replace(self.request, stacks=rows)
        cells = [cell for cell in seed_cells(self.request, {}) if cell.variant not in trained]
        progress.add(len(cells))
        self._train(cells, progress)
        return len(cells)

    def _train(self, cells: Sequence[Cell], progress: CellsProgress) -> None:
        jobs = []
        for cell in cells:
            if self._finished(cell):
                progress.skip()
            else:
                jobs.append(self._job(cell))
        train_jobs(self.executor, jobs, progress, self._on_end)

    def _on_end(self, outcome: Outcome) -> None:
        if outcome.error:
            self.errors[outcome.name] = self.names.left_out_of(outcome.error)
        write_results(self.request, self.folder, self.errors)

    def _finished(self, cell: Cell) -> bool:
        folder = RunFolder(self.cells_folder / cell.name)
        if folder.status.get("state") != "finished":
            return False
        if not self.request.fitted:
            check_same(Recipe.read(folder.recipe), cell.recipe(self.request), folder)
        if not folder.report.is_file():  # ended between its last two steps
            build(folder.path)
        return True

    @property
    def _recipe(self) -> dict[str, Any]:
        return {} if self.request.recipe is None else {"recipe": self.request.recipe}

    def _job(self, cell: Cell) -> Job:
        return Job(
            cell.name,
            self.request.data,
            self.request.variants[cell.variant].method,
            {**self.request.settings_of(cell.variant, cell.seed, cell.lr, cell.fold), **self._recipe},
            str(self.cells_folder),
            str(self.stores),
            self.workers,
        )
