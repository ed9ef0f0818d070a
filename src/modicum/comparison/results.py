"""Results of a comparison: reads the cells, writes the tables and the page."""

from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd

from modicum.atomic_files import write_text
from modicum.comparison.ablation import effects
from modicum.comparison.cautions import cautions_of
from modicum.comparison.comparison import Comparison
from modicum.comparison.grid import Cell, chosen_rates, search_cells, seed_cells
from modicum.comparison.page import render
from modicum.comparison.records import NAN, Measure, measure_of, read_record
from modicum.comparison.request import Request
from modicum.comparison.table import effects_markdown, markdown, method_table
from modicum.engine.inference.evaluation_table import write_table
from modicum.progress import say

WRITTEN = ("cells.csv", "table.csv", "effects.csv", "table.md", "compare.html")
"""The files of a comparison, beside its request and its cells."""


def write_results(request: Request, folder: Path, errors: Mapping[str, str]) -> Comparison:
    """Reads the state of every cell and writes ``cells.csv``, ``table.csv``, ``table.md`` and ``compare.html``.

    Args:
        request: the comparison.
        folder: its folder.
        errors: of the cells that failed, by name.
    """
    cells_folder = folder / "cells"
    chosen = chosen_rates(request, cells_folder)
    planned = dict.fromkeys([*search_cells(request), *seed_cells(request, chosen)])
    records = [read_record(cell, cells_folder, errors, _counts(cell, chosen)) for cell in planned]
    measure = measure_of(records)
    cells = pd.DataFrame([record.row(measure) for record in records])
    table = method_table(
        list(request.variants), cells, measure, partial(_predicted_full_mib, request, measure), request.folds
    )
    of_settings = pd.DataFrame()
    if request.vary != "every" and measure is not None:
        of_settings = effects(request, cells, measure.higher_is_better)
    cells, table = (_with_swept(rows, request) for rows in (cells, table))
    done = Comparison(
        folder, table, cells, measure, cautions_of(request, records, table, measure), of_settings
    )
    if len(of_settings):
        write_table(folder / "effects.csv", of_settings)
    write_table(folder / "cells.csv", cells)
    write_table(folder / "table.csv", table)
    notes = "".join(f"\n- {caution}" for caution in done.cautions)
    parts = [
        markdown(table, measure),
        *([effects_markdown(of_settings, measure)] if measure and len(of_settings) else []),
    ]
    write_text(folder / "table.md", "\n".join(parts) + (f"{notes}\n" if notes else ""))
    write_text(folder / "compare.html", render(request, folder, done))
    return done


def _counts(cell: Cell, chosen: Mapping[str, float | None]) -> bool:
    """Whether a cell counts for its row; if a search has selected nothing, its failures do."""
    return not cell.searched or chosen[cell.group] in {None, cell.lr}


def _with_swept(rows: pd.DataFrame, request: Request) -> pd.DataFrame:
    """Inserts a column for each swept setting after ``method``; ``swept lr`` where there is a column ``lr``."""
    at = int(rows.columns.get_loc("method")) + 1  # type: ignore[arg-type]
    for offset, key in enumerate(dict.fromkeys(key for v in request.variants.values() for key in v.words)):
        words = [request.variants[name].words.get(key, "") for name in rows["method"]]
        name = key.rpartition(".")[2]
        rows.insert(at + offset, f"swept {name}" if name in rows else name, words)
    return rows


def _predicted_full_mib(request: Request, measure: Measure | None, row: Mapping[str, Any]) -> float:
    """Predicted peak memory in MiB of full fine-tuning with a row's settings; NaN if it cannot be predicted."""
    if (
        measure is None or measure.dense
    ):  # full fine-tuning of a classifier is not comparable to such a network
        return NAN
    recipe = request.recipe_of(row["method"])
    training = recipe.training
    input_settings = (recipe.backbone.name, recipe.image.size, int(row["batch_size"]), training.precision)
    shared = {name: getattr(training, name) for name in ("optimizer", "ema_decay", "accumulate")}
    return _full_mib(
        *input_settings, measure.num_outputs, row["memory_kind"] == "measured", tuple(shared.items())
    )


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
        # Takes seconds and imports torch's tracing: only if full fine-tuning was not run in the comparison.
        from modicum.planning.memory import predict

        prediction = predict(
            "full",
            backbone,
            size,
            batch,
            num_classes=num_outputs,
            device="cuda" if on_gpu else "cpu",
            precision=precision,
            settings=dict(training),
        )
    except Exception as error:  # a missing number must not stop the remaining cells
        say(f"the memory of full fine-tuning cannot be predicted ({type(error).__name__}: {error})")
        return NAN
    # The same quantity as the row's own memory.
    return (prediction.peak_bytes if on_gpu else prediction.accounted_bytes) / 2**20
