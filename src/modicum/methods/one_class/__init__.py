"""Anomaly detection from normal images alone: PaDiM, PatchCore, reverse distillation, reconstruction of pixels."""

from modicum.methods.one_class.method import (
    OneClassMethod,
    Padim,
    Patchcore,
    Reconstruction,
    ReverseDistillationMethod,
)

__all__ = ["OneClassMethod", "Padim", "Patchcore", "Reconstruction", "ReverseDistillationMethod"]
