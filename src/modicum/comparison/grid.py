"""The cells of a comparison: every method with every seed, and before them the search for a learning rate."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modicum.comparison.request import Request
from modicum.engine.recipe import Recipe
from modicum.engine.run_folder import RunFolder, read_json

SEARCH_SEED = 0


@dataclass(frozen=True)
class Cell:
    """One run of a comparison.

    Attributes:
        method: its method.
        seed: its seed.
        lr: its peak learning rate; None for the method's own.
        searched: whether the learning rate is one of several that are tried.
    """

    method: str
    seed: int
    lr: float | None = None
    searched: bool = False

    @property
    def name(self) -> str:
        """Of its run folder."""
        # With the rate in the name, a search that ends differently once a failed cell went through asks for
        # other folders instead of meeting runs of another rate.
        rate = f"-lr{self.lr:g}" if self.searched else ""
        return f"{self.method}-seed{self.seed}{rate}"

    def recipe(self, request: Request) -> Recipe:
        """What it trains."""
        return request.recipe_of(self.method, self.seed, self.lr)


def search_cells(request: Request) -> list[Cell]:
    """Every method with every learning rate at the first seed; none where there is nothing to choose."""
    if len(request.lrs) < 2:
        return []
    return [Cell(method, SEARCH_SEED, lr, True) for method in request.methods for lr in request.lrs]


def seed_cells(request: Request, chosen: Mapping[str, float | None]) -> list[Cell]:
    """Every method with every seed.

    Args:
        request: the comparison.
        chosen: learning rates that a search chose, by method. A method whose search has chosen none (yet) has no
            cells; the cell of its search is the first seed's.
    """
    if len(request.lrs) < 2:
        only = request.lrs[0] if request.lrs else None
        return [Cell(method, seed, only) for method in request.methods for seed in range(request.seeds)]
    return [
        Cell(method, seed, chosen[method], True)
        for method in request.methods
        if chosen.get(method) is not None
        for seed in range(request.seeds)
    ]


def chosen_rates(request: Request, cells: Path) -> dict[str, float | None]:
    """The learning rate of each method with the best validation value at the first seed.

    The test split has no part in it. Of equal values the first rate in the request's order is taken; None where no
    cell of a method's search is finished.

    Args:
        request: the comparison.
        cells: the folder of its run folders.
    """
    best: dict[str, tuple[float, float | None]] = {name: (float("-inf"), None) for name in request.methods}
    for cell in search_cells(request):
        folder = RunFolder(cells / cell.name)
        if folder.status.get("state") != "finished":
            continue
        selection = read_json(folder.metrics)["selection"]
        if selection.get("metric") is None or selection.get("value") is None:
            continue
        worth = selection["value"] if selection["mode"] == "max" else -selection["value"]
        if worth > best[cell.method][0]:
            best[cell.method] = (worth, cell.lr)
    return {method: lr for method, (_, lr) in best.items()}
