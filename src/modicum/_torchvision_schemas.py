"""Makes torchvision importable with a PyTorch build that its compiled operators were not made for.

torchvision registers shape functions for its operators ``nms`` and ``qnms`` when it is imported. With a CPU
build of PyTorch and the CUDA build of torchvision (a pair that installers make when the two come from different
places) the compiled library does not load, the operators are unknown, and ``import torchvision`` fails, and with
it timm, torchmetrics and lightning. Declaring the two *schemas*, without an implementation, is enough for
everything here: modicum uses neither operator. Where torchvision's library loads, nothing is declared.

Nothing is imported until torchvision is imported.
"""

import importlib.machinery
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_library: Any = None  # a torch.library.Library; its registrations last as long as the object


class _BeforeTorchvision(MetaPathFinder):
    """Runs once, just before the import system looks for torchvision; finds nothing itself."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            _declare_if_missing()


def install() -> None:
    """Arranges for the schemas to be declared before torchvision is first imported."""
    if "torchvision" not in sys.modules and not any(isinstance(f, _BeforeTorchvision) for f in sys.meta_path):
        sys.meta_path.insert(0, _BeforeTorchvision())


def _declare_if_missing() -> None:
    global _library
    try:
        import torch
    except ImportError:
        return
    if _compiled_library_loads():
        return
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        _library.define(operator + _SCHEMA)


def _compiled_library_loads() -> bool:
    import torch

    spec = importlib.machinery.PathFinder.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True
    for library in Path(spec.origin).parent.glob("_C*"):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            return False
    return hasattr(torch.ops.torchvision, "nms")
