"""``history.jsonl``: one line per training step and one per epoch."""

import json
from pathlib import Path
from typing import Any

from modicum.atomic_files import raise_if_disk_full, write_text
from modicum.engine.run_folder import _finite
from modicum.engine.training.tracking import Tracking


class History:
    """Appends records, and drops those after a checkpoint when a run resumes from it.

    Args:
        path: of the file.
        tracking: is told every record too, if anything is to be.
    """

    def __init__(self, path: Path, tracking: Tracking | None = None) -> None:
        self.path = path
        self._tracking = tracking
        self._waiting: list[str] = []

    def add(self, record: dict[str, Any]) -> None:
        """Adds a record; it is written to the file at the next :meth:`flush`."""
        self._waiting.append(json.dumps(_finite(record)))
        if self._tracking is not None:
            self._tracking.record(record)

    def flush(self) -> None:
        """Writes waiting records. Raises :class:`~modicum.errors.ResourceError` on a full disk."""
        if not self._waiting:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n".join(self._waiting) + "\n")
        except OSError as error:
            raise_if_disk_full(error, self.path)
            raise
        self._waiting.clear()

    def records(self) -> list[dict[str, Any]]:
        """All records in the file; lines that are damaged or were cut short by a kill are left out."""
        if not self.path.is_file():
            return []
        readable = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if _is_record(record):
                readable.append(record)
        return readable

    def begin_stage(self, stage: str, step: int) -> None:
        """A stage begins, or goes on from the checkpoint of a step (-1: from the start): drops what came after it."""
        self.forget_after(stage, step)
        if self._tracking is not None:
            self._tracking.begin(stage, step, [one for one in self.records() if one["stage"] == stage])

    def forget_after(self, stage: str, step: int) -> None:
        """Drops the records of ``stage`` after ``step``, those of later stages, and what is there twice."""
        kept: list[str] = []
        seen = set()
        for record in self.records():
            if record["stage"] == stage and record["step"] > step:
                break
            place = (record.get("kind"), record["stage"], record["step"])
            if place not in seen:
                kept.append(json.dumps(record))
            seen.add(place)
        write_text(self.path, "".join(line + "\n" for line in kept))


def _is_record(record: Any) -> bool:
    return (
        isinstance(record, dict) and isinstance(record.get("stage"), str) and type(record.get("step")) is int
    )
