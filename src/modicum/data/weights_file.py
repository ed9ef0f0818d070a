"""Reading a file of weights into tensors, without ever executing what is in it."""

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modicum.errors import InputError

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".npz")
# Where published checkpoints keep the state dict, outermost first.
_WRAPPERS = ("state_dict", "model_state", "model_state_dict", "model", "teacher", "student", "net", "params")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads a state dict from ``.safetensors``, ``.pth``/``.pt``/``.bin``/``.ckpt`` or ``.npz``.

    Pickle-based files go through PyTorch's restricted unpickler (tensors and plain containers only); a file that
    asks for anything else is refused. Common wrappings (``{"model": ...}``, a ``module.`` prefix) are taken off.

    Raises:
        InputError: the file is missing, damaged, of an unknown kind, holds no tensors, or holds code.
    """
    if not path.is_file():
        raise InputError(f"weights file '{path}' does not exist", "check the path")
    suffix = path.suffix.lower()
    try:
        if suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(np.array(arrays[name])) for name in arrays.files}
        if suffix in WEIGHT_SUFFIXES:
            with warnings.catch_warnings():
                # On the age of the file's format, which nobody here can change.
                warnings.simplefilter("ignore")
                return _unwrap(torch.load(path, map_location="cpu", weights_only=True), path)
    except (InputError, MemoryError):
        raise
    except UnpicklingError as error:
        raise InputError(
            f"weights file '{path}' holds Python objects, not only tensors, and is not loaded",
            "save its state_dict() as .safetensors where it came from",
        ) from error
    except Exception as error:
        # The parsers of four formats, in three languages, share no base class for what damage makes them raise.
        raise InputError(
            f"weights file '{path}' cannot be read ({type(error).__name__})", "copy it again"
        ) from error
    raise InputError(
        f"weights file '{path}' is of an unknown kind '{suffix}'", f"use one of {', '.join(WEIGHT_SUFFIXES)}"
    )


def written_normalisation(path: Path) -> dict[str, list[float]] | None:
    """Mean and standard deviation that images had for the weights of a file, where it says so.

    ``modicum export`` writes them into the metadata of its ``.safetensors`` files; other files say nothing.

    Returns:
        ``mean`` and ``std``, a number for each channel; None where they are not there or make no sense.

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
        found = {name: [float(value) for value in written[name]] for name in ("mean", "std")}
    except (ValueError, TypeError, KeyError):
        return None
    usable = all(len(values) == 3 and np.isfinite(values).all() for values in found.values())
    usable = usable and min(found["std"]) > 0
    return found if usable else None


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = next((content[w] for w in _WRAPPERS if isinstance(content.get(w), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping):
        raise InputError(f"weights file '{path}' holds no state dict", "save the model's state_dict()")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"weights file '{path}' holds no tensors", "save the model's state_dict()")
    for prefix in ("module.", "_orig_mod."):
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of the tensors, whatever their order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
