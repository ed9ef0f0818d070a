"""Prompts: learned tokens inserted into a frozen vision transformer."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class PromptedBlock(nn.Module):
    """A transformer block that sees learned tokens (prompts) between the prefix tokens and the patches.

    Args:
        block: the frozen block.
        prefix: class and register tokens before the prompts.
        prompts: ``[1, n, width]``, this block's own; None where it keeps those of an earlier block.
        num_existing: how many prompts an earlier block inserted; this block's own replace them.
        removed: how many are removed after the block, for the layers after the last one.
    """

    def __init__(
        self, block: nn.Module, prefix: int, prompts: nn.Parameter | None, num_existing: int, removed: int
    ) -> None:
        super().__init__()
        self.block = block
        self.prefix = prefix
        self.prompts = prompts
        self.num_existing = num_existing
        self.removed = removed

    def forward(
        self, tokens: Float[Tensor, "b tokens width"], *args: Any, **options: Any
    ) -> Float[Tensor, "b tokens_after width"]:
        if self.prompts is not None:
            prompts = self.prompts.expand(tokens.shape[0], -1, -1)  # len() is one number in a graph
            tokens = torch.cat(
                (tokens[:, : self.prefix], prompts, tokens[:, self.prefix + self.num_existing :]), dim=1
            )
        tokens = self.block(tokens, *args, **options)
        if not self.removed:
            return tokens
        return torch.cat((tokens[:, : self.prefix], tokens[:, self.prefix + self.removed :]), dim=1)


def new_prompts(count: int, width: int, patch_size: tuple[int, int]) -> nn.Parameter:
    """Prompts ``[1, count, width]``, uniform within the Xavier bound of a patch embedding.

    The bound is ``sqrt(6 / (3 * patch height * patch width + width))`` (Jia et al., Visual Prompt Tuning,
    arXiv 2203.12119).
    """
    bound = math.sqrt(6 / (3 * patch_size[0] * patch_size[1] + width))
    return nn.Parameter(torch.empty(1, count, width).uniform_(-bound, bound))
