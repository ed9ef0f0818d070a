"""Losses: pure functions, and small modules that hold their settings."""

from modicum.losses.classification import (
    CrossEntropy,
    FocalLoss,
    GradeRegressionLoss,
    MaskedBCEWithLogits,
    QuadraticKappaLoss,
    class_weights_from_counts,
    cross_entropy,
    focal_loss,
    grade_regression_loss,
    masked_bce_with_logits,
    quadratic_kappa_loss,
)

__all__ = [
    "CrossEntropy",
    "FocalLoss",
    "GradeRegressionLoss",
    "MaskedBCEWithLogits",
    "QuadraticKappaLoss",
    "class_weights_from_counts",
    "cross_entropy",
    "focal_loss",
    "grade_regression_loss",
    "masked_bce_with_logits",
    "quadratic_kappa_loss",
]
