"""One cell of a comparison, in whatever process it runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modicum.errors import InterruptedRunError, ModicumError


@dataclass(frozen=True)
class Job:
    """What a process must know to train a cell: plain values only, for it may be on another machine.

    Attributes:
        name: of the run folder.
        data, method, settings: as :func:`modicum.fit` takes them.
        runs: the folder of the cells.
        stores: the folder of decoded images and features, shared by all of them.
        workers: processes that decode images.
    """

    name: str
    data: str
    method: str
    settings: dict[str, Any]
    runs: str
    stores: str
    workers: int | None


@dataclass(frozen=True)
class Outcome:
    """How a cell ended.

    Attributes:
        name: of the cell.
        error: why it failed, in one line, as it may stand in a file; empty where it did not.
        detail: the same with what only the person at the keyboard should see.
        stopped: it was asked to stop, and can go on.
    """

    name: str
    error: str = ""
    detail: str = ""
    stopped: bool = False


def run_cell(job: Job) -> Outcome:
    """Trains a cell, or goes on with it. What goes wrong with it comes back as its outcome."""
    from modicum.api import fit

    try:
        fit(
            job.data,
            job.method,
            name=job.name,
            runs=Path(job.runs),
            resume=True,
            stores=Path(job.stores),
            workers=job.workers,
            **job.settings,
        )
    except (InterruptedRunError, KeyboardInterrupt):
        return Outcome(job.name, stopped=True)
    except ModicumError as error:
        return Outcome(job.name, line := _one_line(str(error)), line)
    except Exception as error:
        # An unknown error may quote what it met, a patient's name for instance: its kind alone goes into files.
        kind = type(error).__name__
        return Outcome(job.name, f"internal error: {kind}", _one_line(f"internal error: {kind}: {error}"))
    return Outcome(job.name)


def _one_line(text: str) -> str:
    return " ".join(text.split())
