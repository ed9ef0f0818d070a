"""The U-Net of a conditional diffusion model: diffusers' blocks, for images of any size."""

from collections.abc import Sequence
from math import gcd
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from modicum.errors import InputError

GROUPS = 32
"""Groups of normalisation, at most."""


class ConditionalUnet(nn.Module):
    """Predicts an image from a noisy one and a condition, which are its input channels in this order.

    With LED's defaults and 3 + 3 channels it has 113,676,675 parameters (113,673,219 without a condition).

    Args:
        channels: of the image.
        condition_channels: of the condition; 0 for none.
        widths: channels of each level, from full size on; each level but the last halves the image.
        attention_levels: levels with attention, from 1 on; the middle always has it.
        blocks: residual blocks of a level on the way down; there is one more on the way up.
        head_size: channels of an attention head.
        zero_init: whether the last convolution begins at 0; the release leaves it as PyTorch makes it.
        checkpointing: whether activations are computed again in the backward pass instead of kept.

    Raises:
        InputError: levels or widths that cannot be.
    """

    def __init__(
        self,
        channels: int = 3,
        condition_channels: int = 3,
        widths: Sequence[int] = (128, 128, 256, 256, 512, 512),
        attention_levels: Sequence[int] = (5,),
        blocks: int = 2,
        head_size: int = 8,
        zero_init: bool = False,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        levels = len(widths)
        if beyond := [level for level in attention_levels if not 1 <= level <= levels]:
            raise InputError(
                f"attention at level {beyond[0]} of a network of {levels} levels",
                f"name levels from 1 to {levels}",
            )
        from diffusers import UNet2DModel  # takes seconds to import

        make: Any = UNet2DModel  # its modules are made in ways that type checkers cannot follow

        attends = [level in attention_levels for level in range(1, levels + 1)]
        self.body = make(
            in_channels=channels + condition_channels,
            out_channels=channels,
            block_out_channels=tuple(widths),
            layers_per_block=blocks,
            down_block_types=tuple("AttnDownBlock2D" if one else "DownBlock2D" for one in attends),
            up_block_types=tuple("AttnUpBlock2D" if one else "UpBlock2D" for one in reversed(attends)),
            attention_head_dim=head_size,
            norm_num_groups=gcd(GROUPS, *widths),
        )
        self.side_factor = 2 ** (levels - 1)
        if zero_init:
            nn.init.zeros_(self.body.conv_out.weight)
            nn.init.zeros_(self.body.conv_out.bias)
        if checkpointing:
            self.body.enable_gradient_checkpointing()

    def forward(
        self,
        noisy: Float[Tensor, "b c h w"],
        condition: Float[Tensor, "b condition_channels h w"] | None,
        times: Int64[Tensor, "b"],
    ) -> Float[Tensor, "b c h w"]:
        """The network's output; sides that its levels do not divide are continued by reflection and cut again."""
        height, width = noisy.shape[2:]
        given = noisy if condition is None else torch.cat([noisy, condition], 1)
        down, across = (-side % self.side_factor for side in (height, width))
        if down or across:
            mode = "reflect" if down < height and across < width else "replicate"
            given = functional.pad(given, (0, across, 0, down), mode=mode)
        output: Tensor = self.body(given, times, return_dict=False)[0]
        return output[:, :, :height, :width]
