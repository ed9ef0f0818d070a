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
from modicum.losses.long_tail import (
    LogitAdjustedCrossEntropy,
    class_prior,
    effective_weights,
    ldam_loss,
    ldam_margins,
    logit_adjusted_cross_entropy,
)
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
from modicum.losses.parametric_contrastive import GPaCoLoss, VectorQueue, gpaco_loss
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
    "GPaCoLoss",
    "GradeRegressionLoss",
    "LogitAdjustedCrossEntropy",
    "MaskedBCEWithLogits",
    "NTXent",
    "QuadraticKappaLoss",
    "SegmentationLoss",
    "VectorQueue",
    "WeightedSum",
    "class_prior",
    "class_weights_from_counts",
    "cldice_loss",
    "correction_loss",
    "cross_entropy",
    "dice_loss",
    "effective_weights",
    "focal_loss",
    "foreground_weight",
    "gpaco_loss",
    "grade_regression_loss",
    "interpolation_penalty",
    "ldam_loss",
    "ldam_margins",
    "least_squares_discriminator_losses",
    "least_squares_generator_loss",
    "logit_adjusted_cross_entropy",
    "masked_bce_with_logits",
    "masked_patch_loss",
    "masked_token_loss",
    "normalised_patches",
    "nt_xent",
    "patch_errors",
    "pixel_bce_with_logits",
    "pixel_cross_entropy",
    "quadratic_kappa_loss",
    "r1_penalty",
    "sigmoid_focal_loss",
    "sinkhorn_divergence",
    "smoothness_loss",
    "soft_skeleton",
]
