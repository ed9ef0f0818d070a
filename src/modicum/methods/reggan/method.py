"""RegGAN as a method: one stage, of which the generator is what translates."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modicum.methods.base import Context, Method, MethodConfig, Stage
from modicum.methods.reggan.config import TRAINING, RegGanConfig
from modicum.methods.reggan.stages import RegGanStage, inward, outward


class Translation(nn.Module):
    """A translator of images in [0, 1].

    Args:
        translator: translates images in [-1, 1].
    """

    def __init__(self, translator: nn.Module) -> None:
        super().__init__()
        self.translator = translator

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels h w"]:
        """Translations in [0, 1]."""
        return outward(self.translator(inward(images)))


class RegGan(Method):
    """Translates one modality into another, learned from pairs that lie only roughly on each other."""

    name: ClassVar[str] = "reggan"
    summary: ClassVar[str] = (
        "translation between modalities from roughly aligned pairs: registration learns beside the generator"
    )
    source: ClassVar[str] = "Kong et al., NeurIPS 2021, arXiv 2110.06465"
    tasks: ClassVar[tuple[str, ...]] = ("image-to-image",)
    Config: ClassVar[type[MethodConfig]] = RegGanConfig
    training: ClassVar[Mapping[str, Any]] = TRAINING
    image: ClassVar[Mapping[str, Any]] = {"size": (256, 256)}

    def __init__(self, config: RegGanConfig, context: Context) -> None:
        super().__init__(config, context)
        channels = context.task.channels, context.task.num_outputs
        self._stage = RegGanStage(config, context.image_size, channels)
        self._predictor = Translation(self._stage.base.translator())

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return self._predictor

    @torch.no_grad()
    def displacement(
        self, image: Float[Tensor, "b c h w"], target: Float[Tensor, "b channels h w"]
    ) -> Float[Tensor, "b 2 h w"]:
        """Where targets lie against the translations of images: ``warp(translation, field)`` is like the target.

        This aligns two modalities: as a translation lies on its image, ``warp(image, field)`` lies on the target.

        Args:
            image: sources in [0, 1], of the size that was learned from.
            target: pictures of the other modality in [0, 1].

        Returns:
            Displacements in pixels, rows (down) first, then columns (right), as :func:`~modicum.nn.warp` takes them.

        Raises:
            InputError: the mode has no registration.
        """
        return self._stage.displacement({"image": image, "target": target})
