"""A comparison as its files have it: reads the cells, writes the tables and the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from modicum.atomic_files import write_text
from modicum.comparison.cautions import cautions_of
from modicum.comparison.grid import Cell, chosen_rates, search_cells, seed_cells
from modicum.comparison.page import render
from modicum.comparison.records import NAN, Measure, measure_of, read_record
from modicum.comparison.request import Request
from modicum.comparison.table import markdown, method_table
from modicum.engine.evaluation import write_table


@dataclass(frozen=True)
class Comparison:
    """A comparison.

    Attributes:
        path: its folder: ``compare.html``, ``table.csv``, ``table.md``, ``cells.csv``, ``compare.yaml``, ``cells/``.
        table: a row a method; the columns of :func:`modicum.comparison.table.method_table`.
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
    table = method_table(request.methods, cells, measure, partial(predicted_full_mib, request))
    done = Comparison(folder, table, cells, measure, cautions_of(request, records, table, measure))
    write_table(folder / "cells.csv", cells)
    write_table(folder / "table.csv", table)
    notes = "".join(f"\n- {caution}" for caution in done.cautions)
    write_text(folder / "table.md", markdown(table, measure) + (f"{notes}\n" if notes else ""))
    write_text(folder / "compare.html", render(request, folder, table, cells, measure, done.cautions))
    return done


def _counts(cell: Cell, chosen: Mapping[str, float | None]) -> bool:
    """Whether a cell counts for its method's row; where a search has chosen nothing, its failures do."""
    return not cell.searched or chosen[cell.method] in {None, cell.lr}


def predicted_full_mib(request: Request, method: str) -> float:
    """Peak memory in MiB that full fine-tuning would need in a method's place; NaN where nobody can say."""
    try:
        from modicum.planning.memory import predict
    except ImportError:
        return NAN
    recipe = request.recipe_of(method)
    predicted = predict(
        method="full",
        backbone=recipe.backbone.name,
        image_size=recipe.image.size,
        batch=recipe.training.batch_size,
    )
    return float(getattr(predicted, "peak_bytes", predicted)) / 2**20
