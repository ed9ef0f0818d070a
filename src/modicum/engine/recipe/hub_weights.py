"""Finds weights of the model hub: in its cache on this machine, else by fetching them; only safetensors files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from modicum.data.published_weights import HubFile, hub_file, published
from modicum.errors import InputError
from modicum.wording import listed

SAFE = ".safetensors"
USUAL = "model.safetensors"
T = TypeVar("T")


def hub_weights(weights: str, reachable: Callable[[], bool]) -> Path:
    """The weights file that ``hf:OWNER/NAME@REVISION:FILE`` or a short name means, on this machine.

    Args:
        weights: as in a recipe.
        reachable: whether the hub may be asked, and answers; asked only where the cache has not got the file.

    Raises:
        InputError: the repository has no safetensors file or several, terms must be accepted first, there is no such
            repository, or it is not cached and the hub cannot be reached.
    """
    wanted = hub_file(weights)
    cached = _cached(wanted)
    if cached is not None:
        return cached
    if not reachable():
        raise _offline(weights, wanted)
    file = wanted.file or _asked(weights, wanted, lambda: _only_file(_listed(wanted), wanted))
    return _asked(weights, wanted, lambda: _fetched(wanted, file))


def hub_normalisation(weights: str, file: Path) -> dict[str, list[float]] | None:
    """``mean`` and ``std`` for weights of the hub: of our table, else of settings that lie beside the file; else None.

    Those are ``preprocessor_config.json`` (transformers), ``config.json`` (timm) and ``open_clip_config.json``. Only what
    is in the cache is looked at.
    """
    row = published(weights)
    if row is not None:
        mean, std = row.normalisation
        return {"mean": list(mean), "std": list(std)}
    for name in ("preprocessor_config.json", "config.json", "open_clip_config.json"):
        found = _statistics(file.parent / name)
        if found is not None:
            return found
    return None


def _statistics(path: Path) -> dict[str, list[float]] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict):
        return None
    for table in (content, content.get("pretrained_cfg"), content.get("preprocess_cfg")):
        if not isinstance(table, dict):
            continue
        mean = _three(table.get("image_mean", table.get("mean")))
        std = _three(table.get("image_std", table.get("std")))
        if mean is not None and std is not None:
            return {"mean": mean, "std": std}
    return None


def _three(values: Any) -> list[float] | None:
    if isinstance(values, list) and len(values) == 3 and all(isinstance(n, int | float) for n in values):
        return [float(n) for n in values]
    return None


def _snapshot(wanted: HubFile) -> Path | None:
    """The folder of a repository's files in the cache, in the hub's layout (``models--OWNER--NAME/snapshots/...``)."""
    repository = _repository_folder(wanted)
    reference = repository / "refs" / wanted.revision
    commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else wanted.revision
    folder = repository / "snapshots" / commit
    return folder if folder.is_dir() else None


def _repository_folder(wanted: HubFile) -> Path:
    import huggingface_hub.constants as settings

    return Path(settings.HF_HUB_CACHE) / f"models--{wanted.repository.replace('/', '--')}"


def _cached(wanted: HubFile) -> Path | None:
    folder = _snapshot(wanted)
    if folder is None:
        return None
    if wanted.file is not None:
        return folder / wanted.file if (folder / wanted.file).is_file() else None
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    if not any(name.endswith(SAFE) for name in names) and not any(_is_weights(name) for name in names):
        return None  # only its settings were fetched
    return folder / _only_file(names, wanted)


def _only_file(names: list[str], wanted: HubFile) -> str:
    """The weights among a repository's files. Raises :class:`InputError` where there are none, or several."""
    safe = [name for name in names if name.endswith(SAFE)]
    if USUAL in safe:
        return USUAL
    if len(safe) == 1:
        return safe[0]
    if safe:
        raise InputError(
            f"repository '{wanted.repository}' has several weights files ({listed(safe[:6])})",
            f"name one: --weights hf:{wanted.repository}:{safe[0]}",
        )
    others = [name for name in names if _is_weights(name)] or names
    raise InputError(
        f"repository '{wanted.repository}' has no {SAFE} file (it has {listed(others[:6]) or 'no files'})",
        "download the weights yourself and pass --weights FILE, which is read without executing code in it",
    )


def _is_weights(name: str) -> bool:
    return name.endswith((".bin", ".pth", ".pt", ".ckpt", ".npz", ".h5", ".msgpack"))


def _listed(wanted: HubFile) -> list[str]:
    from huggingface_hub import list_repo_files

    return list(list_repo_files(wanted.repository, revision=wanted.revision))


def _fetched(wanted: HubFile, file: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    def fetch(name: str) -> Path:
        return Path(hf_hub_download(wanted.repository, name, revision=wanted.revision))

    if published(f"hf:{wanted.repository}") is None:
        for name in ("preprocessor_config.json", "config.json"):  # may tell the normalisation
            try:
                fetch(name)
            except EntryNotFoundError:
                continue
    return fetch(file)


def _asked(weights: str, wanted: HubFile, ask: Callable[[], T]) -> T:
    """Runs what asks the hub; its errors become ours."""
    from huggingface_hub import errors

    try:
        return ask()
    except errors.GatedRepoError as error:
        raise InputError(
            f"weights '{weights}': repository '{wanted.repository}' is gated, and its terms have not been accepted",
            "accept them on the repository's page, then log in with `hf auth login` or set HF_TOKEN",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"weights '{weights}': the model hub has no repository '{wanted.repository}'",
            "check the name; a private one needs `hf auth login` or HF_TOKEN",
        ) from error
    except errors.LocalEntryNotFoundError as error:  # what the client says where the network fails
        raise _offline(weights, wanted) from error
    except (errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        what = f"file '{wanted.file}'" if wanted.file else "such file"
        raise InputError(
            f"weights '{weights}': repository '{wanted.repository}' has no {what} in revision '{wanted.revision}'",
            "check the names on the repository's page",
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise _offline(weights, wanted) from error


def _offline(weights: str, wanted: HubFile) -> InputError:
    folder = _repository_folder(wanted) / "snapshots" / wanted.revision
    file = wanted.file or USUAL
    return InputError(
        f"weights '{weights}' are not in the cache of the model hub, which cannot be reached",
        f"fetch {file} of {wanted.repository} elsewhere, and put it to {folder / file} (HF_HOME moves that folder) or "
        "pass --weights FILE",
    )


def described(row: Any) -> str:
    """What is said once when weights of the table are used."""
    size = f"{row.image_size}x{row.image_size}"
    gate = ", gated" if row.gated else ""
    note = f"weights '{row.name}': {row.repository}, {row.licence}{gate}; made with images of {size} pixels"
    return f"{note}; not verified: {row.unverified}" if row.unverified else note
