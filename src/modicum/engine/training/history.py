"""``history.jsonl``: one line per training step and one per epoch."""

import json
from pathlib import Path
from typing import Any

from modicum.atomic_files import raise_if_disk_full, write_text
from modicum.engine.run_folder import _finite


class History:
    """Appends records, and drops those after a checkpoint when a run resumes from it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._waiting: list[str] = []

    def add(self, record: dict[str, Any]) -> None:
        """Adds a record; it is written to the file at the next :meth:`flush`."""
        self._waiting.append(json.dumps(_finite(record)))

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
        """All records in the file; a last line cut short by a kill is left out."""
        if not self.path.is_file():
            return []
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def forget_after(self, stage: str, step: int) -> None:
        """Drops the records of ``stage`` after ``step`` and those of later stages."""
        kept = []
        for record in self.records():
            if record.get("stage") == stage and record["step"] > step:
                break
            kept.append(json.dumps(record))
        write_text(self.path, "".join(line + "\n" for line in kept))
