"""One-class scorers: fitted to good (or normal) images only, they say how far others are from these.

All share one interface (:class:`OneClassScorer`) and look at the same maps of a frozen backbone
(:class:`FeatureTaps`), so that one pass of the encoder serves several.
"""

from modicum.nn.one_class.coreset import farthest_first
from modicum.nn.one_class.dfr import DeepFeatureReconstruction
from modicum.nn.one_class.maps import reduce_map
from modicum.nn.one_class.padim import PadimScorer
from modicum.nn.one_class.patchcore import PatchcoreScorer
from modicum.nn.one_class.percentiles import ensemble_score, percentile_among
from modicum.nn.one_class.pooled import PooledScorer, ledoit_wolf, pooled_features
from modicum.nn.one_class.reverse_distillation import ReverseDistillation, distance_map
from modicum.nn.one_class.scorer import OneClassScore, OneClassScorer
from modicum.nn.one_class.taps import FeatureTaps

__all__ = [
    "DeepFeatureReconstruction",
    "FeatureTaps",
    "OneClassScore",
    "OneClassScorer",
    "PadimScorer",
    "PatchcoreScorer",
    "PooledScorer",
    "ReverseDistillation",
    "distance_map",
    "ensemble_score",
    "farthest_first",
    "ledoit_wolf",
    "percentile_among",
    "pooled_features",
    "reduce_map",
]
