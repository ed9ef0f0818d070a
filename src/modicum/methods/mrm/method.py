"""The methods ``mae`` and ``mrm``: their stage, and the encoder that is used afterwards."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, cast

from jaxtyping import Float
from torch import Tensor, nn

from modicum.data.reports import Vocabulary
from modicum.methods.base import Context, Method, MethodConfig, Stage
from modicum.methods.mrm.config import TRAINING, MaeConfig, MrmConfig
from modicum.methods.mrm.mae_stage import MaeStage
from modicum.methods.mrm.mrm_stage import MrmStage
from modicum.nn.plain_vit import plain_vit


class ReportTask(Protocol):
    """What MRM asks of its task: who made the ``tokens`` of its batches."""

    @property
    def vocabulary(self) -> Vocabulary:
        """Of the tokenizer, learned from training reports."""


class PooledPatches(nn.Module):
    """A pre-trained encoder: from images in [0, 1], of the backbone's size, to the mean of their patches' tokens.

    Args:
        stage: shares its networks.
    """

    def __init__(self, stage: MaeStage) -> None:
        super().__init__()
        self.normalise, self.encoder = stage.normalise, stage.encoder

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        return self.encoder(self.normalise(images))[:, 1:].mean(1)


class Mae(Method):
    """Pre-trains a vision transformer on images alone."""

    name: ClassVar[str] = "mae"
    summary: ClassVar[str] = "pre-train a vision transformer on images without labels: predict hidden patches"
    source: ClassVar[str] = "He et al., CVPR 2022 (arXiv 2111.06377)"
    tasks: ClassVar[tuple[str, ...]] = ("image-text",)
    Config: ClassVar[type[MethodConfig]] = MaeConfig
    training: ClassVar[Mapping[str, Any]] = TRAINING

    def __init__(self, config: MaeConfig, context: Context) -> None:
        super().__init__(config, context)
        self._stage = self._made(config, plain_vit(context.backbone(), self.name))

    def _made(self, config: Any, body: Any) -> MaeStage:
        return MaeStage(config, body)

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return PooledPatches(self._stage)


class Mrm(Mae):
    """Pre-trains a vision transformer on radiographs with their reports."""

    name: ClassVar[str] = "mrm"
    summary: ClassVar[str] = (
        "pre-train a vision transformer on radiographs and reports: predict what is hidden of both"
    )
    source: ClassVar[str] = "Zhou et al., ICLR 2023 (arXiv 2301.13155)"
    Config: ClassVar[type[MethodConfig]] = MrmConfig

    def _made(self, config: Any, body: Any) -> MaeStage:
        return MrmStage(config, body, cast(ReportTask, self.context.task).vocabulary)
