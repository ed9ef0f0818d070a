"""The small vision transformer trained next to a frozen one (FPT, section 3.4 of its specification; FPT+)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

_EPS = 1e-12


class SideBlock(nn.Module):
    """A pre-norm transformer block.

    Args:
        width: features of a token.
        heads: attention heads.
        recompute: compute the MLP again in the backward pass instead of keeping its activations: 7 of the 16
            token widths that a block keeps remain.
    """

    def __init__(self, width: int, heads: int, recompute: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.recompute = recompute
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=_EPS)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Float[Tensor, "b n w"]) -> Float[Tensor, "b n w"]:
        """The block's output for every token."""
        tokens = tokens + self._attention(self.norm1(tokens))
        if self.recompute and self.training and torch.is_grad_enabled():
            mixed: Tensor = checkpoint(self._mlp, tokens, use_reentrant=False, preserve_rng_state=False)
            return tokens + mixed
        return tokens + self._mlp(tokens)

    def _attention(self, tokens: Tensor) -> Tensor:
        parts = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        queries, keys, values = parts.unbind(0)
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        return self.proj(mixed.transpose(1, 2).flatten(2))

    def _mlp(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(self.norm2(tokens))))


class SideTransformer(nn.Module):
    """A vision transformer whose blocks each get a few extra tokens, which are dropped after the block.

    Args:
        depth: blocks.
        width: features of a token.
        heads: attention heads.
        patch_size: height and width of a patch in pixels.
        image_size: height and width of the images, multiples of the patch's.
        num_outputs: logits.
        recompute: see :class:`SideBlock`.
    """

    def __init__(
        self,
        depth: int,
        width: int,
        heads: int,
        patch_size: tuple[int, int],
        image_size: tuple[int, int],
        num_outputs: int,
        recompute: bool = True,
    ) -> None:
        super().__init__()
        self.image_size = image_size
        grid = image_size[0] // patch_size[0], image_size[1] // patch_size[1]
        self.patch_embed = nn.Conv2d(3, width, patch_size, stride=patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + grid[0] * grid[1], width))
        self.blocks = nn.ModuleList(SideBlock(width, heads, recompute) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=_EPS)
        self.head = nn.Linear(width, num_outputs)
        for parameter in (self.cls_token, self.positions):
            nn.init.trunc_normal_(parameter, std=0.02)
        self.apply(_initialise)

    def forward(
        self, images: Float[Tensor, "b 3 height width"], extra: Sequence[Float[Tensor, "b n w"]] | Tensor
    ) -> Float[Tensor, "b outputs"]:
        """Logits of normalised images; ``extra[i]`` is appended to the tokens at the input of block ``i``."""
        tokens = self.patch_embed(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(tokens.shape[0], -1, -1), tokens], 1) + self.positions
        num_tokens = tokens.shape[1]
        for block, added in zip(self.blocks, extra, strict=True):
            tokens = block(torch.cat([tokens[:, :num_tokens], added.to(tokens.dtype)], 1))
        return self.head(self.norm(tokens[:, 0]))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
