"""Position embeddings for another image size."""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.errors import InputError
from modicum.nn.backbones import Backbone

PositionResize = Literal["size", "scale"]


def resize_pos_embed(
    pos_embed: Float[Tensor, "1 n d"], old: tuple[int, int], new: tuple[int, int], prefix: int
) -> Float[Tensor, "1 m d"]:
    """Position embeddings resized bicubically by the factor ``(new + 0.1) / old``, as FPT's release resizes them.

    The factor, not the new size, sets where the old grid is read, which is not quite the same: white noise differs
    by 10 % (relative norm) from a resize to the new size. Embeddings of class and register tokens stay as they are.
    """
    kept, grid = pos_embed[:, :prefix], pos_embed[:, prefix:]
    planes = grid.transpose(1, 2).unflatten(2, old)
    factors = tuple((side + 0.1) / before for side, before in zip(new, old, strict=True))
    resized = F.interpolate(planes, scale_factor=factors, mode="bicubic", align_corners=False)
    return torch.cat([kept, resized.flatten(2).transpose(1, 2)], 1)


@torch.no_grad()
def with_resized_pos_embed(backbone: Backbone, image_size: tuple[int, int]) -> Backbone:
    """Changes a backbone's image size, resizing its position embeddings with :func:`resize_pos_embed`.

    Raises:
        InputError: the backbone has no learned position embeddings, or cannot change its size.
    """
    body: Any = backbone.body
    pos_embed = getattr(body, "pos_embed", None)
    if pos_embed is None or not hasattr(body, "set_input_size") or not hasattr(body, "num_prefix_tokens"):
        raise InputError(
            f"backbone '{backbone.name}' has no position embeddings to resize", "leave position_resize=size"
        )
    old = tuple(body.patch_embed.grid_size)
    prefix = pos_embed.shape[1] - old[0] * old[1]
    body.set_input_size(img_size=image_size)
    new = tuple(body.patch_embed.grid_size)
    body.pos_embed = nn.Parameter(resize_pos_embed(pos_embed.detach(), old, new, prefix))
    backbone.image_size = image_size
    return backbone
