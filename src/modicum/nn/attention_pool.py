"""Attention pooling: one vector of several tokens, read by their mean (CLIP, Radford et al., ICML 2021)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.nn.bert import check_heads


class AttentionPool(nn.Module):
    """The mean of the tokens is put before them, attends to all, and is projected.

    With positions, 16,887,808 parameters for 49 tokens of 2,048; without, 2,362,368 for 768, whatever their number, and
    then the order of the tokens does not matter.

    Args:
        width: features of a token.
        heads: attention heads.
        tokens: their number, for learned positions; None for no positions.
    """

    def __init__(self, width: int, heads: int = 8, tokens: int | None = None) -> None:
        super().__init__()
        check_heads(width, heads, "attention pool")
        self.heads = heads
        self.positions = None if tokens is None else nn.Parameter(torch.randn(tokens + 1, width) / width**0.5)
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

    def forward(
        self, tokens: Float[Tensor, "b n width"], present: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b width"]:
        """One vector a row.

        Args:
            tokens: features.
            present: tokens that count; a row without any gets a vector without meaning, and no NaN.
        """
        mask = None
        if present is None:
            mean = tokens.mean(1, keepdim=True)
        else:
            counts = present.sum(1).clamp_min(1)[:, None, None]
            mean = (tokens * present[..., None]).sum(1, keepdim=True) / counts
            mask = torch.cat([torch.ones_like(present[:, :1]), present], 1)[:, None, None, :]
        keys = torch.cat([mean.to(tokens.dtype), tokens], 1)
        if self.positions is not None:
            keys = keys + self.positions
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(keys[:, :1]), self.key(keys), self.value(keys))
        )
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.output(read.transpose(1, 2).flatten(2))[:, 0]
