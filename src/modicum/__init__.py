"""modicum: good medical-imaging models from a modicum of labels, memory, clean images or aligned pairs.

>>> import modicum
>>> run = modicum.fit("data/", method="linear", backbone="resnet18")  # doctest: +SKIP
>>> run.predict("new_images/")  # doctest: +SKIP

Importing this package loads nothing heavy; PyTorch and the rest are loaded when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from modicum import _torchvision_schemas
from modicum.version import __version__

if TYPE_CHECKING:
    from modicum.api import Run, fit, load
    from modicum.comparison.compare import compare
    from modicum.engine.inference.load_exported import load_exported

__all__ = ["Run", "__version__", "compare", "fit", "load", "load_exported"]

_torchvision_schemas.install()


def __getattr__(name: str) -> Any:
    if name in {"Run", "fit", "load"}:
        return getattr(import_module("modicum.api"), name)
    if name == "compare":
        return import_module("modicum.comparison.compare").compare
    if name == "load_exported":
        return import_module("modicum.engine.inference.load_exported").load_exported
    raise AttributeError(f"module 'modicum' has no attribute {name!r}")
