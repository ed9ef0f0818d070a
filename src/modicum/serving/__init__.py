"""``modicum serve``: runs behind an HTTP API, with a page to drop images on. Needs the extra ``[serve]``."""

from importlib.util import find_spec

from modicum.errors import InputError

PACKAGES = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}
"""Modules of the extra, and the packages that they come in."""


def check_extra() -> None:
    """Raises :class:`~modicum.errors.InputError` where a package of the extra is not installed."""
    for module, package in PACKAGES.items():
        if find_spec(module) is None:
            raise InputError(
                f"serving needs {package}, which is not installed", "pip install 'modicum[serve]'"
            )


__all__ = ["PACKAGES", "check_extra"]
