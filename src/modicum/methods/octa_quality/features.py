"""What one pass of the encoder says of an image: scores, terms of the quality prior, and an embedding."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modicum.methods.octa_quality.config import OctaQualityConfig
from modicum.methods.octa_quality.prior import TERMS, quality_terms
from modicum.nn.one_class import (
    DeepFeatureReconstruction,
    FeatureTaps,
    OneClassScorer,
    PadimScorer,
    PatchcoreScorer,
    PooledScorer,
    ReverseDistillation,
    pooled_features,
)
from modicum.nn.one_class.scorer import Maps
from modicum.nn.spatial_transformer import without_autocast


def make_scorer(name: str, taps: FeatureTaps, config: OctaQualityConfig) -> OneClassScorer:
    """One of the scorers, by its name in the settings."""
    channels = taps.channels
    if name == "rd":
        return ReverseDistillation.of(taps, config.reduce)
    if name == "padim":
        return PadimScorer(channels, config.padim_channels, config.reduce)
    if name == "patchcore":
        return PatchcoreScorer(channels, config.coreset)
    if name == "dfr":
        return DeepFeatureReconstruction(channels, config.dfr_width, config.reduce)
    return PooledScorer(channels, config.distance, config.neighbours)


@dataclass(frozen=True)
class Parts:
    """Which columns of the predictor's outputs are what.

    Attributes:
        scores: number of scorers; their scores come first.
        embedding: values of the embedding, which comes last, after the terms of the prior.
    """

    scores: int
    embedding: int

    def split(self, outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores ``[n, scorers]``, terms ``[n, 2]`` and embedding ``[n, d]``."""
        first, second, third = outputs.split([self.scores, TERMS, self.embedding], dim=1)
        return first, second, third


class QualityFeatures(nn.Module):
    """Images to what stages A and B need of them, in one pass of the encoder.

    Args:
        taps: maps of the frozen encoder.
        config: the method's settings.
    """

    def __init__(self, taps: FeatureTaps, config: OctaQualityConfig) -> None:
        super().__init__()
        self.taps = taps
        names = list(dict.fromkeys(config.scorers))
        self.scorers = nn.ModuleDict({name: make_scorer(name, taps, config) for name in names})
        self.residual = config.residual and "rd" in names
        levels = 2 if self.residual else 1
        self.parts = Parts(len(names), 2 * levels * sum(taps.channels))

    @property
    def named(self) -> Sequence[tuple[str, OneClassScorer]]:
        """The scorers with their names."""
        return [(name, scorer) for name, scorer in self.scorers.items() if isinstance(scorer, OneClassScorer)]

    @property
    def has_maps(self) -> bool:
        """Whether any scorer says where."""
        return any(scorer.has_map for _, scorer in self.named)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b outputs"]:
        return self.with_maps(images)[0]

    def with_maps(
        self, images: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b outputs"], list[Float[Tensor, "b h w"]]]:
        """Outputs, and the map of each scorer that has one."""
        size = (int(images.shape[2]), int(images.shape[3]))
        maps = self.taps(images)
        with without_autocast(images.device):  # distances need all their digits
            found = [scorer(maps, size) for _, scorer in self.named]
            scores = torch.stack([one.score.float() for one in found], 1)
            outputs = torch.cat([scores, quality_terms(images), self._embedding(maps)], 1)
        return outputs, [one.map for one in found if one.map is not None]

    def _embedding(self, maps: Maps) -> Float[Tensor, "b d"]:
        """Mean and standard deviation of each channel, and those of what the student leaves over."""
        features = pooled_features(maps)
        if not self.residual:
            return features
        student = self.scorers["rd"].reproduced(maps)  # type: ignore[operator]
        left = [teacher - made for teacher, made in zip(maps, student, strict=True)]
        return torch.cat([features, pooled_features(left)], 1)
