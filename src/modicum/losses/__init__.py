"""Losses: pure functions, and small modules that hold their settings."""

from modicum.losses.adversarial import least_squares_discriminator_losses, least_squares_generator_loss
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
from modicum.losses.registration import correction_loss, smoothness_loss

__all__ = [
    "CrossEntropy",
    "FocalLoss",
    "GradeRegressionLoss",
    "MaskedBCEWithLogits",
    "QuadraticKappaLoss",
    "class_weights_from_counts",
    "correction_loss",
    "cross_entropy",
    "focal_loss",
    "grade_regression_loss",
    "least_squares_discriminator_losses",
    "least_squares_generator_loss",
    "masked_bce_with_logits",
    "quadratic_kappa_loss",
    "smoothness_loss",
]
