"""The decoder of a masked autoencoder: from visible tokens to a prediction for every patch."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from modicum.nn.sincos_pos_embed import sincos_pos_embed


class PatchDecoder(nn.Module):
    """Replaces each hidden patch by a learned mask token and predicts all patches with a few transformer blocks.

    Args:
        encoder_width: features of the input tokens.
        grid: rows and columns of patches.
        values: values of a predicted patch: pixels times channels.
        width: features of a token inside the decoder.
        depth: blocks.
        heads: attention heads of a block.
    """

    def __init__(
        self,
        encoder_width: int,
        grid: tuple[int, int],
        values: int,
        width: int = 768,
        depth: int = 4,
        heads: int = 6,
    ) -> None:
        super().__init__()
        from timm.models.vision_transformer import Block

        self.embed = nn.Linear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(sincos_pos_embed(grid, width).float(), requires_grad=False)
        blocks: list[Any] = [Block(width, heads, qkv_bias=True) for _ in range(depth)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.predict = nn.Linear(width, values)

    def forward(
        self, tokens: Float[Tensor, "batch tokens features"], restore: Int64[Tensor, "batch patches"]
    ) -> Float[Tensor, "batch patches values"]:
        """Predictions for all patches in their order, visible ones included.

        Args:
            tokens: class token and visible patches.
            restore: see :class:`~modicum.nn.masked_encoder.PatchMask`.
        """
        tokens = self.embed(tokens)
        hidden = self.mask_token.to(tokens.dtype).expand(
            len(tokens), restore.shape[1] + 1 - tokens.shape[1], -1
        )
        patches = torch.cat([tokens[:, 1:], hidden], 1)
        patches = patches.gather(1, restore.unsqueeze(2).expand(-1, -1, patches.shape[2]))
        tokens = torch.cat([tokens[:, :1], patches], 1) + self.pos_embed
        return self.predict(self.norm(self.blocks(tokens)))[:, 1:]
