"""Losses: pure functions, and small modules that hold their settings."""

from modicum.losses.adversarial import (
    interpolation_penalty,
    least_squares_discriminator_losses,
    least_squares_generator_loss,
    r1_penalty,
)
from modicum.losses.class_weights import class_weights_from_counts
from modicum.losses.classification import (
    CrossEntropy,
    FocalLoss,
    MaskedBCEWithLogits,
    cross_entropy,
    focal_loss,
    masked_bce_with_logits,
)
from modicum.losses.contrastive import NTXent, nt_xent
from modicum.losses.masked_modelling import (
    masked_patch_loss,
    masked_token_loss,
    normalised_patches,
    patch_errors,
)
from modicum.losses.ordered import (
    GradeRegressionLoss,
    QuadraticKappaLoss,
    grade_regression_loss,
    quadratic_kappa_loss,
)
from modicum.losses.patch_nce import patch_nce
from modicum.losses.registration import correction_loss, foreground_weight, smoothness_loss
from modicum.losses.segmentation import (
    SegmentationLoss,
    cldice_loss,
    dice_loss,
    pixel_bce_with_logits,
    pixel_cross_entropy,
    sigmoid_focal_loss,
    soft_skeleton,
)
from modicum.losses.sinkhorn import sinkhorn_divergence
from modicum.losses.weighted_sum import WeightedSum

__all__ = [
    "CrossEntropy",
    "FocalLoss",
    "GradeRegressionLoss",
    "MaskedBCEWithLogits",
    "NTXent",
    "QuadraticKappaLoss",
    "SegmentationLoss",
    "WeightedSum",
    "class_weights_from_counts",
    "cldice_loss",
    "correction_loss",
    "cross_entropy",
    "dice_loss",
    "focal_loss",
    "foreground_weight",
    "grade_regression_loss",
    "interpolation_penalty",
    "least_squares_discriminator_losses",
    "least_squares_generator_loss",
    "masked_bce_with_logits",
    "masked_patch_loss",
    "masked_token_loss",
    "normalised_patches",
    "nt_xent",
    "patch_errors",
    "patch_nce",
    "pixel_bce_with_logits",
    "pixel_cross_entropy",
    "quadratic_kappa_loss",
    "r1_penalty",
    "sigmoid_focal_loss",
    "sinkhorn_divergence",
    "smoothness_loss",
    "soft_skeleton",
]
