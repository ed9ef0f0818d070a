"""The results of a cross-validation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from modicum.cross_validation.request import Request
from modicum.cross_validation.results import METRICS, TABLE
from modicum.engine.run_folder import CROSS_VALIDATION, read_table
from modicum.errors import InputError
from modicum.run import Run


@dataclass(frozen=True)
class CrossValidation:
    """A finished cross-validation.

    Attributes:
        path: its folder.
    """

    path: Path

    @classmethod
    def open(cls, path: str | Path) -> "CrossValidation":
        """An existing one. Raises :class:`InputError` where there is none, or it has not finished."""
        folder = Path(path)
        if not (folder / CROSS_VALIDATION).is_file():
            raise InputError(
                f"'{folder}' is not a cross-validation (no {CROSS_VALIDATION} in it)",
                "make one with `modicum fit DATA --folds 5`",
            )
        if not (folder / METRICS).is_file():
            raise InputError(f"cross-validation '{folder.name}' has not finished", "go on with --resume")
        return cls(folder)

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of ``metrics.json``; see ``docs/cross-validation.md``."""
        return read_table(self.path / METRICS)

    @property
    def table(self) -> pd.DataFrame:
        """The predictions out of fold, a row an image."""
        return pd.read_csv(self.path / TABLE)

    @property
    def folds(self) -> list[Run]:
        """The run of each fold."""
        count = Request.read(self.path / CROSS_VALIDATION).folds
        return [Run.open(self.path / "folds" / str(number)) for number in range(1, count + 1)]

    @property
    def ensemble(self) -> Run | None:
        """The mean of all folds as a run; None for a task whose predictions have no mean."""
        name = self.metrics["ensemble"]["run"]
        return None if name is None else Run.open(self.path / str(name))
