"""Reads a weights file as tensors, without executing code in it."""

import argparse
import codecs
import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path, PosixPath, PurePosixPath
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modicum.data.processes import available_bytes
from modicum.errors import InputError
from modicum.progress import say

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".npz")
# Keys of the state dict in published checkpoints, outermost first.
_USUAL = ("state_dict", "model_state", "model_state_dict", "model", "net", "params")
_WRAPPERS = (
    *("state_dict", "model_state", "model_state_dict", "model", "teacher", "student", "net", "params"),
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema", "network", "backbone", "encoder", "weights"),
)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads a state dict from ``.safetensors``, ``.pth``/``.pt``/``.bin``/``.ckpt`` or ``.npz``.

    Pickle-based files are read with PyTorch's restricted unpickler (tensors and plain containers only); a file with
    anything else is refused. Common wrappers (``{"model": ...}``, a ``module.`` prefix) are removed; of several
    (``state_dict`` and ``state_dict_ema``) the first is used, and the others are named.

    Raises:
        InputError: the file is missing, damaged, of an unknown format, contains no tensors, or contains code.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"weights file '{path}' {what}", "check the path")
    if path.name.endswith(".index.json"):
        raise InputError(
            f"'{path}' is the list of weights that lie in several files",
            "join them into one .safetensors file",
        )
    suffix = path.suffix.lower()
    try:
        if suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if suffix == ".npz":
            _check_unpacked(path)
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(np.array(arrays[name])) for name in arrays.files}
        if suffix in WEIGHT_SUFFIXES:
            with warnings.catch_warnings():
                # Warnings on the age of the file's format.
                warnings.simplefilter("ignore")
                with torch.serialization.safe_globals(_plain_objects()):
                    return _unwrap(torch.load(path, map_location="cpu", weights_only=True), path)
    except (InputError, MemoryError):
        raise
    except UnpicklingError as error:
        raise InputError(
            f"weights file '{path}' contains Python objects, not only tensors, and is not loaded{_objects_in(path)}",
            "save the model's state_dict() as .safetensors",
        ) from error
    except Exception as error:
        # The parsers of four formats share no base class for their errors.
        if "TorchScript" in str(error):
            raise InputError(
                f"weights file '{path}' is a program (TorchScript), not only tensors, and is not loaded",
                "save the model's state_dict() as .safetensors",
            ) from error
        raise InputError(
            f"weights file '{path}' cannot be read ({type(error).__name__})", "copy it again"
        ) from error
    raise InputError(
        f"'{path}' is not a weights file (suffix '{suffix}')",
        f"pass a file ending in {', '.join(WEIGHT_SUFFIXES)}",
    )


def _plain_objects() -> list[Any]:
    """Beside tensors and containers: what training programs put into checkpoints (arguments, the best score, paths).

    None of them does anything but hold values.
    """
    multiarray = np._core.multiarray if hasattr(np, "_core") else np.core.multiarray  # type: ignore[attr-defined]
    kinds = [getattr(np.dtypes, name) for name in np.dtypes.__all__]
    made_by = [
        (getattr(multiarray, name), f"numpy.{core}.multiarray.{name}")  # as NumPy 1 and 2 call it
        for name in ("scalar", "_reconstruct")
        for core in ("core", "_core")
    ]
    arrays = [*made_by, np.ndarray, np.dtype, codecs.encode, *kinds]
    return [*arrays, argparse.Namespace, PosixPath, PurePosixPath]


def _objects_in(path: Path) -> str:
    """The classes that a checkpoint names and that are not read, for a message."""
    try:
        names = sorted(set(torch.serialization.get_unsafe_globals_in_checkpoint(path)))
    except Exception:  # only words
        return ""
    return f" ({', '.join(names[:3])})" if names else ""


def _check_unpacked(path: Path) -> None:
    """Raises :class:`InputError` for an archive that unpacks to more than the memory, before it is unpacked."""
    from modicum.data.readers.arrays import unpacked_bytes

    needed, available = sum(unpacked_bytes(path).values()), available_bytes()
    if needed > available:
        raise InputError(
            f"weights file '{path}' unpacks to {needed / 1e9:,.1f} GB, and {available / 1e9:,.1f} GB of memory are "
            "available",
            "save the tensors of the network alone, for instance as .safetensors",
        )


def written_normalisation(path: Path) -> dict[str, list[float]] | None:
    """Reads the image normalisation (mean and standard deviation) in a weights file, if any.

    ``modicum export`` writes it into the metadata of ``.safetensors`` files; other files have none.

    Returns:
        ``mean`` and ``std``, one number per channel; None if missing or invalid.

    Raises:
        InputError: the file is damaged.
    """
    if path.suffix.lower() != ".safetensors":
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise InputError(f"weights file '{path}' cannot be read", "copy it again") from error
    try:
        written = json.loads(metadata.get("input", "{}"))
        if "mean" not in written:  # of a predictor, which normalises itself
            written = json.loads(metadata["backbone"])
        normalisation = {name: [float(value) for value in written[name]] for name in ("mean", "std")}
    except (ValueError, TypeError, KeyError):
        return None
    usable = all(len(values) == 3 and np.isfinite(values).all() for values in normalisation.values())
    usable = usable and min(normalisation["std"]) > 0
    return normalisation if usable else None


def _is_table(content: Mapping[Any, Any], word: Any) -> bool:
    return isinstance(content.get(word), Mapping)


def _only_table(content: Mapping[Any, Any]) -> Any:
    """The key of the one table of tensors in a checkpoint without tensors of its own; None if there is none, or more."""
    if any(isinstance(value, Tensor) for value in content.values()):
        return None
    tables = [
        key
        for key, value in content.items()
        if isinstance(value, Mapping)
        and value
        and all(isinstance(tensor, Tensor) for tensor in value.values())
    ]
    return tables[0] if len(tables) == 1 else None


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = next((word for word in _WRAPPERS if _is_table(content, word)), None) or _only_table(content)
        if inner is None:
            break
        if others := [f"'{word}'" for word in _WRAPPERS if word != inner and _is_table(content, word)]:
            say(f"weights '{path.name}': '{inner}' is used; {', '.join(others)} are there too")
        elif inner not in _USUAL:
            say(f"weights '{path.name}': '{inner}' is used")
        content = content[inner]
    if not isinstance(content, Mapping):
        raise InputError(f"weights file '{path}' contains no state dict", "save the model's state_dict()")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"weights file '{path}' contains no tensors", "save the model's state_dict()")
    for prefix in ("module.", "_orig_mod."):
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of the tensors, independent of their order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
