"""RegGAN as a method: one stage, whose generator translates images."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.methods.base import PREDICTOR, Context, Method, MethodConfig, Stage
from modicum.methods.reggan.config import TRAINING, RegGanConfig
from modicum.methods.reggan.stages import RegGanStage, inward, outward
from modicum.nn import integrate

REGISTRATION = "registration"
"""Name of the registration network among the parts that can be exported."""


class Translation(nn.Module):
    """Wraps a translator for images in [0, 1].

    Args:
        translator: translates images in [-1, 1].
    """

    def __init__(self, translator: nn.Module) -> None:
        super().__init__()
        self.translator = translator

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b channels h w"]:
        """Translations in [0, 1]."""
        return outward(self.translator(inward(images)))


class Registration(nn.Module):
    """Registers images in [0, 1] of one modality.

    Args:
        network: predicts displacements (or velocities) from moving and fixed images in [-1, 1].
        field: ``displacement`` or ``velocity``: the network's output.
    """

    def __init__(self, network: nn.Module, field: str = "displacement") -> None:
        super().__init__()
        self.network = network
        self.field = field

    def forward(
        self, moving: Float[Tensor, "b channels h w"], fixed: Float[Tensor, "b channels h w"]
    ) -> Float[Tensor, "b 2 h w"]:
        """The field for which ``warp(moving, field)`` matches ``fixed``: in pixels, rows (down) first."""
        output = self.network(inward(moving), inward(fixed))
        return integrate(output) if self.field == "velocity" else output


class AligningTranslation(Translation):
    """A translator that can also register its translations to images of the other modality.

    Its parameters are the translator's alone; the registration network is the stage's and is moved to the images' device.

    Args:
        translator: translates images in [-1, 1].
        stage: the stage that trained it, with registration.
    """

    def __init__(self, translator: nn.Module, stage: RegGanStage) -> None:
        super().__init__(translator)
        self._stage = (stage,)  # in a tuple, so that it is not a submodule (it holds the discriminators)

    @torch.no_grad()
    def displacement(
        self, image: Float[Tensor, "b c h w"], target: Float[Tensor, "b channels h w"]
    ) -> Float[Tensor, "b 2 h w"]:
        """Displacements between translations of images and targets: ``warp(translation, field)`` matches the target.

        This aligns two modalities: a translation is aligned with its image, so ``warp(image, field)`` is with the target.

        Args:
            image: sources in [0, 1], of the size of the training images.
            target: images of the other modality in [0, 1].

        Returns:
            Displacements in pixels, rows (down) first, then columns (right), as :func:`~modicum.nn.warp` takes them.

        Raises:
            InputError: images of another size or number of channels than the training images.
        """
        (stage,) = self._stage
        assert stage.registration is not None
        stage.registration.to(image.device).eval()
        return stage.displacement({"image": image, "target": target})


class RegGan(Method):
    """Translates one modality into another, learned from roughly aligned pairs."""

    name: ClassVar[str] = "reggan"
    summary: ClassVar[str] = (
        "translation between modalities from roughly aligned pairs: registration learns with the generator"
    )
    source: ClassVar[str] = "Kong et al., NeurIPS 2021, arXiv 2110.06465"
    tasks: ClassVar[tuple[str, ...]] = ("image-to-image",)
    Config: ClassVar[type[MethodConfig]] = RegGanConfig
    training: ClassVar[Mapping[str, Any]] = TRAINING
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"translate": {}}
    image: ClassVar[Mapping[str, Any]] = {"size": (256, 256)}

    config: RegGanConfig

    def __init__(self, config: RegGanConfig, context: Context) -> None:
        super().__init__(config, context)
        channels = context.task.channels, context.task.num_outputs
        self._stage = RegGanStage(config, context.image_size, channels)
        translator = self._stage.base.translator()
        self._predictor = (
            AligningTranslation(translator, self._stage) if config.registration else Translation(translator)
        )

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return self._predictor

    @torch.no_grad()
    def displacement(
        self, image: Float[Tensor, "b c h w"], target: Float[Tensor, "b channels h w"]
    ) -> Float[Tensor, "b 2 h w"]:
        """The predictor's :meth:`AligningTranslation.displacement`, only in modes with registration.

        Raises:
            InputError: the mode has no registration.
        """
        return self._stage.displacement({"image": image, "target": target})

    def export_network(self, part: str = PREDICTOR) -> tuple[nn.Module, dict[str, Any]]:
        """The generator (``predictor``), or the registration network (``registration``).

        :func:`~modicum.methods.exported.exported_network` rebuilds either from the card.
        """
        if part == REGISTRATION and not self.config.registration:
            raise InputError(
                f"mode '{self.config.mode}' learns no registration", "train with mode nc+r or c+r"
            )
        if part not in (PREDICTOR, REGISTRATION):
            raise InputError(
                f"method '{self.name}' has no part '{part}'", f"use {PREDICTOR} or {REGISTRATION}"
            )
        _, card = super().export_network()
        if part == REGISTRATION:
            assert self._stage.registration is not None
            card["registration_depth"] = self._stage.registration.depth
            return Registration(self._stage.registration, self.config.field), card
        return Translation(self._predictor.translator), card
