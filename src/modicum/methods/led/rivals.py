"""What LED is compared with, on the same data and loop: a U-Net that learns by the absolute error, and CUT."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modicum.methods.base import Context, Method, MethodConfig, Stage, TrainStage, Update
from modicum.methods.led.config import CAUTION, FLIPS
from modicum.methods.led.cut_stage import CUT_TRAINING, CutSettings, CutStage
from modicum.methods.led.pair_source import PairSettings, PairSource
from modicum.nn import ConditionalUnet
from modicum.tasks.base import Batch


class Cut(Method):
    """Gives images the style of the targets, without pairs."""

    name: ClassVar[str] = "cut"
    summary: ClassVar[str] = (
        "translation without pairs: places of an image stay what they are, in another style"
    )
    source: ClassVar[str] = "Park et al., ECCV 2020, arXiv 2007.15651"
    tasks: ClassVar[tuple[str, ...]] = ("image-to-image",)
    caution: ClassVar[str] = CAUTION
    Config: ClassVar[type[MethodConfig]] = CutSettings
    training: ClassVar[Mapping[str, Any]] = {**CUT_TRAINING, "augment": "none"}
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"translate": {}}
    image: ClassVar[Mapping[str, Any]] = {"size": (256, 256)}

    config: CutSettings

    def __init__(self, config: CutSettings, context: Context) -> None:
        super().__init__(config, context)
        channels = context.task.channels, context.task.num_outputs
        epochs = context.stage_training.get("translate", CUT_TRAINING)["epochs"]
        # Images that stay as they are go through the same generator.
        identity = config.nce_identity and channels[0] == channels[1]
        settings = config.model_copy(update={"nce_identity": identity})
        self._stage = CutStage(settings, "translate", ("image", "target"), channels, epochs, scored=True)

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return self._stage.translator


class RestorationConfig(PairSettings):
    """Settings of the restoring U-Net; its network is LED's without a condition."""

    degrade: Literal["pairs", "classical"] = Field(
        "pairs",
        description="Where poor twins of the targets come from: the images of the data, or classical.",
    )
    unet_channels: tuple[int, ...] = Field(
        (128, 128, 256, 256, 512, 512), min_length=1, description="Channels of the U-Net's levels."
    )
    attention_levels: tuple[int, ...] = Field((5,), description="Levels with attention, from 1 on.")
    blocks_per_level: int = Field(2, ge=1, description="Residual blocks of a level on the way down.")
    head_size: int = Field(8, ge=1, description="Channels of an attention head.")


class Restorer(nn.Module):
    """From images to images in one pass, as what is to be added to them.

    Args:
        network: a U-Net without a condition.
    """

    def __init__(self, network: ConditionalUnet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        times = torch.zeros(images.shape[0], dtype=torch.int64, device=images.device)
        return images + self.network(2 * images - 1, None, times).float()


class RestorationStage(TrainStage):
    """Learns by the mean absolute error."""

    name = "restore"

    def __init__(self, restorer: Restorer, pairs: PairSource) -> None:
        super().__init__()
        self.restorer = restorer
        self.pairs = pairs

    def updates(self) -> Sequence[Update]:
        return [Update("network", list(self.restorer.parameters()), self.losses)]

    def forward(self, batch: Batch) -> Float[Tensor, "b c h w"]:
        return self.restorer(batch["image"])

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        good, poor = self.pairs(batch)
        return {"absolute": (self.restorer(poor) - good).abs().mean()}


class RestorationUnet(Method):
    """Restores images by one pass of a U-Net."""

    name: ClassVar[str] = "restoration_unet"
    summary: ClassVar[str] = "enhance images by one pass of a U-Net that learned by the absolute error"
    source: ClassVar[str] = "the usual baseline of enhancement; U-Net as in Cheng et al., arXiv 2303.04603"
    tasks: ClassVar[tuple[str, ...]] = ("image-to-image",)
    caution: ClassVar[str] = CAUTION
    Config: ClassVar[type[MethodConfig]] = RestorationConfig
    training: ClassVar[Mapping[str, Any]] = {
        "epochs": 150,
        "batch_size": 3,
        "lr": 1e-4,
        "weight_decay": 1e-6,
        "augment": FLIPS,
    }
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"restore": {}}
    image: ClassVar[Mapping[str, Any]] = {"size": (512, 512), "resize": "pad"}

    config: RestorationConfig

    def __init__(self, config: RestorationConfig, context: Context) -> None:
        super().__init__(config, context)
        channels = context.task.num_outputs
        network = ConditionalUnet(
            channels,
            0,
            config.unet_channels,
            config.attention_levels,
            config.blocks_per_level,
            config.head_size,
        )
        self._stage = RestorationStage(Restorer(network), PairSource(config.degrade, config))

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return self._stage.restorer
