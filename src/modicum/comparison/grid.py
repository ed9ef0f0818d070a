"""The grid of a comparison: cells for the search of a learning rate, and for every row with every seed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from modicum.comparison.protocols import fold_word
from modicum.comparison.request import Request
from modicum.engine.metrics_file import read_metrics
from modicum.engine.model_file import task_of_run
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import RunFolder

SEARCH_SEED = 0


@dataclass(frozen=True)
class Cell:
    """One run of a comparison.

    Attributes:
        variant: name of its row: a method, with the values of what is swept.
        seed: its seed.
        lr: its peak learning rate; None for the method's own.
        searched: whether the learning rate is one of several candidates.
        fold: the domain that is held out; None for the data's own split.
    """

    variant: str
    seed: int
    lr: float | None = None
    searched: bool = False
    fold: str | None = None

    @property
    def group(self) -> str:
        """Name of the group of cells that share a learning rate: the row, and the domain that is held out."""
        return self.variant if self.fold is None else f"{self.variant}-{fold_word(self.fold)}"

    @property
    def name(self) -> str:
        """Name of its run folder."""
        # With the rate in the name, a search with another result (after a failed cell succeeded) uses other folders
        # instead of runs with another rate.
        rate = f"-lr{self.lr:g}" if self.searched else ""
        return f"{self.group}-seed{self.seed}{rate}"

    def recipe(self, request: Request) -> Recipe:
        """The cell's recipe."""
        return request.recipe_of(self.variant, self.seed, self.lr, self.fold)


def search_cells(request: Request) -> list[Cell]:
    """Every row with every learning rate at the first seed; none with fewer than two rates."""
    if len(request.lrs) < 2:
        return []
    return [
        Cell(name, SEARCH_SEED, lr, True, fold)
        for name, fold in product(request.variants, request.folds or (None,))
        for lr in request.lrs
    ]


def seed_cells(request: Request, chosen: Mapping[str, float | None]) -> list[Cell]:
    """Every row with every seed.

    Args:
        request: the comparison.
        chosen: learning rates selected by the search, by :attr:`Cell.group`. A group whose search has selected none (yet)
            has no cells; the cell of its search is the first seed's.
    """
    only = request.lrs[0] if request.lrs else None
    every = [
        Cell(name, seed, only, fold=fold)
        for name, fold in product(request.variants, request.folds or (None,))
        for seed in range(request.seeds)
    ]
    if len(request.lrs) < 2:
        return every
    return [
        replace(cell, lr=chosen[cell.group], searched=True)
        for cell in every
        if chosen.get(cell.group) is not None
    ]


def chosen_rates(request: Request, cells: Path) -> dict[str, float | None]:
    """The learning rate with the best validation value at the first seed, by :attr:`Cell.group`.

    Neither the test split nor a held-out domain is used. Of equal values, the first rate in the request's order is
    taken; None if no cell of a group's search is finished.

    Args:
        request: the comparison.
        cells: the folder of its run folders.
    """
    best: dict[str, tuple[float, float | None]] = {
        cell.group: (float("-inf"), None) for cell in seed_cells(replace(request, lrs=()), {})
    }
    for cell in search_cells(request):
        folder = RunFolder(cells / cell.name)
        if folder.status.get("state") != "finished":
            continue
        worth = validation_worth(folder)
        if worth is not None and worth > best[cell.group][0]:
            best[cell.group] = (worth, cell.lr)
    return {name: lr for name, (_, lr) in best.items()}


def validation_worth(folder: RunFolder) -> float | None:
    """The validation value of a finished run, higher being better; None if it has none.

    For a method that keeps its last weights, this is the task's metric on the validation images at the end.
    """
    metrics = read_metrics(folder)
    selection = metrics["selection"]
    value, higher = selection.get("value"), selection.get("mode") == "max"
    if selection.get("metric") is None:
        validated = metrics.get("evaluations", {}).get("val")
        if validated is None:
            return None
        task = task_of_run(folder)
        value = validated["metrics"].get(task.monitor, {}).get("value")
        higher = task.higher_is_better(task.monitor)
    return None if value is None else value if higher else -value
