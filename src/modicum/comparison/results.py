"""A comparison as its files have it: reads the cells, writes the tables and the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd

from modicum.atomic_files import write_text
from modicum.comparison.cautions import cautions_of
from modicum.comparison.grid import Cell, chosen_rates, search_cells, seed_cells
from modicum.comparison.page import render
from modicum.comparison.records import NAN, Measure, measure_of, read_record
from modicum.comparison.request import Request
from modicum.comparison.table import markdown, method_table
from modicum.engine.inference.evaluation import write_table
from modicum.progress import say


@dataclass(frozen=True)
class Comparison:
    """A comparison.

    Attributes:
        path: its folder: ``compare.html``, ``table.csv``, ``table.md``, ``cells.csv``, ``compare.yaml``, ``cells/``.
        table: a row a method (and what is swept); the columns of :func:`modicum.comparison.table.method_table`.
        cells: a row a cell.
        measure: what is compared; None where nothing has been evaluated.
        cautions: what a careful reader must know.
    """

    path: Path
    table: pd.DataFrame
    cells: pd.DataFrame
    measure: Measure | None
    cautions: Sequence[str]

    @property
    def failed(self) -> list[str]:
        """Names of the cells that failed."""
        return list(self.cells.loc[self.cells["state"] == "failed", "cell"])

    @property
    def errors(self) -> list[str]:
        """Why cells failed, each reason once, with its first cell."""
        first = self.cells[self.cells["state"] == "failed"].drop_duplicates(["method", "error"])
        return [f"{cell}: {error}" for cell, error in zip(first["cell"], first["error"], strict=True)]


def write_results(request: Request, folder: Path, errors: Mapping[str, str]) -> Comparison:
    """Reads what is known of every cell and writes ``cells.csv``, ``table.csv``, ``table.md`` and ``compare.html``.

    Args:
        request: the comparison.
        folder: where it is.
        errors: of the cells that failed, by name.
    """
    place = folder / "cells"
    chosen = chosen_rates(request, place)
    planned = dict.fromkeys([*search_cells(request), *seed_cells(request, chosen)])
    records = [read_record(cell, place, errors, _counts(cell, chosen)) for cell in planned]
    measure = measure_of(records)
    cells = pd.DataFrame([record.row(measure) for record in records])
    table = method_table(
        list(request.variants), cells, measure, partial(_predicted_full_mib, request, measure), request.folds
    )
    cells, table = (_with_swept(rows, request) for rows in (cells, table))
    done = Comparison(folder, table, cells, measure, cautions_of(request, records, table, measure))
    write_table(folder / "cells.csv", cells)
    write_table(folder / "table.csv", table)
    notes = "".join(f"\n- {caution}" for caution in done.cautions)
    write_text(folder / "table.md", markdown(table, measure) + (f"{notes}\n" if notes else ""))
    write_text(folder / "compare.html", render(request, folder, table, cells, measure, done.cautions))
    return done


def _counts(cell: Cell, chosen: Mapping[str, float | None]) -> bool:
    """Whether a cell counts for its row; where a search has chosen nothing, its failures do."""
    return not cell.searched or chosen[cell.group] in {None, cell.lr}


def _with_swept(rows: pd.DataFrame, request: Request) -> pd.DataFrame:
    """The rows with a column a setting that is swept, behind the column ``method``."""
    at = int(rows.columns.get_loc("method")) + 1  # type: ignore[arg-type]
    for place, key in enumerate(dict.fromkeys(key for v in request.variants.values() for key in v.words)):
        words = [request.variants[name].words.get(key, "") for name in rows["method"]]
        rows.insert(at + place, key.rpartition(".")[2], words)
    return rows


def _predicted_full_mib(request: Request, measure: Measure | None, row: Mapping[str, Any]) -> float:
    """Peak memory in MiB of full fine-tuning in the place of a row's method; NaN where nobody can say."""
    if measure is None or measure.dense:  # full fine-tuning of a classifier is no measure of such a network
        return NAN
    recipe = request.recipe_of(row["method"])
    training = recipe.training
    place = (recipe.backbone.name, recipe.image.size, int(row["batch_size"]), training.precision)
    shared = {name: getattr(training, name) for name in ("optimizer", "ema_decay", "accumulate")}
    return _full_mib(*place, measure.num_outputs, row["memory_kind"] == "allocator", tuple(shared.items()))


@cache
def _full_mib(
    backbone: str,
    size: tuple[int, int],
    batch: int,
    precision: str,
    num_outputs: int,
    on_gpu: bool,
    training: tuple[tuple[str, Any], ...],
) -> float:
    try:
        # Seconds, and torch's tracing machinery: only where full fine-tuning is not among what was measured.
        from modicum.planning.memory import predict

        found = predict(
            "full",
            backbone,
            size,
            batch,
            num_classes=num_outputs,
            device="cuda" if on_gpu else "cpu",
            precision=precision,
            settings=dict(training),
        )
    except Exception as error:  # one number less must not stop the cells that are still to come
        say(f"the memory of full fine-tuning cannot be predicted ({type(error).__name__}: {error})")
        return NAN
    # The same quantity as the one it stands beside.
    return (found.peak_bytes if on_gpu else found.accounted_bytes) / 2**20
