"""SHA-256 of what steps are made of and of what comes of them: by these it is known whether a step is still the same."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from modicum.data.layouts.files_read import files_of
from modicum.data.manifest import Manifest
from modicum.engine.recipe.settings import OF_RUN
from modicum.engine.run_folder import RunFolder, read_json, write_json
from modicum.errors import ModicumError
from modicum.progress import bar

_BLOCK = 1 << 20
_MISSING = "missing"


class FileDigests:
    """SHA-256 of files, computed again only where size or time of change are others than when it was kept.

    Args:
        kept: JSON file with those of earlier times; None keeps none.
    """

    def __init__(self, kept: Path | None) -> None:
        self._kept = kept
        self._known: dict[str, list[Any]] = {}
        if kept is not None and kept.is_file():
            with suppress(ModicumError):  # a damaged one is made anew
                content = read_json(kept)
                self._known = content if isinstance(content, dict) else {}

    def of(self, path: Path) -> str:
        """The digest of one file; ``missing`` where there is none."""
        name = str(path.absolute())
        try:
            status = path.stat()
            state = [status.st_size, status.st_mtime_ns]
            entry = self._known.get(name)
            if isinstance(entry, list) and entry[:2] == state and len(entry) == 3:
                return str(entry[2])
            digest = _digest_of_file(path)
        except OSError:
            return _MISSING
        self._known[name] = [*state, digest]
        return digest

    def save(self) -> None:
        """Keeps what was computed, for the next time."""
        if self._kept is not None and self._known:
            write_json(self._kept, self._known)


def _digest_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def digest_of(content: Any) -> str:
    """Of what JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def data_digest(manifest: Manifest, files: FileDigests) -> str:
    """Of a data set: its rows and the content of all files that they name, wherever it lies."""
    named = sorted(set(files_of(manifest)))
    with bar("comparing files", len(named)) as progress:
        contents = []
        for path in named:
            contents.append(files.of(path))
            progress.advance()
    return digest_of([manifest.content_hash(), contents])


def run_digest(folder: RunFolder) -> str:
    """Of what a run has learned; ``missing`` for one that has not finished."""
    return FileDigests(None).of(folder.model) if folder.weights.is_file() else _MISSING


def folder_digest(folder: Path, leave_out: Iterable[str] = ()) -> str:
    """Of all files in a folder and below, with their names.

    Args:
        folder: of a step.
        leave_out: names of files that are made again at any time.
    """
    left_out = set(leave_out)
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name not in left_out and not path.name.startswith(".")
    )
    digests = FileDigests(None)
    return digest_of([[path.relative_to(folder).as_posix(), digests.of(path)] for path in files])


def inputs_of(settings: Mapping[str, Any], files: FileDigests) -> dict[str, str]:
    """The digests of all runs and files that settings name, by the settings.

    Args:
        settings: with ``run:FOLDER`` and paths of files as values, at any depth.
        files: digests of files.
    """
    found = {}
    for key, value in _texts(settings):
        if value.startswith(OF_RUN):
            found[key] = run_digest(RunFolder(Path(value.removeprefix(OF_RUN))))
        elif "/" in value or "." in value:
            path = Path(value)
            with suppress(OSError, ValueError):
                if path.is_file():
                    found[key] = files.of(path)
    return found


def _texts(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """All texts among settings, also in lists, by their keys."""
    for key, value in flat(settings).items():
        if isinstance(value, str):
            yield key, value
        elif isinstance(value, list | tuple):
            yield from ((f"{key}.{number}", one) for number, one in enumerate(value) if isinstance(one, str))


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"training.lr": 0.1}`` of nested tables."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
