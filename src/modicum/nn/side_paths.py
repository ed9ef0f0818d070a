"""Side paths along a frozen vision transformer: they read its tokens, and no gradient flows down through it.

Each replaces the transformer's stack of blocks, see :func:`replace_blocks`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modicum.errors import InputError


class LadderSide(nn.Module):
    """A stack of frozen blocks with a parallel ladder of narrow blocks, whose output it returns.

    Ladder side tuning (Sung et al., arXiv 2206.06522): side block ``i`` reads
    ``mu_i * down_i(h_i) + (1 - mu_i) * s_(i-1)``, where ``h_i`` are the frozen block's outputs, ``s`` the side's,
    ``mu_i = sigmoid(a_i / temperature)`` with ``a_i`` learned from 0, and ``s_0`` is a down-projection of the
    embeddings. The last ``s`` is normalised and projected up.

    Args:
        blocks: the frozen blocks.
        width: of the frozen tokens.
        reduction: how many times narrower the ladder is.
        temperature: of the gates.
    """

    def __init__(self, blocks: Iterable[nn.Module], width: int, reduction: int, temperature: float) -> None:
        from timm.models.vision_transformer import Block

        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.temperature = temperature
        narrow, depth = width // reduction, len(self.blocks)
        self.down = nn.ModuleList(nn.Linear(width, narrow) for _ in range(depth + 1))
        self.side = nn.ModuleList(Block(narrow, side_heads(narrow), qkv_bias=True) for _ in range(depth))
        self.gates = nn.Parameter(torch.zeros(depth))
        self.norm = nn.LayerNorm(narrow, eps=1e-6)
        self.up = nn.Linear(narrow, width)

    @property
    def learned(self) -> list[nn.Module]:
        """The trainable modules; the gates are a separate parameter."""
        return [self.down, self.side, self.norm, self.up]

    def forward(
        self, tokens: Float[Tensor, "b tokens width"], *args: Any, **options: Any
    ) -> Float[Tensor, "b tokens width"]:
        side = self.down[0](tokens)
        shares = torch.sigmoid(self.gates / self.temperature)
        for share, block, down, narrow in zip(shares, self.blocks, self.down[1:], self.side, strict=True):
            with torch.no_grad():
                tokens = block(tokens, *args, **options)
            side = narrow(share * down(tokens) + (1 - share) * side)
        return self.up(self.norm(side))


class CompactSide(nn.Module):
    """A stack of frozen blocks with a parallel sum of low-rank maps of their inputs, fed back into the last blocks.

    Disentangled transfer learning (Fu et al., arXiv 2312.07856): ``h_i = h_(i-1) + B_i A_i z_i`` over the inputs
    ``z_i`` of all blocks; from block ``fed_from`` on, ``h * sigmoid(beta * h)`` is added to the block's output.
    ``A`` is Kaiming-uniform (a = sqrt 5) and ``B`` zero, so that it starts as the frozen stack.

    Args:
        blocks: the frozen blocks.
        width: of the tokens.
        rank: of the maps.
        fed_from: the first block, counted from 1, whose output is changed.
        beta: sharpness of the activation.
    """

    def __init__(
        self, blocks: Iterable[nn.Module], width: int, rank: int, fed_from: int, beta: float
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.fed_from = fed_from
        self.beta = beta
        depth = len(self.blocks)
        self.down = nn.ParameterList(torch.empty(rank, width) for _ in range(depth))
        self.up = nn.ParameterList(torch.zeros(width, rank) for _ in range(depth))
        for matrix in self.down:
            nn.init.kaiming_uniform_(matrix, a=5**0.5)

    def forward(
        self, tokens: Float[Tensor, "b tokens width"], *args: Any, **options: Any
    ) -> Float[Tensor, "b tokens width"]:
        side = torch.zeros_like(tokens)
        for index, (block, down, up) in enumerate(zip(self.blocks, self.down, self.up, strict=True), start=1):
            side = side + tokens @ down.T @ up.T
            tokens = block(tokens, *args, **options)
            if index >= self.fed_from:
                tokens = tokens + side * torch.sigmoid(self.beta * side)
        return tokens


class SideNetwork(nn.Module):
    """A small separate network from images to features: four convolutions of stride 4, 2, 2 and 1 and a mean.

    Args:
        num_features: features out.
        width: channels of the last convolution.
    """

    def __init__(self, num_features: int, width: int) -> None:
        super().__init__()
        channels = (3, width // 4, width // 2, width, width)
        steps: Sequence[tuple[int, int]] = ((7, 4), (3, 2), (3, 2), (3, 1))
        layers: list[nn.Module] = []
        for (size, stride), before, after in zip(steps, channels[:-1], channels[1:], strict=True):
            convolution = nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False)
            layers += [convolution, nn.GroupNorm(1, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.out = nn.Linear(width, num_features)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Maps normalised images to features."""
        return self.out(self.layers(images).mean(dim=(2, 3)))


def replace_blocks(body: Any, stack: nn.Module, wanted_by: str) -> None:
    """Replaces all blocks of a plain vision transformer by one module.

    Raises:
        InputError: the network gives every block position embeddings of its own.
    """
    if getattr(body, "rope_mixed", False):
        raise InputError(
            f"method {wanted_by} does not work where each block has its own rotary positions",
            "choose for instance vit_base_patch16_224 or eva02_base_patch14_448",
        )
    body.blocks = (
        type(body.blocks)([stack]) if isinstance(body.blocks, nn.ModuleList) else nn.Sequential(stack)
    )


def side_heads(width: int) -> int:
    """Attention heads of a narrow block: of 32 features each where that divides its width, else one."""
    return width // 32 if width % 32 == 0 else 1
