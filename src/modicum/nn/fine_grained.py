"""Fine-grained prompts: learned queries that read a frozen transformer's tokens for a side network.

FPT: Huang, Cheng, Tam, Tang, MICCAI 2024, arXiv 2403.07576. FPT+: the same authors, IEEE TNNLS 36(9), 2025,
arXiv 2408.02426. Symbols: ``D`` width of the frozen network, ``d_s`` of the side network, ``L`` tapped layers,
``n`` prompts a layer, ``H`` heads, ``k`` tokens a head.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.nn.frozen_tokens import FrozenTokens
from modicum.nn.plain_vit import VitShape
from modicum.nn.side_transformer import SideTransformer


class PromptFusion(nn.Module):
    """Prompts attend to frozen keys and values, and are projected to the side network's width.

    ``Q = P W_in + b_in`` (FPT, prompts of width ``d_s``) or ``Q = LN(P)`` (FPT+, prompts of width ``D``);
    ``O = softmax(Q K^T / sqrt(d)) V`` per head; ``F = dropout(O W_out + b_out + P)`` in FPT and
    ``F = dropout((O + P) W_out + b_out)`` in FPT+. All weights are shared by the layers; only prompts are per layer.

    Args:
        layers: L.
        width: D.
        side_width: d_s.
        heads: H.
        num_prompts: n.
        prompt_width: D, or d_s.
        norm: LayerNorm before the attention (FPT+).
        project: a linear map to width D before the attention; needed where the prompts are narrower.
        prompt_std: of the prompts' normal initialisation.
        dropout: of the fused prompts, in training.

    Raises:
        InputError: a prompt width that neither skip connection fits, or that needs a projection and has none.
    """

    def __init__(
        self,
        layers: int,
        width: int,
        side_width: int,
        heads: int,
        num_prompts: int = 16,
        prompt_width: int | None = None,
        norm: bool = True,
        project: bool = False,
        prompt_std: float = 1e-6,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        prompt_width = width if prompt_width is None else prompt_width
        if prompt_width not in (width, side_width):
            raise InputError(
                f"prompts of width {prompt_width} fit neither the frozen width {width} nor the side width {side_width}",
                "set prompt_reduction to 1 or to side_reduction",
            )
        if prompt_width != width and not project:
            raise InputError(
                f"prompts of width {prompt_width} cannot attend to keys of width {width}",
                "set prompt_projection=true, or prompt_reduction=1",
            )
        self.heads = heads
        self.skip_first = prompt_width == width
        self.prompts = nn.Parameter(torch.randn(layers, 1, num_prompts, prompt_width) * prompt_std)
        self.norm = nn.LayerNorm(prompt_width, eps=1e-5) if norm else nn.Identity()
        self.project = nn.Linear(prompt_width, width) if project else nn.Identity()
        self.out = nn.Linear(width, side_width)
        self.dropout = nn.Dropout(dropout)

    def queries(self) -> Float[Tensor, "1 l h n d"]:
        """The prompts as queries of the attention; the same for every image."""
        queries = self.project(self.norm(self.prompts))
        return queries.unflatten(-1, (self.heads, -1)).permute(1, 0, 3, 2, 4)

    def forward(self, tokens: FrozenTokens) -> Float[Tensor, "l b n w"]:
        """Fused prompts of every layer and image."""
        return self.fuse(tokens.attend(self.queries()))

    def fuse(self, read: Float[Tensor, "b l h n d"]) -> Float[Tensor, "l b n w"]:
        """Projects the attention's output to the side network's width, with the skip connection."""
        read = read.permute(1, 0, 3, 2, 4).flatten(-2)
        prompts = self.prompts
        fused = self.out(read + prompts) if self.skip_first else self.out(read) + prompts
        return self.dropout(fused)


class FineGrainedSideNetwork(nn.Module):
    """The trainable part of FPT and FPT+: prompts, fusion and side transformer.

    Args:
        frozen: shape of the frozen transformer.
        layers: how many of its layers are tapped; the side network has a block for each.
        num_outputs: logits.
        image_size: height and width of the side network's images.
        side_reduction: D / d_s.
        num_prompts: n.
        prompt_reduction: D / width of the prompts.
        prompt_norm: LayerNorm before the attention.
        prompt_projection: linear map before the attention.
        prompt_std: of the prompts' initialisation.
        fusion_dropout: of the fused prompts.
        recompute: keep less for the backward pass; see :class:`~modicum.nn.side_transformer.SideBlock`.

    Raises:
        InputError: widths that do not divide, or an image size that patches do not.
    """

    def __init__(
        self,
        frozen: VitShape,
        layers: int,
        num_outputs: int,
        image_size: tuple[int, int],
        *,
        side_reduction: int = 8,
        num_prompts: int = 16,
        prompt_reduction: int = 1,
        prompt_norm: bool = True,
        prompt_projection: bool = False,
        prompt_std: float = 1e-6,
        fusion_dropout: float = 0.5,
        recompute: bool = True,
    ) -> None:
        super().__init__()
        width = _reduced(frozen, side_reduction)
        if any(side % patch for side, patch in zip(image_size, frozen.patch_size, strict=True)):
            raise InputError(
                f"side images of {image_size[0]}x{image_size[1]} pixels are not a multiple of the "
                f"{frozen.patch_size[0]}-pixel patches",
                f"set side_size to a multiple of {frozen.patch_size[0]}",
            )
        self.fusion = PromptFusion(
            layers,
            frozen.heads * frozen.head_dim,
            width,
            frozen.heads,
            num_prompts,
            frozen.heads * frozen.head_dim // prompt_reduction,
            prompt_norm,
            prompt_projection,
            prompt_std,
            fusion_dropout,
        )
        self.side = SideTransformer(
            layers, width, frozen.heads, frozen.patch_size, image_size, num_outputs, recompute
        )

    def forward(
        self, images: Float[Tensor, "b 3 height width"], tokens: FrozenTokens
    ) -> Float[Tensor, "b outputs"]:
        """Logits from normalised side images and the frozen tokens of the same images."""
        return self.side(images, self.fusion(tokens))


def _reduced(frozen: VitShape, side_reduction: int) -> int:
    """The side width, which the number of heads must divide."""
    width, left = divmod(frozen.width, side_reduction)
    if left or width % frozen.heads:
        fitting = [r for r in range(1, frozen.width + 1) if not frozen.width % (r * frozen.heads)]
        raise InputError(
            f"side_reduction={side_reduction}: a side width of {frozen.width}/{side_reduction} cannot be shared by "
            f"{frozen.heads} heads",
            f"choose one of {', '.join(map(str, fitting))}",
        )
    return width
