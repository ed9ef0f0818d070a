"""Methods: how something is learned. Each reads like its paper."""

from modicum.methods.base import Context, ExtractStage, Method, MethodConfig, Stage, TrainStage, Update
from modicum.methods.registry import method_class, method_entries

__all__ = [
    "Context",
    "ExtractStage",
    "Method",
    "MethodConfig",
    "Stage",
    "TrainStage",
    "Update",
    "method_class",
    "method_entries",
]
