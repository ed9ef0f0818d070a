"""Reads keys and values of the most important tokens from the attention of a frozen transformer.

FPT (Huang et al., MICCAI 2024) and FPT+ (IEEE TNNLS 2025) let a small network read the keys and values inside the
self-attention of a frozen one. Here they are taken where timm's attention hands them to
``scaled_dot_product_attention``: after query/key normalisation and rotary positions, whatever the block looks like.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from modicum.errors import InputError
from modicum.nn.backbones import Backbone
from modicum.nn.plain_vit import plain_vit, vit_shape

Score = Literal["global", "class_token"]

# Queries scored at once: their attention over all keys, for every head, has to stay in the cache of a processor.
_CHUNK = 128


def kept_tokens(tokens: int, share: float) -> int:
    """``floor(tokens * share)``, at least 1, in exact arithmetic: 0.29 of 100 are 29, not 28."""
    return max(1, int(tokens * Fraction(str(share))))


def token_scores(
    queries: Float[Tensor, "b h n d"],
    keys: Float[Tensor, "b h n d"],
    score: Score = "global",
    scale: float | None = None,
    chunk: int = _CHUNK,
) -> Float[Tensor, "b h n"]:
    """How much attention each token receives, in each head; sums to 1 over the tokens.

    ``global``: the mean over all queries of the attention ``softmax(q k^T / sqrt(d))`` (FPT, important token
    selection). ``class_token``: the attention of the first token. The attention of all queries is never held at
    once: it is summed over ``chunk`` queries at a time, in float32.

    Args:
        queries: of one attention.
        keys: of the same.
        score: which queries count.
        scale: of the logits; ``1 / sqrt(d)`` by default.
        chunk: queries at a time.
    """
    scale = queries.shape[-1] ** -0.5 if scale is None else scale
    if score == "class_token":
        queries = queries[:, :, :1]
    count = queries.shape[2]
    transposed = keys.transpose(-2, -1)
    total = torch.zeros(keys.shape[:3], dtype=torch.float32, device=keys.device)
    for part in queries.split(chunk, dim=2):
        logits = (part * scale) @ transposed
        total += logits.softmax(-1, dtype=torch.float32).sum(2)
    return total / count


def attend_and_score(
    queries: Float[Tensor, "b h n d"], keys: Float[Tensor, "b h n d"], values: Float[Tensor, "b h n d"]
) -> tuple[Float[Tensor, "b h n d"], Float[Tensor, "b h n"]]:
    """Attention and its global :func:`token_scores` from one product of queries and keys.

    For processors, where a second product costs more than fused attention saves: on an Intel Xeon, 1,025 tokens,
    30 ms a layer instead of 25 for attention alone and 49 for both one after the other. One head and
    some queries at a time, so that their attention stays in the cache.
    """
    attended = torch.empty_like(queries, memory_format=torch.contiguous_format)
    scores = torch.zeros(keys.shape[:3], dtype=torch.float32)
    # A fused projection interleaves the heads; matrices that are read often are faster when contiguous.
    queries, keys, values = (
        (queries * queries.shape[-1] ** -0.5).contiguous(),
        keys.contiguous(),
        values.contiguous(),
    )
    for image in range(len(queries)):
        for head in range(queries.shape[1]):
            head_keys, head_values = keys[image, head].T, values[image, head]
            for start in range(0, queries.shape[2], _CHUNK):
                part = slice(start, start + _CHUNK)
                logits = (queries[image, head, part] @ head_keys).float()
                weights = logits.sub_(logits.amax(1, keepdim=True)).exp_()  # not yet divided by their sums
                sums = weights.sum(1).reciprocal_()
                scores[image, head].addmv_(weights.T, sums)
                mixed = weights.to(head_values.dtype) @ head_values
                attended[image, head, part] = mixed.mul_(sums[:, None])
    return attended, scores / queries.shape[2]


class KeyValueTaps(nn.Module):
    """Keys and values of the most important tokens of some blocks of a plain vision transformer.

    Args:
        backbone: the frozen network.
        layers: blocks to tap, from 0, ascending.
        rho: share of the tokens to keep in each head (FPT: 0.2).
        score: how the importance of a token is measured; see :func:`token_scores`.
        keep_prefix: whether class and register tokens can be selected (FPT: yes).
        wanted_by: name of the method, for messages.

    Raises:
        InputError: the backbone is not a plain vision transformer, has no class token to score by, or lacks a layer.
    """

    def __init__(
        self,
        backbone: Backbone,
        layers: Sequence[int],
        rho: float = 0.2,
        score: Score = "global",
        keep_prefix: bool = True,
        wanted_by: str = "fpt",
    ) -> None:
        super().__init__()
        body = plain_vit(backbone, wanted_by)
        shape = vit_shape(body)
        if score == "class_token" and getattr(body, "cls_token", None) is None:
            raise InputError(f"backbone '{backbone.name}' has no class token to score by", "use score=global")
        if (
            not layers
            or list(layers) != sorted(set(layers))
            or not 0 <= layers[0] <= layers[-1] < shape.depth
        ):
            raise InputError(
                f"layers {list(layers)} are not among the {shape.depth} blocks of '{backbone.name}'",
                f"choose ascending numbers from 0 to {shape.depth - 1}",
            )
        self.backbone = backbone
        self.layers = tuple(layers)
        self.score: Score = score
        self.first_candidate = 0 if keep_prefix else shape.prefix_tokens
        self.tokens = kept_tokens(shape.tokens - self.first_candidate, rho)
        self.shape = shape
        for block in body.blocks:  # the tap is in the fused attention, which is the same function
            block.attn.fused_attn = True

    def forward(self, images: Float[Tensor, "b 3 height width"]) -> Float[Tensor, "b l 2 h k d"]:
        """Keys and values of normalised images, tokens in descending order of their score."""
        return self.select(images)[0]

    @torch.no_grad()
    def select(
        self, images: Float[Tensor, "b 3 height width"]
    ) -> tuple[Float[Tensor, "b l 2 h k d"], Int[Tensor, "b l h k"]]:
        """Keys and values, and which tokens they belong to (counted with class and register tokens)."""
        taken: list[tuple[Tensor, Tensor]] = []

        def tap(queries: Tensor, keys: Tensor, values: Tensor, last: bool) -> Tensor | None:
            if keys.shape[1] != self.shape.heads:
                raise InputError(
                    f"backbone '{self.backbone.name}' shares keys among heads", "choose one that does not"
                )
            attended = None
            by_head = keys.device.type == "cpu" and not torch.compiler.is_exporting()  # a graph has no loops
            if self.score == "global" and by_head and not last:
                attended, scores = attend_and_score(queries, keys, values)
            else:
                scores = token_scores(queries, keys, self.score)
            scores = scores[:, :, self.first_candidate :]
            order = scores.topk(self.tokens, dim=-1).indices + self.first_candidate
            rows = order[..., None].expand(-1, -1, -1, keys.shape[-1])
            taken.append((torch.stack([keys.gather(2, rows), values.gather(2, rows)], 1), order))
            return attended

        with _Taps(self.layers, tap) as taps, suppress(_LastTap):
            self.backbone.body.forward_features(images)
        assert taps.calls > self.layers[-1], "a block of the backbone has no attention of its own"
        return torch.stack([t for t, _ in taken], 1), torch.stack([order for _, order in taken], 1)


class _LastTap(Exception):
    """Ends the forward pass: nothing after the last tapped attention matters."""


class _Taps(TorchFunctionMode):
    """Hands queries, keys and values of some attentions of a forward pass to a function.

    What the function returns, if anything, is the result of the attention.
    """

    def __init__(
        self, layers: Sequence[int], tap: Callable[[Tensor, Tensor, Tensor, bool], Tensor | None]
    ) -> None:
        super().__init__()
        self.calls = 0
        self._layers = frozenset(layers)
        self._last = max(layers)
        self._tap = tap

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        layer, self.calls = self.calls, self.calls + 1
        if layer in self._layers:
            queries, keys, values = args[:3]
            attended = self._tap(queries, keys, values, layer == self._last)
            if layer == self._last and not torch.compiler.is_exporting():  # which drops what nobody reads
                raise _LastTap
            if attended is not None:
                return attended
        return func(*args, **(kwargs or {}))
