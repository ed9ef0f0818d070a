"""Packages of the extra ``export``, imported when they are asked for."""

from importlib import import_module
from typing import Any

from modicum.errors import InputError


def package(name: str) -> Any:
    """A package of the extra ``export``.

    Args:
        name: of the module, such as ``onnxruntime``.

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        top = name.partition(".")[0]
        raise InputError(f"package '{top}' is not installed", "pip install 'modicum[export]'") from error
