"""The methods ``mae`` and ``mrm``: their stage, and the encoder that is used afterwards."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, cast

from jaxtyping import Float
from torch import Tensor, nn

from modicum.data.reports import Vocabulary
from modicum.methods.base import Context, Method, MethodConfig, Stage
from modicum.methods.mrm.config import MAE_TRAINING, TRAINING, MaeConfig, MrmConfig
from modicum.methods.mrm.mae_stage import MaeStage
from modicum.methods.mrm.mrm_stage import MrmStage
from modicum.nn import Backbone, MaskedEncoder, xavier_initialise
from modicum.nn.plain_vit import plain_vit


class ReportTask(Protocol):
    """The interface that MRM needs of its task: the vocabulary of the ``tokens`` in its batches."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokenizer's vocabulary, learned from training reports."""


class PooledPatches(nn.Module):
    """A pre-trained encoder: from images in [0, 1], of the backbone's size, to the mean of their patches' tokens.

    Args:
        backbone: normalises images as in the encoder's training.
        encoder: the encoder, which holds the backbone's network.
    """

    def __init__(self, backbone: Backbone, encoder: MaskedEncoder) -> None:
        super().__init__()
        self.backbone, self.encoder = backbone, encoder

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        return self.encoder(self.backbone.normalise(images))[:, 1:].mean(1)


class Mae(Method):
    """Pre-trains a vision transformer on images alone."""

    name: ClassVar[str] = "mae"
    summary: ClassVar[str] = "pre-train a vision transformer on images without labels: predict hidden patches"
    source: ClassVar[str] = "He et al., CVPR 2022 (arXiv 2111.06377)"
    tasks: ClassVar[tuple[str, ...]] = ("image-text",)
    Config: ClassVar[type[MethodConfig]] = MaeConfig
    training: ClassVar[Mapping[str, Any]] = MAE_TRAINING
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"pretrain": {}}
    backbone: ClassVar[Mapping[str, Any]] = {"name": "vit_base_patch16_224", "weights": "random"}

    def __init__(self, config: MaeConfig, context: Context) -> None:
        super().__init__(config, context)
        self._backbone = context.backbone()
        body = plain_vit(self._backbone, self.name)
        if self._backbone.random:
            xavier_initialise(body)
        self._stage = self._make_stage(config, body)
        self._backbone.set_normalisation(**self._stage.normalise.as_dict())

    @classmethod
    def task_options(cls, config: MethodConfig) -> Mapping[str, Any]:
        """Reports are not read; images are stored at the size that is predicted."""
        assert isinstance(config, MaeConfig)
        return {"report_length": 0, "target_scale": config.target_scale}

    def _make_stage(self, config: Any, body: Any) -> MaeStage:
        return MaeStage(config, body)

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return PooledPatches(self._backbone, self._stage.encoder)

    def merge(self) -> nn.Module:
        """The encoder as a timm network, without a head."""
        return self._backbone.eval()


class Mrm(Mae):
    """Pre-trains a vision transformer on radiographs with their reports."""

    name: ClassVar[str] = "mrm"
    summary: ClassVar[str] = (
        "pre-train a vision transformer on radiographs and reports: predict what is hidden of both"
    )
    source: ClassVar[str] = "Zhou et al., ICLR 2023 (arXiv 2301.13155)"
    Config: ClassVar[type[MethodConfig]] = MrmConfig
    training: ClassVar[Mapping[str, Any]] = TRAINING
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"pretrain": {}}
    backbone: ClassVar[Mapping[str, Any]] = {"name": "vit_base_patch16_224.mae"}

    @classmethod
    def task_options(cls, config: MethodConfig) -> Mapping[str, Any]:
        """Reports of ``report_length`` tokens; images are stored at the size that is predicted."""
        assert isinstance(config, MrmConfig)
        return {"report_length": config.report_length, "target_scale": config.target_scale}

    def _make_stage(self, config: Any, body: Any) -> MaeStage:
        return MrmStage(config, body, cast(ReportTask, self.context.task).vocabulary)
