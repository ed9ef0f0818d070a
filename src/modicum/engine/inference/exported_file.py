"""Exported files: tensors as safetensors, with a card (JSON) in their metadata and beside them.

The metadata has each entry of the card by its name, and all of it as one text, ``card``, with ``digest``: the SHA-256
of that text and of the tensors. Files of earlier versions have the entries alone.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from modicum.atomic_files import write_text
from modicum.data.weights_file import weights_digest
from modicum.engine.checkpoint import save_tensors
from modicum.engine.model_file import read_model
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError

SUFFIX = ".safetensors"
CARD, DIGEST = "card", "digest"
_TEXTS = frozenset({"run", "method", "part", "network", "backbone", "encoder", "form"})
"""Entries of earlier versions that are texts; others are JSON."""
_AGAIN = "copy it again, or export the run again"


def check_out(
    out: Path, folder: RunFolder, weights: str | None = None, suffix: str = SUFFIX, card: Path | None = None
) -> None:
    """Refuses a name that is no exported file's, and files that a run needs.

    Args:
        out: the file that is to be written, with its card beside it.
        folder: of the run.
        weights: where those of its frozen backbone are, if somebody has said so.
        suffix: that the file must have.
        card: where its card goes; ``.json`` in place of the suffix by default.

    Raises:
        InputError: which, and what to do.
    """
    if out.suffix != suffix:
        kind = "a weights file" if suffix == SUFFIX else "a graph"
        raise InputError(f"'{out}' is not {kind} (expected {suffix})", f"end its name with {suffix}")
    beside, card = RunFolder(out.absolute().parent), card or out.with_suffix(".json")
    if beside.recipe.is_file() and not out.name.startswith("export"):
        of = "the run itself" if beside.path.resolve() == folder.path.resolve() else f"run '{beside.name}'"
        for path in (out, card):
            if path.exists():
                raise InputError(f"'{path}' is a file of {of}", "choose another --out, or leave it out")
    if card.is_file() and not _is_card(card):
        raise InputError(
            f"'{card}', where the card of '{out.name}' would go, is a file of something else",
            "choose another --out",
        )
    read = [weights, _recorded_backbone(folder)]
    if out.exists() and any(path and Path(path).exists() and out.samefile(path) for path in read):
        raise InputError(f"'{out}' is the file of the run's frozen backbone", "choose another --out")


def _is_card(path: Path) -> bool:
    try:
        card = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(card, dict) and "method" in card and "weights" in card


def _recorded_backbone(folder: RunFolder) -> str | None:
    content = read_model(folder) if folder.model.is_file() else {}
    return (content.get("frozen_backbone") or {}).get("path")


def write_export(out: Path, tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> Path:
    """Writes tensors, with the card in their metadata and beside them; returns the file of tensors.

    Raises:
        ResourceError: the disk is full.
    """
    text = json.dumps(card, ensure_ascii=False)
    metadata = {key: value if isinstance(value, str) else json.dumps(value) for key, value in card.items()}
    metadata |= {CARD: text, DIGEST: _digest(text, tensors)}
    out.parent.mkdir(parents=True, exist_ok=True)
    file = {"file": out.name, "sha256": save_tensors(out, dict(tensors), metadata)}
    write_text(
        out.with_suffix(".json"), json.dumps({**card, "weights": file}, indent=1, ensure_ascii=False) + "\n"
    )
    return out


def read_export(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The card and the tensors of a file that :func:`write_export` wrote, in this version or an earlier one.

    Nothing in the file is ever executed. The card beside the file is read where the file itself has none.

    Raises:
        InputError: there is no such file, it is damaged, or it has no card.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"exported file '{path}' does not exist", "check the path")
    if path.suffix != SUFFIX:
        raise InputError(f"'{path}' is not an exported network", f"name the {SUFFIX} file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it has no other way
    except (OSError, SafetensorError) as error:
        raise InputError(f"'{path}' is damaged ({type(error).__name__})", _AGAIN) from error
    text = metadata.get(CARD)
    if text is not None and metadata.get(DIGEST) != _digest(text, tensors):
        raise InputError(f"'{path}' is damaged (card and tensors do not have its digest)", _AGAIN)
    card = _entries(metadata) if text is None else _parsed(text, path)
    if "method" not in card and (beside := path.with_suffix(".json")).is_file():
        card = _parsed(beside.read_bytes(), beside)
    if "method" not in card:
        raise InputError(
            f"'{path}' has no card that says how to make its network",
            "name a file that `modicum export` wrote, with its .json beside it where it was written anew",
        )
    return card, tensors


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    return hashlib.sha256(f"{text}\n{weights_digest(tensors)}".encode()).hexdigest()


def _entries(metadata: Mapping[str, str]) -> dict[str, Any]:
    """A card that has its entries in the metadata one by one."""
    card: dict[str, Any] = {}
    for key, value in metadata.items():
        try:
            card[key] = value if key in _TEXTS else json.loads(value)
        except (ValueError, RecursionError):
            card[key] = value
    return card


def _parsed(text: str | bytes, path: Path) -> dict[str, Any]:
    try:
        card = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the card in '{path}' is damaged ({type(error).__name__})", _AGAIN) from error
    if not isinstance(card, dict):
        raise InputError(f"the card in '{path}' is not a table", _AGAIN)
    return card
