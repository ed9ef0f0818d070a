"""Training methods, each written to read like its paper."""

from modicum.methods.base import (
    Context,
    ExtractStage,
    FitStage,
    Method,
    MethodConfig,
    Stage,
    TrainStage,
    Update,
)
from modicum.methods.decision import Decision, Rows
from modicum.methods.registry import method_class, method_entries

__all__ = [
    "Context",
    "Decision",
    "ExtractStage",
    "FitStage",
    "Method",
    "MethodConfig",
    "Rows",
    "Stage",
    "TrainStage",
    "Update",
    "method_class",
    "method_entries",
]
