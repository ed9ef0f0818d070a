"""Plain vision transformers: one width, one grid of tokens, the same block all the way.

Methods that read or change the inside of a frozen transformer check here whether a backbone is one, and get its shape.
"""

from dataclasses import dataclass
from typing import Any

from torch import nn

from modicum.errors import InputError
from modicum.nn.backbones import Backbone

_EXAMPLES = (
    "vit_base_patch16_224, deit3_base_patch16_224, vit_base_patch14_reg4_dinov2 or vit_base_patch16_clip_224"
)


@dataclass(frozen=True)
class VitShape:
    """The shape of a plain vision transformer at its image size.

    Attributes:
        width: features of a token.
        depth: blocks.
        heads: attention heads of a block.
        head_dim: features of a head.
        patch_size: height and width of a patch in pixels.
        grid: rows and columns of patches.
        prefix_tokens: class and register tokens before the patches.
    """

    width: int
    depth: int
    heads: int
    head_dim: int
    patch_size: tuple[int, int]
    grid: tuple[int, int]
    prefix_tokens: int

    @property
    def tokens(self) -> int:
        """All tokens of an image: prefix and patches."""
        return self.prefix_tokens + self.grid[0] * self.grid[1]


def is_plain_vit(backbone: Backbone) -> bool:
    """Whether a backbone is a plain vision transformer; see :func:`plain_vit`."""
    try:
        plain_vit(backbone, "")
    except InputError:
        return False
    return True


def plain_vit(backbone: Backbone, wanted_by: str) -> Any:
    """The timm network inside a backbone, if it is a plain vision transformer.

    That is timm's ``VisionTransformer`` (ViT, DeiT, DINO, DINOv2, CLIP and SigLIP image towers, ...) and ``Eva``
    (rotary positions, split projections).

    Args:
        backbone: any backbone.
        wanted_by: name of the method, for the message.

    Raises:
        InputError: it is a convolutional network, a hierarchical transformer, or has attention that depends on
            more than queries and keys; the message names some that work.
    """
    from timm.layers.attention import Attention, AttentionRope
    from timm.models.eva import Eva, EvaAttention
    from timm.models.vision_transformer import VisionTransformer

    body = backbone.body
    if not isinstance(body, VisionTransformer | Eva):
        raise InputError(
            f"method {wanted_by} needs a plain vision transformer, and '{backbone.name}' is not one",
            f"pass for instance --backbone {_EXAMPLES}",
        )
    attentions = [getattr(block, "attn", None) for block in body.blocks]
    if not all(isinstance(attention, Attention | AttentionRope | EvaAttention) for attention in attentions):
        raise InputError(
            f"method {wanted_by} cannot read the attention of '{backbone.name}' (several branches or two maps a head)",
            f"pass for instance --backbone {_EXAMPLES}",
        )
    return body


def vit_shape(body: nn.Module) -> VitShape:
    """The shape of a network that :func:`plain_vit` returned."""
    first: Any = body.blocks[0].attn  # type: ignore[union-attr, index]
    embedding: Any = body.patch_embed
    grid = embedding.grid_size
    # After a convolutional stem, timm's patch_size counts features, not pixels.
    patch = [side // count for side, count in zip(embedding.img_size, grid, strict=True)]
    return VitShape(
        width=int(body.embed_dim),  # type: ignore[arg-type]
        depth=len(body.blocks),  # type: ignore[arg-type]
        heads=int(first.num_heads),
        head_dim=int(first.head_dim),
        patch_size=(int(patch[0]), int(patch[1])),
        grid=(int(grid[0]), int(grid[1])),
        prefix_tokens=int(body.num_prefix_tokens),  # type: ignore[arg-type]
    )
