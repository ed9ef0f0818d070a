"""Attention over frozen tokens that keeps nothing of their size for the backward pass but the tokens themselves.

Keys and values come as they are stored: in half precision, in 8 bits with scales, or as factors of low rank. They
are cast one layer at a time where they are used, in the forward pass and again in the backward pass.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


@dataclass(frozen=True)
class FrozenTokens:
    """Keys and values of tokens as products of a stored factor and a small map.

    ``keys`` is the stored factor ``T``; the keys themselves are ``T`` without a map, ``T * map`` with a scale
    ``[b l h 1 d]``, or ``T @ map`` with a matrix ``[b l h r d]``. The same for values.

    Attributes:
        keys: stored factor, any dtype.
        values: stored factor, any dtype.
        key_map: scale or matrix, or None.
        value_map: scale or matrix, or None.
        is_scale: whether the maps are scales of the features rather than matrices.
    """

    keys: Shaped[Tensor, "b l h k r"]
    values: Shaped[Tensor, "b l h k r"]
    key_map: Shaped[Tensor, "b l h s d"] | None = None
    value_map: Shaped[Tensor, "b l h s d"] | None = None
    is_scale: bool = False

    def dense(self) -> tuple[Float[Tensor, "b l h k d"], Float[Tensor, "b l h k d"]]:
        """Keys and values themselves, in float32."""
        return (
            _mapped(self.keys.float(), self.key_map, self.is_scale),
            _mapped(self.values.float(), self.value_map, self.is_scale),
        )

    def attend(self, queries: Float[Tensor, "#b l h n d"]) -> Float[Tensor, "b l h n d"]:
        """``softmax(q k^T / sqrt(d)) v`` for every image, layer and head.

        Computed in the type of an autocast context where there is one, else in that of the queries; the softmax
        in float32. Queries that are the same for all images have batch size 1.
        """
        kind = queries.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else queries.dtype
        with torch.autocast(kind, enabled=False):
            attended: Tensor = _Attend.apply(
                queries, self.keys, self.values, self.key_map, self.value_map, self.is_scale, dtype
            )
        return attended


def _mapped(factor: Tensor, by: Tensor | None, is_scale: bool) -> Tensor:
    if by is None:
        return factor
    return factor * by.to(factor.dtype) if is_scale else factor @ by.to(factor.dtype)


def _mapped_back(queries: Tensor, by: Tensor | None, is_scale: bool) -> Tensor:
    """``queries @ map^T``: queries against the keys' factor instead of the keys."""
    if by is None:
        return queries
    return queries * by.to(queries.dtype) if is_scale else queries @ by.to(queries.dtype).transpose(-2, -1)


class _Attend(torch.autograd.Function):
    """Attention that saves only its inputs, and casts and multiplies them again in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        key_map: Tensor | None,
        value_map: Tensor | None,
        is_scale: bool,
        dtype: torch.dtype,
    ) -> Tensor:
        ctx.save_for_backward(queries, keys, values, key_map, value_map)
        ctx.is_scale, ctx.dtype = is_scale, dtype
        layers = []
        for layer in range(keys.shape[1]):
            attention, _ = _attention(queries, keys, key_map, layer, is_scale, dtype)
            attended = attention @ values[:, layer].to(dtype)
            layers.append(_mapped(attended, _at(value_map, layer), is_scale))
        return torch.stack(layers, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        queries, keys, values, key_map, value_map = ctx.saved_tensors
        per_layer = []
        for layer in range(keys.shape[1]):
            attention, scale = _attention(queries, keys, key_map, layer, ctx.is_scale, ctx.dtype)
            outward = _mapped_back(gradient[:, layer].to(ctx.dtype), _at(value_map, layer), ctx.is_scale)
            slope = (outward @ values[:, layer].to(ctx.dtype).transpose(-2, -1)).float()
            weights = attention.float()
            logits = (weights * (slope - (slope * weights).sum(-1, keepdim=True))).to(ctx.dtype)
            inward = (logits @ keys[:, layer].to(ctx.dtype)) * scale
            inward = _mapped(inward, _at(key_map, layer), ctx.is_scale)
            per_layer.append(inward.sum(0, keepdim=True) if len(queries) == 1 else inward)
        return torch.stack(per_layer, 1).to(queries.dtype), None, None, None, None, None, None


def _attention(
    queries: Tensor, keys: Tensor, key_map: Tensor | None, layer: int, is_scale: bool, dtype: torch.dtype
) -> tuple[Tensor, float]:
    """Attention ``[b h n k]`` of one layer, and the scale of its logits."""
    scale = queries.shape[-1] ** -0.5
    mapped_queries = _mapped_back(queries[:, layer].to(dtype), _at(key_map, layer), is_scale)
    logits = (mapped_queries @ keys[:, layer].to(dtype).transpose(-2, -1)) * scale
    return logits.softmax(-1, dtype=torch.float32).to(dtype), scale


def _at(by: Tensor | None, layer: int) -> Tensor | None:
    return None if by is None else by[:, layer]
