"""Trains one cell of a comparison, in any process."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modicum.errors import InterruptedRunError, ModicumError


@dataclass(frozen=True)
class Job:
    """The arguments to train a cell: plain values only, since the process may be on another machine.

    Attributes:
        name: name of the run folder.
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
        name: name of the cell.
        error: why it failed, in one line that may be written to files; empty if it did not.
        detail: the same with details that only the user should see.
        stopped: it was asked to stop, and can be resumed.
    """

    name: str
    error: str = ""
    detail: str = ""
    stopped: bool = False


def run_cell(job: Job) -> Outcome:
    """Trains or resumes a cell. Errors are returned in the outcome."""
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
        # An unexpected error may quote data such as a patient's name: only its type goes into files.
        kind = type(error).__name__
        return Outcome(job.name, f"internal error: {kind}", _one_line(f"internal error: {kind}: {error}"))
    return Outcome(job.name)


def _one_line(text: str) -> str:
    return " ".join(text.split())
