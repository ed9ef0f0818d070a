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
    from modicum.api import Run, ensemble, fit, load
    from modicum.chains.chain import Chain
    from modicum.chains.run_plan import run_plan
    from modicum.comparison.compare import compare
    from modicum.cross_validation.cross_validate import cross_validate
    from modicum.engine.inference.load_exported import load_exported
    from modicum.methods.checks import check_method
    from modicum.planning.memory import predict as predict_memory
    from modicum.planning.plan import plan
    from modicum.tuning.tune import tune

__all__ = [
    "Chain",
    "Run",
    "__version__",
    "check_method",
    "compare",
    "cross_validate",
    "ensemble",
    "fit",
    "load",
    "load_exported",
    "plan",
    "predict_memory",
    "run_plan",
    "tune",
]

_torchvision_schemas.install()

_PLACES = {
    "Chain": "modicum.chains.chain:Chain",
    "Run": "modicum.api:Run",
    "check_method": "modicum.methods.checks:check_method",
    "compare": "modicum.comparison.compare:compare",
    "cross_validate": "modicum.cross_validation.cross_validate:cross_validate",
    "ensemble": "modicum.api:ensemble",
    "fit": "modicum.api:fit",
    "load": "modicum.api:load",
    "load_exported": "modicum.engine.inference.load_exported:load_exported",
    "plan": "modicum.planning.plan:plan",
    "predict_memory": "modicum.planning.memory:predict",
    "run_plan": "modicum.chains.run_plan:run_plan",
    "tune": "modicum.tuning.tune:tune",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        module, _, attribute = _PLACES[name].partition(":")
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module 'modicum' has no attribute {name!r}")
