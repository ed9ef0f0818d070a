"""Full fine-tuning: every parameter of the backbone and a new head learn."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import nn

from modicum.methods.base import Context, Method, MethodConfig, Stage
from modicum.methods.parameter_groups import layerwise_groups
from modicum.methods.supervised import NetworkStage
from modicum.nn import Backbone, Classifier, linear_head
from modicum.nn.drop_path import add_drop_path
from modicum.nn.patch_pooling import Pool, near_zero_head, pool_patches
from modicum.nn.plain_vit import is_plain_vit, plain_vit


class FullConfig(MethodConfig):
    """Settings of full fine-tuning."""

    dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of features set to zero before the head in training."
    )
    backbone_lr_scale: float = Field(
        1.0, gt=0, description="Learning rate of the backbone as a multiple of the head's."
    )
    pool: Pool | Literal["auto"] = Field(
        "backbone",
        description="backbone: its own pooling and norm; mean: mean of the patches and a new norm, with a head that "
        "starts at logits near zero (MAE, MRM), for plain vision transformers; auto: mean for these, else backbone.",
    )
    head_norm: bool = Field(
        False,
        description="A layer norm between pooled features and head (BenchX); where patches are pooled, there is one.",
    )
    drop_path: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of images whose branch the last block leaves out in training, rising from 0 at the first "
        "(MAE, MRM: 0.1); for plain vision transformers.",
    )
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Factor on the learning rate from a block to the one before it (MAE: 0.65); for plain vision "
        "transformers.",
    )
    decay_vectors: bool = Field(
        True,
        description="Whether weight decay also pulls biases, norms and other one-dimensional tensors (MAE: no).",
    )
    decay_embeddings: bool = Field(
        True,
        description="Whether weight decay also pulls the class token, the positions and whatever else timm exempts for "
        "the backbone (MAE: no).",
    )


class FineTuneStage(NetworkStage):
    """Minimises the task's loss over all parameters of one network."""

    def __init__(self, network: Classifier, loss: nn.Module, config: FullConfig) -> None:
        super().__init__(network, loss)
        self.network: Classifier = network
        self._config = config

    def parameter_groups(self) -> Sequence[Any]:
        config = self._config
        if config.layer_decay < 1 or not (config.decay_vectors and config.decay_embeddings):
            return layerwise_groups(
                self.network,
                config.layer_decay,
                decay_vectors=config.decay_vectors,
                decay_embeddings=config.decay_embeddings,
                backbone_lr_scale=config.backbone_lr_scale,
            )
        return [
            {"params": list(self.network.backbone.parameters()), "lr_scale": config.backbone_lr_scale},
            {"params": list(self.network.head.parameters())},
        ]


class Full(Method):
    """Fine-tunes everything."""

    name: ClassVar[str] = "full"
    summary: ClassVar[str] = "fine-tune every parameter; the reference, and the most memory"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "anomaly")
    Config: ClassVar[type[MethodConfig]] = FullConfig

    def __init__(self, config: FullConfig, context: Context) -> None:
        super().__init__(config, context)
        backbone = context.backbone()
        head = _prepared(backbone, config, context.task.num_outputs)
        self._stage = FineTuneStage(Classifier(backbone, head), context.loss(), config)

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return self._stage.network

    def merge(self) -> nn.Module:
        return self._stage.network.eval()


def _prepared(backbone: Backbone, config: FullConfig, num_outputs: int) -> nn.Module:
    """Applies the settings to a backbone, in place, and returns its head."""
    pool = config.pool
    if pool == "auto":
        pool = "mean" if is_plain_vit(backbone) else "backbone"
    for setting, value, usual in (
        ("pool", pool, "backbone"),
        ("drop_path", config.drop_path, 0),
        ("layer_decay", config.layer_decay, 1),
    ):
        if value != usual:
            plain_vit(backbone, f"full with {setting}={value}")
    add_drop_path(backbone.body, config.drop_path)
    if pool == "backbone":
        head = linear_head(backbone.num_features, num_outputs, config.dropout)
        return nn.Sequential(nn.LayerNorm(backbone.num_features), *head) if config.head_norm else head
    pool_patches(backbone.body)
    return nn.Sequential(nn.Dropout(config.dropout), near_zero_head(backbone.num_features, num_outputs))
