"""A vision transformer that encodes only the visible patches (MAE, He et al., CVPR 2022, arXiv 2111.06377)."""

import math
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.nn.sincos_pos_embed import sincos_pos_embed


class PatchMask(NamedTuple):
    """Which patches of each image are hidden.

    Attributes:
        kept: indices of the visible patches, in the order in which the encoder gets them.
        restore: for each patch its index among visible and hidden ones, visible first.
        hidden: True where a patch is hidden.
    """

    kept: Int64[Tensor, "batch kept"]
    restore: Int64[Tensor, "batch patches"]
    hidden: Bool[Tensor, "batch patches"]


def number_kept(patches: int, ratio: float) -> int:
    """Visible patches of an image, ``floor(patches (1 - ratio))``: 49 of 196 at a ratio of 0.75.

    Raises:
        InputError: none or all of them would be visible.
    """
    # 10 (1 - 0.9) is 0.9999999999999998.
    kept = math.floor(patches * (1 - ratio) + 1e-9)
    if not 0 < kept < patches:
        raise InputError(
            f"a masked share of {ratio:g} leaves {kept} of {patches} patches visible",
            "use smaller patches, larger images or another share",
        )
    return kept


def mask_patches(noise: Float[Tensor, "batch patches"], ratio: float) -> PatchMask:
    """Hides a share of each image's patches: those with the largest noise.

    Args:
        noise: one uniform number a patch.
        ratio: share of the patches that is hidden.
    """
    order = noise.argsort(1)
    restore = order.argsort(1)
    kept = number_kept(noise.shape[1], ratio)
    return PatchMask(order[:, :kept], restore, restore >= kept)


class MaskedEncoder(nn.Module):
    """Encodes the visible patches of images with a plain timm transformer, whose weights keep their names.

    Position embeddings are fixed. The cost is that of the visible tokens: attention and MLPs never see hidden ones.

    Args:
        body: a timm ``VisionTransformer`` with a class token, position embeddings and a final norm.
        pos_embed: ``sincos`` sets the embeddings to :func:`sincos_pos_embed`; ``kept`` leaves them as they are.

    Raises:
        InputError: the transformer is of another kind.
    """

    def __init__(self, body: Any, pos_embed: Literal["sincos", "kept"] = "sincos") -> None:
        super().__init__()
        _check(body)
        self.body = body
        self.width: int = body.embed_dim
        self.grid: tuple[int, int] = tuple(body.patch_embed.grid_size)
        self.patch_size: int = body.patch_embed.patch_size[0]
        self.image_size: tuple[int, int] = tuple(body.patch_embed.img_size)
        if pos_embed == "sincos":
            with torch.no_grad():
                body.pos_embed.copy_(sincos_pos_embed(self.grid, self.width))
        body.pos_embed.requires_grad_(False)

    @property
    def num_patches(self) -> int:
        """Patches of an image."""
        return self.grid[0] * self.grid[1]

    def forward(
        self, images: Float[Tensor, "batch 3 height width"], kept: Int64[Tensor, "batch kept"] | None = None
    ) -> Float[Tensor, "batch tokens features"]:
        """The class token and the visible patches' tokens, after the final norm.

        Args:
            images: normalised, of the size the transformer was made for.
            kept: indices of the visible patches; None for all of them, in their order.
        """
        patches = self.body.patch_embed(images)
        if patches.ndim == 4:  # networks that take any size keep rows and columns apart
            patches = patches.flatten(1, 2)
        patches = patches + self.body.pos_embed[:, 1:]
        if kept is not None:
            patches = patches.gather(1, kept.unsqueeze(2).expand(-1, -1, self.width))
        first = (self.body.cls_token + self.body.pos_embed[:, :1]).expand(patches.shape[0], -1, -1)
        tokens = self.body.norm_pre(torch.cat([first, patches], 1))
        return self.body.norm(self.body.blocks(tokens))


def vision_transformer(
    image_size: int | tuple[int, int] = 224,
    patch_size: int = 16,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
) -> Any:
    """A timm ``VisionTransformer`` without a classifier, initialised as MAE does; ViT-B/16 by default.

    Its position embeddings are sines and cosines.

    Args:
        image_size: height and width in pixels, multiples of the patch size.
        patch_size: side of a patch in pixels.
        width: features of a token.
        depth: blocks.
        heads: attention heads, which divide the width.

    Raises:
        InputError: the numbers do not fit each other.
    """
    from timm.models.vision_transformer import VisionTransformer

    sides = (image_size, image_size) if isinstance(image_size, int) else image_size
    if any(side % patch_size for side in sides):
        raise InputError(
            f"patches of {patch_size} pixels do not divide images of {sides[0]}x{sides[1]}",
            f"use sides that are multiples of {patch_size}",
        )
    if width % heads or width % 4:
        raise InputError(
            f"a width of {width} does not divide into {heads} heads and the four parts of a position embedding",
            f"use a multiple of {math.lcm(heads, 4)}",
        )
    body = VisionTransformer(
        img_size=sides,
        patch_size=patch_size,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        num_classes=0,
        weight_init="skip",
    )
    xavier_initialise(body)
    assert body.pos_embed is not None
    with torch.no_grad():
        body.pos_embed.copy_(sincos_pos_embed(body.patch_embed.grid_size, width))
    return body


@torch.no_grad()
def xavier_initialise(module: nn.Module) -> None:
    """Initialises a network as MAE and MRM do.

    Linear layers are Xavier-uniform with zero biases (an attention's queries, keys and values as the one matrix they
    are stored in where timm does so, as three in PyTorch's own attention), a patch embedding is so on its flattened
    kernel, norms are 1 and 0, embeddings and single tokens N(0, 0.02), padding's embedding 0. Position embeddings of
    transformers are left alone.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
        elif isinstance(part, nn.Conv2d):
            nn.init.xavier_uniform_(part.weight.flatten(1))
        elif isinstance(part, nn.MultiheadAttention):
            for projection in part.in_proj_weight.chunk(3):
                nn.init.xavier_uniform_(projection)
            nn.init.zeros_(part.in_proj_bias)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
        if isinstance(part, nn.Linear | nn.LayerNorm | nn.Conv2d) and part.bias is not None:
            nn.init.zeros_(part.bias)
        for name in ("cls_token", "mask_token"):
            if isinstance(token := getattr(part, name, None), nn.Parameter):
                nn.init.normal_(token, std=0.02)
    # Last, as an output layer may share its weight.
    for part in module.modules():
        if isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=0.02)
            if part.padding_idx is not None:
                part.weight[part.padding_idx].zero_()


def _check(body: Any) -> None:
    from timm.models.vision_transformer import VisionTransformer

    wrong = None
    if not isinstance(body, VisionTransformer):
        wrong = f"'{type(body).__name__}' is not a plain vision transformer"
    elif body.cls_token is None or body.num_prefix_tokens != 1:
        wrong = "the transformer has not exactly one token (the class token) before its patches"
    elif body.pos_embed is None or body.pos_embed.shape[1] != body.patch_embed.num_patches + 1:
        wrong = "the transformer has no position embedding for each of its tokens"
    elif not isinstance(body.norm, nn.LayerNorm):
        wrong = "the transformer normalises after its pooling, not before it"
    elif body.patch_embed.proj.in_channels != 3:
        wrong = f"the transformer reads {body.patch_embed.proj.in_channels} channels, not 3"
    if wrong is not None:
        raise InputError(
            f"masked encoding: {wrong}",
            "pass for instance --backbone vit_base_patch16_224 (or vit_tiny, vit_small)",
        )
