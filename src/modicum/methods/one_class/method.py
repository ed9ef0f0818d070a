"""Rivals of anomaly detection, a scorer of :mod:`modicum.nn.one_class` each."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modicum.methods.base import Context, Method, MethodConfig, Stage
from modicum.methods.one_class.stages import FitStageOfScorer, LearnStage, ScaleStage, Scoring
from modicum.nn.one_class import (
    FeatureTaps,
    OneClassScorer,
    PadimScorer,
    PatchcoreScorer,
    ReverseDistillation,
)
from modicum.nn.one_class.maps import Reduce
from modicum.nn.one_class.pixels import PixelReconstruction, Pixels
from modicum.progress import say


class MappedConfig(MethodConfig):
    """Settings of all scorers with a map."""

    reduce: Reduce = Field(
        "max", description="From a map to a score: max (small lesions, as published), mean or top (percent)."
    )
    sigma: float = Field(4.0, ge=0, description="Blur of maps, in pixels of the image (4 as published).")


class PadimConfig(MappedConfig):
    """Settings of PaDiM."""

    channels: int | None = Field(
        None,
        ge=1,
        description="Channels that are kept, drawn at random; by default 100 of ResNet-18, 550 of WideResNet-50-2 (as "
        "published), at most 100 of others.",
    )


class PatchcoreConfig(MethodConfig):
    """Settings of PatchCore."""

    coreset: float = Field(
        0.1, gt=0, le=1, description="Share of patches that is remembered (0.01 to 0.25 published)."
    )
    neighbours: int = Field(9, ge=1, description="Remembered patches that weight the score (published: 9).")
    sigma: float = Field(4.0, ge=0, description="Blur of maps, in pixels of the image (4 as published).")
    chunk: int = Field(
        40_000,
        ge=1000,
        description="Patches that are held in memory at most; of more, each chunk is thinned by itself.",
    )


class ReconstructionConfig(MappedConfig):
    """Settings of reconstruction."""

    reduce: Reduce = Field("mean", description="From a map of errors to a score: mean, max or top (percent).")
    width: int = Field(
        16, ge=1, description="Channels after the first of the encoder's steps; each doubles them."
    )
    steps: int = Field(4, ge=1, le=7, description="How often height and width are halved.")
    code: int = Field(32, ge=1, description="Channels of the code.")


class OneClassPredictor(nn.Module):
    """Images to one score each."""

    def __init__(self, scoring: Scoring, scale: ScaleStage) -> None:
        super().__init__()
        self.scoring, self.scale = scoring, scale

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1"]:
        return self.scoring(images).score[:, None].float()

    @torch.no_grad()
    def maps(self, images: Float[Tensor, "b c h w"]) -> Mapping[str, Float[Tensor, "b rows columns"]]:
        """Where the score comes from, ``m / (m + s)`` with ``s`` the largest value of a usual normal image."""
        found = self.scoring(images).map
        assert found is not None
        return {"anomaly": found / (found + self.scale.map_scale)}


class OneClassMethod(Method):
    """A scorer that is fitted to, or learns from, normal images alone."""

    tasks: ClassVar[tuple[str, ...]] = ("anomaly",)
    image: ClassVar[Mapping[str, Any]] = {"size": 256}
    backbone: ClassVar[Mapping[str, Any]] = {"name": "wide_resnet50_2"}
    training: ClassVar[Mapping[str, Any]] = {"batch_size": 16, "augment": "none"}
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"fit": {}, "scale": {}}

    def __init__(self, config: MethodConfig, context: Context) -> None:
        super().__init__(config, context)
        self._scoring = Scoring(*self.look_and_scorer())
        learned = self._scoring.scorer.num_passes == 0
        self._first = LearnStage(self._scoring) if learned else FitStageOfScorer(self._scoring)
        self._scale = ScaleStage(self._scoring)
        self._predictor = OneClassPredictor(self._scoring, self._scale)

    @abstractmethod
    def look_and_scorer(self) -> tuple[nn.Module, OneClassScorer]:
        """What looks at images, and what scores what it sees."""

    def taps(self) -> FeatureTaps:
        """Maps of the run's frozen backbone."""
        taps = FeatureTaps(self.context.backbone())
        if taps.network.random and self.context.has_data:
            say(
                f"caution: {self.name} rests on what its encoder has learned, and this one's weights are random"
            )
        return taps

    def stages(self) -> Sequence[Stage]:
        return [self._first, self._scale]

    def predictor(self) -> nn.Module:
        return self._predictor


class Padim(OneClassMethod):
    """A Gaussian of an encoder's features at each place."""

    name: ClassVar[str] = "padim"
    summary: ClassVar[str] = "anomalies by a Gaussian of frozen features at each place; nothing is trained"
    source: ClassVar[str] = "Defard et al., ICPR 2021 workshops (arXiv 2011.08785)"
    Config: ClassVar[type[MethodConfig]] = PadimConfig
    config: PadimConfig

    def look_and_scorer(self) -> tuple[nn.Module, OneClassScorer]:
        taps, config = self.taps(), self.config
        return taps, PadimScorer(taps.channels, config.channels, config.reduce, config.sigma)


class Patchcore(OneClassMethod):
    """A memory of patches of normal images."""

    name: ClassVar[str] = "patchcore"
    summary: ClassVar[str] = (
        "anomalies by the distance of patches to remembered normal ones; nothing is trained"
    )
    source: ClassVar[str] = "Roth et al., CVPR 2022 (arXiv 2106.08265)"
    Config: ClassVar[type[MethodConfig]] = PatchcoreConfig
    config: PatchcoreConfig

    def look_and_scorer(self) -> tuple[nn.Module, OneClassScorer]:
        taps, config = self.taps(), self.config
        return taps, PatchcoreScorer(
            taps.channels, config.coreset, config.neighbours, config.sigma, config.chunk
        )


class ReverseDistillationMethod(OneClassMethod):
    """A student that reproduces an encoder's maps of normal images only."""

    name: ClassVar[str] = "reverse_distillation"
    summary: ClassVar[str] = "anomalies by what a student of normal images cannot reproduce of its teacher"
    source: ClassVar[str] = "Deng and Li, CVPR 2022 (arXiv 2201.10703)"
    Config: ClassVar[type[MethodConfig]] = MappedConfig
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "learn": {
            "epochs": 200,
            "optimizer": "adam",
            "lr": 0.005,
            "betas": [0.5, 0.999],
            "weight_decay": 0.0,
            "schedule": "constant",
            "warmup_epochs": 0,
            "clip_norm": 0.0,
            "select": "last",
        },
        "scale": {},
    }
    config: MappedConfig

    def look_and_scorer(self) -> tuple[nn.Module, OneClassScorer]:
        taps = self.taps()
        return taps, ReverseDistillation.of(taps, self.config.reduce, self.config.sigma)


class Reconstruction(OneClassMethod):
    """An auto-encoder of normal images."""

    name: ClassVar[str] = "reconstruction"
    summary: ClassVar[str] = (
        "anomalies by the error of an auto-encoder; blurred images score low, which it says"
    )
    Config: ClassVar[type[MethodConfig]] = ReconstructionConfig
    backbone: ClassVar[Mapping[str, Any]] = {}
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "learn": {"epochs": 100, "optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0},
        "scale": {},
    }
    config: ReconstructionConfig

    def look_and_scorer(self) -> tuple[nn.Module, OneClassScorer]:
        config = self.config
        return Pixels(), PixelReconstruction(
            self.context.task.channels, config.width, config.steps, config.code, config.reduce, config.sigma
        )
