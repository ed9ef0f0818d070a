"""The results of a comparison."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from modicum.comparison.records import Measure


@dataclass(frozen=True)
class Comparison:
    """The results of a comparison.

    Attributes:
        path: its folder, with ``compare.html``, ``table.csv``, ``table.md``, ``cells.csv``, ``compare.yaml``, ``cells/``.
        table: one row per method (and swept values); columns of :func:`modicum.comparison.table.method_table`.
        cells: one row per cell.
        measure: what is compared; None if nothing has been evaluated.
        cautions: sentences that limit the conclusions.
        effects: what each varied setting does; columns of :func:`modicum.comparison.ablation.effects`. Empty where every
            combination was trained.
    """

    path: Path
    table: pd.DataFrame
    cells: pd.DataFrame
    measure: Measure | None
    cautions: Sequence[str]
    effects: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def failed(self) -> list[str]:
        """Names of the cells that failed."""
        return list(self.cells.loc[self.cells["state"] == "failed", "cell"])

    @property
    def errors(self) -> list[str]:
        """Reasons why cells failed, each once, with its first cell."""
        first = self.cells[self.cells["state"] == "failed"].drop_duplicates(["method", "error"])
        return [f"{cell}: {error}" for cell, error in zip(first["cell"], first["error"], strict=True)]
