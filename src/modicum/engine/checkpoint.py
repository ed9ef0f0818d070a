"""Checkpoints: learned tensors and optimiser state as safetensors, the rest as JSON, checked and atomic."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from modicum.atomic_files import atomic_file, raise_if_disk_full, sync_folder
from modicum.errors import InputError
from modicum.progress import say

SCHEMA = 1
KEEP = 2


@dataclass
class Checkpoint:
    """One moment of a stage's training.

    Attributes:
        stage: name of the stage.
        step: optimiser steps done.
        tensors: named groups of tensors: ``learned``, ``optimizer``, ``average``.
        state: everything else, JSON-ready.
    """

    stage: str
    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> str:
    """Writes tensors as safetensors, atomically; returns the file's SHA-256.

    Raises:
        ResourceError: the disk is full; an older file of that name is untouched.
    """
    from safetensors.torch import save

    content = save({n: t.detach().cpu().contiguous() for n, t in tensors.items()}, metadata=metadata)
    with atomic_file(path) as file:
        file.write(content)
    return hashlib.sha256(content).hexdigest()


def load_tensors(path: Path, digest: str | None = None) -> dict[str, Tensor]:
    """Reads safetensors, checking the SHA-256 where given. Raises :class:`InputError` where damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        content = path.read_bytes()
        if digest is not None and hashlib.sha256(content).hexdigest() != digest:
            raise InputError(f"'{path.name}' is damaged (its checksum is wrong)", "restore the file")
        return load(content)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"'{path.name}' cannot be read ({type(error).__name__})", "restore the file"
        ) from error


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Writes a checkpoint into ``folder/<stage>-<step>`` and removes the oldest beyond two.

    The checkpoint is complete in a temporary folder before it takes its name, so a kill at any moment leaves
    either none or a whole one.
    """
    final = folder / f"{checkpoint.stage}-{checkpoint.step:08d}"
    temporary = folder / f".{final.name}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        files = {
            f"{group}.safetensors": save_tensors(temporary / f"{group}.safetensors", tensors)
            for group, tensors in checkpoint.tensors.items()
            if tensors
        }
        content = {
            "schema": SCHEMA,
            "stage": checkpoint.stage,
            "step": checkpoint.step,
            "files": files,
            "state": checkpoint.state,
        }
        with atomic_file(temporary / "checkpoint.json") as file:
            file.write(json.dumps({**content, "sha256": _digest(content)}, indent=1).encode())
        sync_folder(temporary)
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        sync_folder(folder)
    except OSError as error:
        raise_if_disk_full(error, final)
        raise
    for old in checkpoint_folders(folder, checkpoint.stage)[:-KEEP]:
        shutil.rmtree(old, ignore_errors=True)
    _remove_unreferenced_best(folder, checkpoint.stage)
    return final


def checkpoint_folders(folder: Path, stage: str) -> list[Path]:
    """Checkpoints of a stage, oldest first."""
    folders = [
        p for p in folder.glob(f"{stage}-*") if p.is_dir() and p.name.removeprefix(f"{stage}-").isdigit()
    ]
    return sorted(folders, key=lambda path: int(path.name.rsplit("-", 1)[1]))


def newest_checkpoint(
    folder: Path, stage: str, check: Callable[[Checkpoint], object] = lambda checkpoint: None
) -> Checkpoint | None:
    """The newest undamaged checkpoint of a stage; a damaged one is named, and the one before it taken.

    Args:
        folder: of the checkpoints.
        stage: name of the stage.
        check: raises a KeyError, TypeError or ValueError for a checkpoint that the stage cannot go on from.
    """
    folders = checkpoint_folders(folder, stage)
    for path in reversed(folders):
        try:
            checkpoint = _read(path)
            if (checkpoint.stage, f"{stage}-{checkpoint.step:08d}") != (stage, path.name):
                raise InputError(f"it is of stage '{checkpoint.stage}', step {checkpoint.step}", "restore it")
            with _as_damage(path):
                check(checkpoint)
            return checkpoint
        except InputError as error:
            say(f"Checkpoint '{path.name}' cannot be used ({error.problem}); trying the one before it.")
    if folders:
        say(f"No checkpoint of stage '{stage}' can be used; it starts anew.")
    return None


@contextmanager
def _as_damage(path: Path) -> Iterator[None]:
    """Turns the errors of code that reads damaged content into one for the user."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"checkpoint '{path.name}' is damaged ({type(error).__name__})", "restore it"
        ) from error


def _read(path: Path) -> Checkpoint:
    with _as_damage(path):
        content = json.loads((path / "checkpoint.json").read_text(encoding="utf-8"))
        digest = content.pop("sha256", None)  # checkpoints of earlier versions have none
        if digest is not None and digest != _digest(content):
            raise InputError("its checksum is wrong", "restore it")
        if content["schema"] != SCHEMA:
            raise InputError(
                f"checkpoint '{path.name}' has schema {content['schema']}", "use the version that made it"
            )
        tensors = {
            name.removesuffix(".safetensors"): load_tensors(path / Path(name).name, sha256)
            for name, sha256 in content["files"].items()
        }
        best = content["state"].get("best")
        if best and best.get("file"):
            load_tensors(path.parent / Path(best["file"]).name, best["digest"])
        return Checkpoint(content["stage"], int(content["step"]), tensors, content["state"])


def _digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of what a checkpoint says besides its tensors, which have their own."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _remove_unreferenced_best(folder: Path, stage: str) -> None:
    used = set()
    for path in checkpoint_folders(folder, stage):
        with suppress(InputError), _as_damage(path):
            best = json.loads((path / "checkpoint.json").read_text(encoding="utf-8"))["state"].get("best")
            used.add(best["file"] if best else None)
    for file in folder.glob(f"{stage}-best-*.safetensors"):
        if file.name not in used:
            file.unlink(missing_ok=True)
