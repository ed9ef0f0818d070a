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
from modicum.losses.cross_modal_clusters import cross_modal_cluster_loss, equal_assignment
from modicum.losses.image_text import image_text_contrast
from modicum.losses.local_alignment import region_consistency, sentence_contrast
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
from modicum.losses.parametric_contrastive import GPaCoLoss, PaCoLoss, VectorQueue, gpaco_loss
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
from modicum.losses.sentence_prototypes import (
    aligned_to_targets,
    match_sets,
    prototype_distance,
    prototype_divergence,
    set_distance,
)
from modicum.losses.sinkhorn import sinkhorn_divergence
from modicum.losses.weighted_sum import WeightedSum
from modicum.losses.word_region import word_region_contrast, word_region_similarity

__all__ = [
    "CrossEntropy",
    "FocalLoss",
    "GPaCoLoss",
    "GradeRegressionLoss",
    "LogitAdjustedCrossEntropy",
    "MaskedBCEWithLogits",
    "NTXent",
    "PaCoLoss",
    "QuadraticKappaLoss",
    "SegmentationLoss",
    "VectorQueue",
    "WeightedSum",
    "aligned_to_targets",
    "class_prior",
    "class_weights_from_counts",
    "cldice_loss",
    "correction_loss",
    "cross_entropy",
    "cross_modal_cluster_loss",
    "dice_loss",
    "effective_weights",
    "equal_assignment",
    "focal_loss",
    "foreground_weight",
    "gpaco_loss",
    "grade_regression_loss",
    "image_text_contrast",
    "interpolation_penalty",
    "ldam_loss",
    "ldam_margins",
    "least_squares_discriminator_losses",
    "least_squares_generator_loss",
    "logit_adjusted_cross_entropy",
    "masked_bce_with_logits",
    "masked_patch_loss",
    "masked_token_loss",
    "match_sets",
    "normalised_patches",
    "nt_xent",
    "patch_errors",
    "patch_nce",
    "pixel_bce_with_logits",
    "pixel_cross_entropy",
    "prototype_distance",
    "prototype_divergence",
    "quadratic_kappa_loss",
    "r1_penalty",
    "region_consistency",
    "sentence_contrast",
    "set_distance",
    "sigmoid_focal_loss",
    "sinkhorn_divergence",
    "smoothness_loss",
    "soft_skeleton",
    "word_region_contrast",
    "word_region_similarity",
]
