"""Quality assessment from outstanding images alone (UNO-QA's two stages)."""

from modicum.methods.octa_quality.agreement import (
    adjusted_rand_index,
    best_permutation_accuracy,
    normalised_mutual_information,
)
from modicum.methods.octa_quality.clustering import principal_components, two_groups
from modicum.methods.octa_quality.config import OctaQualityConfig
from modicum.methods.octa_quality.judgement import find_clusters, judged
from modicum.methods.octa_quality.method import OctaQuality
from modicum.methods.octa_quality.prior import quality_prior, quality_terms

__all__ = [
    "OctaQuality",
    "OctaQualityConfig",
    "adjusted_rand_index",
    "best_permutation_accuracy",
    "find_clusters",
    "judged",
    "normalised_mutual_information",
    "principal_components",
    "quality_prior",
    "quality_terms",
    "two_groups",
]
