"""Renames vision transformers of the ``transformers`` library to timm's names.

Three layouts, by the modules of that library (``ViTModel``, ``Dinov2Model``, ``SiglipVisionModel``): queries, keys and
values are three layers there and one in timm. The networks compute the same; tests hold each against its own formulae.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_VIT = "embeddings.patch_embeddings.projection.weight"
_SIGLIP = "vision_model.embeddings.patch_embedding.weight"
_VIT_NAMES = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.(\d+)\.(?:layernorm_before|norm1)\.", r"blocks.\1.norm1."),
    (r"^encoder\.layer\.(\d+)\.(?:layernorm_after|norm2)\.", r"blocks.\1.norm2."),
    (r"^encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.", r"blocks.\1.attn.\2."),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"blocks.\1.attn.proj."),
    (r"^encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1$", r"blocks.\1.ls\2.gamma"),
    (r"^encoder\.layer\.(\d+)\.(?:intermediate\.dense|mlp\.fc1)\.", r"blocks.\1.mlp.fc1."),
    (r"^encoder\.layer\.(\d+)\.(?:output\.dense|mlp\.fc2)\.", r"blocks.\1.mlp.fc2."),
    (r"^layernorm\.", "norm."),
)
_SIGLIP_NAMES = (
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^encoder\.layers\.(\d+)\.layer_norm([12])\.", r"blocks.\1.norm\2."),
    (r"^encoder\.layers\.(\d+)\.self_attn\.q_proj\.", r"blocks.\1.attn.query."),
    (r"^encoder\.layers\.(\d+)\.self_attn\.k_proj\.", r"blocks.\1.attn.key."),
    (r"^encoder\.layers\.(\d+)\.self_attn\.v_proj\.", r"blocks.\1.attn.value."),
    (r"^encoder\.layers\.(\d+)\.self_attn\.out_proj\.", r"blocks.\1.attn.proj."),
    (r"^encoder\.layers\.(\d+)\.mlp\.", r"blocks.\1.mlp."),
    (r"^post_layernorm\.", "norm."),
    (r"^head\.probe$", "attn_pool.latent"),
    (r"^head\.attention\.in_proj_(weight|bias)$", r"attn_pool.in_proj.\1"),
    (r"^head\.attention\.out_proj\.", "attn_pool.proj."),
    (r"^head\.layernorm\.", "attn_pool.norm."),
    (r"^head\.mlp\.", "attn_pool.mlp."),
)
_OF_QUERY = re.compile(r"^(blocks\.\d+\.attn)\.query\.(weight|bias)$")


def with_timm_names(weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A state dict under timm's names, where it is in one of the layouts; any other as it is.

    A text tower, a pooler and a mask token beside the image tower are left out. Whatever stands before the names
    (``vit.``, ``dinov2.``) goes.
    """
    for marker, names in ((_SIGLIP, _SIGLIP_NAMES), (_VIT, _VIT_NAMES)):
        found = next((name for name in weights if name == marker or name.endswith(f".{marker}")), None)
        if found is None:
            continue
        before = found.removesuffix(marker) + ("vision_model." if marker == _SIGLIP else "")
        inside = {name.removeprefix(before): t for name, t in weights.items() if name.startswith(before)}
        return _joined(_renamed(inside, names))
    return weights


def _renamed(state: Mapping[str, Tensor], names: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in names:
            changed, count = re.subn(pattern, replacement, name)
            if count:
                renamed[changed] = tensor
                break
    return renamed


def _joined(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values in one layer, and what the pooling's one layer holds in timm's two."""
    joined = dict(state)
    for name in state:
        match = _OF_QUERY.match(name)
        if match is None:
            continue
        start, end = match.groups()
        parts = [f"{start}.{part}.{end}" for part in ("query", "key", "value")]
        if all(part in state for part in parts):
            joined[f"{start}.qkv.{end}"] = torch.cat([joined.pop(part) for part in parts])
    for end in ("weight", "bias"):
        if (both := joined.pop(f"attn_pool.in_proj.{end}", None)) is not None:
            width = len(both) // 3
            joined[f"attn_pool.q.{end}"], joined[f"attn_pool.kv.{end}"] = both[:width], both[width:]
    if "pos_embed" in joined and joined["pos_embed"].ndim == 2:
        joined["pos_embed"] = joined["pos_embed"][None]
    return joined
