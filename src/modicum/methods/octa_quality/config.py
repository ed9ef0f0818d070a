"""Settings of quality assessment without quality labels.

Where a description says "published", the abstract of UNO-QA (arXiv 2212.10541) has it. All else is an instantiation of
ours: the paper's network, losses, reduction and clustering could not be consulted.
"""

from typing import Literal

from pydantic import Field

from modicum.methods.base import MethodConfig
from modicum.methods.octa_quality.clustering import Algorithm
from modicum.nn.one_class.maps import Reduce
from modicum.nn.one_class.pooled import Distance

ScorerName = Literal["pooled", "rd", "padim", "patchcore", "dfr"]


class OctaQualityConfig(MethodConfig):
    """Settings of quality assessment."""

    scorers: list[ScorerName] = Field(
        ["rd", "pooled"],
        min_length=1,
        description="What measures the distance from outstanding images: rd (reverse distillation), pooled (distance of "
        "pooled features), padim, patchcore, dfr; of several, the mean of their percentiles among held-out outstanding "
        "images.",
    )
    best: str | None = Field(
        None,
        description="The outstanding class, which is learned from; found by its name, or the highest grade.",
    )
    reduce: Reduce = Field(
        "mean", description="From a map to a score: mean (quality is global), max, or top (percent)."
    )
    distance: Distance = Field("knn", description="Of pooled features: knn or mahalanobis (Ledoit-Wolf).")
    neighbours: int = Field(5, ge=1, description="Of knn.")
    padim_channels: int | None = Field(
        None, ge=1, description="Channels that PaDiM keeps; 100 of ResNet-18, 550 of WideResNet-50-2."
    )
    coreset: float = Field(0.1, gt=0, le=1, description="Share of the patches that PatchCore remembers.")
    dfr_width: int = Field(
        64,
        ge=1,
        description="Width of DFR's code; the published rule (components that keep 90 % of the variance) is reported.",
    )
    quantile: float = Field(
        0.95,
        gt=0,
        lt=1,
        description="Share of held-out outstanding images that are to be called outstanding; the threshold is that "
        "quantile of their scores.",
    )
    threshold: Literal["quantile", "best_f1"] = Field(
        "quantile",
        description="best_f1: where outstanding and other validation images are told apart best; this one is supervised.",
    )
    residual: bool = Field(
        True, description="Whether what a student (rd) cannot reproduce is part of the embedding."
    )
    signed_log: bool = Field(False, description="Signed log(1 + |x|) of embeddings, against heavy tails.")
    components: int = Field(10, ge=1, description="Principal components in which images are clustered.")
    reduction: Literal["pca", "tsne"] = Field(
        "pca",
        description="Where images are clustered: in principal components, or in the plane that t-SNE makes of them.",
    )
    min_cluster: int = Field(
        1,
        ge=1,
        description="Images that a cluster has at least: a smaller one is taken as outliers, which go to the nearer of "
        "the two clusters of the rest. For rare ungradable images, with clustering gmm or agglomerative.",
    )
    clustering: Algorithm = Field("kmeans", description="Of images that are not outstanding, in two.")
    split_check: Literal["silhouette", "bic", "none"] = Field(
        "silhouette",
        description="Whether there are two clusters at all: a silhouette of at least min_silhouette, a lower BIC, or "
        "always.",
    )
    min_silhouette: float = Field(0.2, ge=-1, le=1, description="Of split_check=silhouette.")
    clusters: Literal["set", "frozen"] = Field(
        "set",
        description="set: found anew among the images to predict (published); frozen: those found among the training "
        "images, whose grades are not used, so that each image is named by itself.",
    )
