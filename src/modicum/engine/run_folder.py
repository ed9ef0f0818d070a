"""The run folder: everything a run reads and writes lives in it."""

import json
import math
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modicum.atomic_files import write_text
from modicum.errors import InputError

STORES = ".stores"
CHAIN_FILE = "chain.json"
"""What the folder of a chain has, whose runs lie in it."""
OLD_MEMORY_KINDS = {"accounted": "estimated", "allocator": "measured"}
CROSS_VALIDATION = "cross-validation.yaml"
"""The request of a cross-validation, in its folder."""
PARTS_OF_A_WHOLE = ("cells", "folds", "trials")
"""Folders of the runs of a comparison, a cross-validation, a search."""
STATES = ("running", "interrupted", "failed", "finished")


def is_chain(path: Path | str) -> bool:
    """Whether a folder is that of a chain."""
    return (Path(path) / CHAIN_FILE).is_file()


def memory_kind(memory: Mapping[str, Any]) -> str:
    """How a peak of training memory was obtained: ``estimated`` tensor by tensor, or ``measured`` by a GPU's allocator.

    Args:
        memory: ``memory`` in ``metrics.json``; earlier versions wrote ``accounted`` and ``allocator``.
    """
    kind = str(memory.get("kind", ""))
    return OLD_MEMORY_KINDS.get(kind, kind)


class RunFolder:
    """Paths, lock and status of ``runs/NAME``. See ``docs/run-folder.md`` for what each file holds."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: Path | str) -> "RunFolder":
        """An existing run folder. Raises :class:`InputError` where there is none."""
        folder = cls(Path(path))
        if not folder.recipe.is_file():
            if folder.path.is_file():
                raise InputError(
                    f"'{path}' is a file, and no run folder",
                    "name the folder; of exported networks `modicum predict` takes graphs (.onnx, .xml), and Python's "
                    "modicum.load_exported the others too",
                )
            hint = _nearby_runs(folder.path)
            raise InputError(f"'{path}' is not a run folder (no recipe.yaml in it)", hint)
        return folder

    name = property(lambda self: self.path.resolve().name)
    recipe = property(lambda self: self.path / "recipe.yaml")
    manifest = property(lambda self: self.path / "manifest.csv")
    model = property(lambda self: self.path / "model.json")
    environment = property(lambda self: self.path / "environment.json")
    fingerprint = property(lambda self: self.path / "fingerprint.json")
    history = property(lambda self: self.path / "history.jsonl")
    checkpoints = property(lambda self: self.path / "checkpoints")
    weights = property(lambda self: self.path / "weights.safetensors")
    backbone = property(lambda self: self.path / "backbone.safetensors")
    metrics = property(lambda self: self.path / "metrics.json")
    broken = property(lambda self: self.path / "broken.csv")
    quality = property(lambda self: self.path / "quality.csv")
    report = property(lambda self: self.path / "report.html")
    status_file = property(lambda self: self.path / "status.json")

    def files(self) -> list[Path]:
        """The files that a run consists of and that nothing else may replace."""
        named = (self.recipe, self.manifest, self.model, self.environment, self.fingerprint, self.history)
        tables = (self.metrics, self.broken, self.quality, *sorted(self.path.glob("training_*")))
        further = (self.weights, self.backbone, *tables, self.report, self.status_file)
        below = [
            path for name in ("evaluations", "previews") for path in sorted((self.path / name).rglob("*"))
        ]
        return [path for path in (*named, *further, *below) if path.is_file()]

    @property
    def files_but_report(self) -> list[Path]:
        """As :meth:`files`, without the report, which is written anew at any time."""
        return [path for path in self.files() if path != self.report]

    @property
    def learned_something(self) -> bool:
        """Whether there is anything to resume from: a step in the history, or a checkpoint."""
        kept = self.checkpoints.is_dir() and any(self.checkpoints.iterdir())
        return kept or self.history.is_file() or self.weights.is_file()

    @property
    def resume_hint(self) -> str:
        """How to go on with an unfinished run."""
        runs = self.path.parent
        where = "" if runs == Path("runs") else f" --runs {shlex.quote(str(runs))}"
        return f"go on with --resume --name {self.name}{where}"

    @property
    def stores(self) -> Path:
        """Where its images and features are kept: beside it, or beside what it is a step, cell or fold of."""
        beside = self.path.absolute().parent
        if is_chain(beside) and (beside.parent / STORES).is_dir():
            return beside.parent / STORES
        whole = beside if (beside / CROSS_VALIDATION).is_file() else beside.parent
        shared, inside = whole.parent / STORES, beside == whole or beside.name in PARTS_OF_A_WHOLE
        return shared if inside and shared.is_dir() else beside / STORES

    def evaluation(self, name: str) -> Path:
        """The folder of one evaluation."""
        return self.path / "evaluations" / name

    def preview(self, stage: str) -> Path:
        """The picture of what a stage is shown."""
        return self.path / "previews" / f"{stage}.png"

    @property
    def status(self) -> dict[str, Any]:
        """``{"state": "running" | "interrupted" | "failed" | "finished", ...}``; empty for a folder just made."""
        return read_table(self.status_file) if self.status_file.is_file() else {}

    def set_status(self, state: str, **details: Any) -> None:
        """Records the state of the run."""
        assert state in STATES
        write_json(self.status_file, {"state": state, **details})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes out of the folder. The lock goes with the process, however it ends.

        Raises:
            InputError: another process is using the folder.
        """
        from filelock import FileLock, Timeout

        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise InputError(
                f"run folder '{self.path}' is in use by another process",
                "wait for it, or choose another --name",
            ) from error
        try:
            yield
        finally:
            lock.release()


def read_json(path: Path) -> Any:
    """Reads a JSON file of a run folder. Raises :class:`InputError` where it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"'{path}' cannot be read ({type(error).__name__})", "the run folder is damaged: restore the file"
        ) from error


def read_table(path: Path) -> dict[str, Any]:
    """Reads a JSON file of a run folder that holds one object. Raises :class:`InputError` where it is damaged."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"'{path}' is not a JSON object", "the run folder is damaged: restore the file")
    return content


def write_json(path: Path, content: Any) -> None:
    """Writes JSON atomically; numbers that are not finite become null."""
    write_text(path, json.dumps(_finite(content), indent=1, ensure_ascii=False) + "\n")


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    if hasattr(content, "item"):  # numpy scalars
        return _finite(content.item())
    if isinstance(content, os.PathLike):
        return os.fspath(content)
    return content


def _nearby_runs(path: Path) -> str:
    parent = path.parent
    if is_chain(path):
        steps = sorted(str(one.parent) for one in path.glob("*/recipe.yaml"))
        return f"it is a chain; its runs: {', '.join(steps[:8])}"
    if (path / CROSS_VALIDATION).is_file():
        return (
            f"it is a cross-validation: name '{path / 'ensemble'}', or one of its runs in '{path / 'folds'}'"
        )
    if (beside := parent / "runs" / path.name / "recipe.yaml").is_file():
        return f"did you mean '{beside.parent}'?"
    runs = sorted(p.parent.name for p in parent.glob("*/recipe.yaml")) if parent.is_dir() else []
    return f"runs in '{parent}': {', '.join(runs[:8])}" if runs else "train one with `modicum fit DATA`"
