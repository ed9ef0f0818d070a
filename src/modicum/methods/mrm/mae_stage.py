"""Masked autoencoding of images, alone or as MRM's first half."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from modicum.errors import InputError
from modicum.losses import masked_patch_loss, normalised_patches, patch_errors
from modicum.methods.base import TrainStage, Update
from modicum.methods.mrm.config import MaeConfig
from modicum.nn import (
    MaskedAutoencoder,
    MaskedEncoder,
    Normalisation,
    PatchMask,
    learnable_parameters,
    mask_patches,
    patchify,
)
from modicum.tasks.base import Batch


class MaeStage(TrainStage):
    """Learns to predict the hidden patches of images.

    In training, masks are drawn from PyTorch's global generator on the CPU; in validation they are functions of the
    ``row`` alone, so that values of different epochs are comparable.

    Args:
        config: the method's settings.
        body: a timm ``VisionTransformer`` (see :class:`~modicum.nn.MaskedEncoder`), which becomes the encoder as it is.
        make_network: builds the network around the encoder; by default with the decoder alone.

    Attributes:
        outputs: names of the columns that :meth:`forward` returns.
    """

    name = "pretrain"
    outputs: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self,
        config: MaeConfig,
        body: Any,
        make_network: Callable[[MaskedEncoder], MaskedAutoencoder] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        make = make_network or (
            lambda encoder: MaskedAutoencoder(encoder, config.target_scale, *decoder_shape(config))
        )
        self.network = make(MaskedEncoder(body, config.positions))
        self.normalise = Normalisation(config.mean, config.std)
        self.image_size = self.target_size

    @property
    def encoder(self) -> MaskedEncoder:
        """The part that is kept after training; ``encoder.body`` is a timm network."""
        return self.network.encoder

    @property
    def target_size(self) -> tuple[int, int]:
        """Height and width of a batch's images, which are predicted; ``target_scale`` times the network's input."""
        height, width = self.encoder.image_size
        return self.config.target_scale * height, self.config.target_scale * width

    def updates(self) -> Sequence[Update]:
        """One update; weight decay is for matrices, not for biases, norms and other vectors."""
        learnable = list(learnable_parameters(self.network))
        groups = [
            {"params": [parameter for parameter in learnable if parameter.ndim > 1]},
            {"params": [parameter for parameter in learnable if parameter.ndim <= 1], "weight_decay": 0.0},
        ]
        return [Update("network", groups, self.losses)]

    def persistent_modules(self) -> tuple[str, ...]:
        """The encoder, with its position embedding."""
        return "network.encoder", "network.encoder.body.pos_embed"

    # --- the step ------------------------------------------------------------------------------------------------

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses, weighted, with newly drawn masks."""
        return self.losses_at(batch, torch.rand(len(batch["image"]), self.noise_width))

    def losses_at(self, batch: Batch, noise: Float[Tensor, "b noise"]) -> dict[str, Tensor]:
        """``image``, the mean error of hidden patches, with the masks given by the noise."""
        return {"image": self._image_loss(batch, noise)[0]}

    @property
    def noise_width(self) -> int:
        """Number of uniform random numbers for one row's masks."""
        return self.encoder.num_patches

    def mask(self, noise: Float[Tensor, "b noise"], device: torch.device) -> PatchMask:
        """Which patches are hidden, from each row's noise."""
        noise = noise[:, : self.encoder.num_patches].to(device, non_blocking=True)
        return mask_patches(noise, self.config.image_mask_ratio)

    def views(self, batch: Batch) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b patches values"]]:
        """The network's input, and the patches that it is to predict.

        Raises:
            InputError: images of another size than :attr:`target_size`.
        """
        images = batch["image"]
        height, width = self.target_size
        if tuple(images.shape[2:]) != (height, width):
            raise InputError(
                f"images of {images.shape[2]}x{images.shape[3]} pixels, but the network predicts {height}x{width}",
                f"give images of {height}x{width} pixels, {self.config.target_scale} times the backbone's size",
            )
        large = self.normalise(images)
        small = large
        if self.config.target_scale > 1:
            small = F.interpolate(
                large, size=self.encoder.image_size, mode="bicubic", antialias=self.config.antialias
            )
        target = patchify(large, self.network.target_patch)
        return small, normalised_patches(target) if self.config.normalise_target else target

    def _image_loss(self, batch: Batch, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and the encoder's tokens."""
        mask = self.mask(noise, batch["image"].device)
        images, target = self.views(batch)
        predicted, tokens = self.network(images, mask)
        return masked_patch_loss(predicted, target, mask.hidden), tokens

    # --- validation ----------------------------------------------------------------------------------------------

    def noise_at(self, rows: Int64[Tensor, "b"]) -> Float[Tensor, "b noise"]:
        """Uniform random numbers that depend only on the row of the manifest."""
        generators = (torch.Generator().manual_seed(row) for row in rows.tolist())
        return torch.stack([torch.rand(self.noise_width, generator=generator) for generator in generators])

    def forward(self, batch: Batch) -> Float[Tensor, "b outputs"]:
        """The error of each row's hidden patches (see :attr:`outputs`)."""
        mask = self.mask(self.noise_at(batch["row"]), batch["image"].device)
        images, target = self.views(batch)
        predicted, _ = self.network(images, mask)
        return patch_errors(predicted, target, mask.hidden).unsqueeze(1)

    def validate(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        outputs = self(batch)
        return outputs, {"image": outputs[:, 0].mean()}


def decoder_shape(config: MaeConfig) -> tuple[int, int, int]:
    """Width, depth and heads of the decoder.

    Raises:
        InputError: the heads do not divide the width.
    """
    if config.decoder_width % config.decoder_heads:
        raise InputError(
            f"{config.decoder_heads} heads do not divide a decoder width of {config.decoder_width}",
            f"set decoder_width to a multiple of decoder_heads, such as {64 * config.decoder_heads}",
        )
    return config.decoder_width, config.decoder_depth, config.decoder_heads
