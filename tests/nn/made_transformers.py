"""Small transformers with random weights whose attention is far from even, and what timm itself says they attend to."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from modicum.nn import Backbone

SHAPES: dict[str, tuple[str, dict[str, Any], tuple[int, int]]] = {
    "plain": ("vit", {}, (64, 64)),
    "query and key norm": ("vit", {"qk_norm": True}, (64, 64)),
    "registers": ("vit", {"reg_tokens": 4}, (64, 64)),
    "layer scale": ("vit", {"init_values": 1e-1}, (64, 64)),
    "no class token": ("vit", {"class_token": False, "global_pool": "avg"}, (64, 64)),
    "patch 14, not square": ("vit", {"patch_size": 14}, (84, 56)),
    "distilled": ("distilled", {}, (64, 64)),
    "rotary": ("eva", {"use_rot_pos_emb": True, "qkv_fused": False}, (64, 64)),
    "rotary, registers": ("eva", {"use_rot_pos_emb": True, "num_reg_tokens": 3}, (64, 64)),
}


def made(kind: str, seed: int = 0, **changes: Any) -> Backbone:
    """A backbone of :data:`SHAPES`: width 48, 4 blocks, 3 heads, patches of 8 pixels where nothing else is said."""
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    family, options, size = SHAPES[kind]
    build = {"vit": VisionTransformer, "distilled": VisionTransformerDistilled, "eva": Eva}[family]
    settings = {"embed_dim": 48, "depth": 4, "num_heads": 3, "patch_size": 8, "num_classes": 0}
    torch.manual_seed(seed)
    body = build(img_size=size, **{**settings, **options, **changes})
    return with_body(uneven(body), size)


def with_body(body: nn.Module, size: tuple[int, int]) -> Backbone:
    """A backbone around a network that timm has no name for."""
    backbone = Backbone("test_vit", (16, 16))
    backbone.body, backbone.image_size, backbone.name = body.eval(), size, "made here"
    return backbone


def uneven(body: Any) -> Any:
    """The network with larger queries and keys, so that tokens differ in what they receive."""
    with torch.no_grad():
        for block in body.blocks:
            for name, parameter in block.attn.named_parameters():
                if name.split(".")[0] in {"qkv", "q_proj", "k_proj"}:
                    parameter.mul_(12).add_(0.05 * torch.randn_like(parameter))
        if getattr(body, "pos_embed", None) is not None:
            body.pos_embed.add_(0.5 * torch.randn_like(body.pos_embed))
    return body


@contextmanager
def explicit_attention(body: Any) -> Iterator[list[Tensor]]:
    """Attention ``[b, h, n, n]`` of every block, as timm's own explicit implementation computes it."""
    seen: list[Tensor] = []
    before = [block.attn.fused_attn for block in body.blocks]
    hooks = []
    for block in body.blocks:
        block.attn.fused_attn = False
        hooks.append(block.attn.attn_drop.register_forward_hook(lambda *a: seen.append(a[2].detach())))
    try:
        yield seen
    finally:
        for hook, block, fused in zip(hooks, body.blocks, before, strict=True):
            hook.remove()
            block.attn.fused_attn = fused


def images(backbone: Backbone, batch: int = 2, seed: int = 0) -> Tensor:
    """Normalised images of the backbone's size."""
    return torch.randn(batch, 3, *backbone.image_size, generator=torch.Generator().manual_seed(seed))
