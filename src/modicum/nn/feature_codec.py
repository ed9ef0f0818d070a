"""Storage formats of keys and values: encodes them as one record per image, and decodes them for a network.

Every record is a prefix code: fewer layers are a slice of its first axis, fewer tokens one of its last, so a store
serves every smaller setting. The token factor comes last in each (layer, key or value, head), after its small map.

================  ==========================================  =======================================
kind              record                                      bytes an image (12 layers, 12 heads, 205 x 64)
================  ==========================================  =======================================
``float32``       ``[L, 2, H, k, d]``                         15,114,240
``float16``       the same, half precision                    7,557,120
``bfloat16``      the same, as its 16 bits                    7,557,120
``int8``          ``[L, 2, H, 2 d + k d]`` bytes: float16     3,815,424
                  scale of each channel, then tokens
``lowrank8``      ``[L, 2, H, (d + k) 8]`` float16: the       1,239,552
                  best approximation of rank 8
================  ==========================================  =======================================
"""

import math
import re
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from modicum.errors import InputError, did_you_mean
from modicum.nn.frozen_tokens import FrozenTokens

KINDS = ("float32", "float16", "bfloat16", "int8", "lowrank8")
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_LARGEST_HALF = 65504.0


@dataclass(frozen=True)
class FeatureCodec:
    """Encodes keys and values as records, and decodes records.

    Args:
        kind: ``float32``, ``float16``, ``bfloat16``, ``int8``, or ``lowrankR`` with a rank R.
        tokens: tokens of each head.
        head_dim: features of a head.

    Raises:
        InputError: an unknown kind, or a rank that saves nothing.
    """

    kind: str
    tokens: int
    head_dim: int

    def __post_init__(self) -> None:
        if self.kind == "int8" and self.tokens * self.head_dim % 2:
            raise InputError(
                f"int8 needs an even number of features a head, not {self.tokens} tokens of {self.head_dim}",
                "set store_dtype=float16, or another rho",
            )
        if self.kind in {*_DTYPES, "int8"}:
            return
        if not re.fullmatch(r"lowrank[1-9]\d*", self.kind):
            raise InputError(f"unknown feature type '{self.kind}'", did_you_mean(self.kind, KINDS))
        if self.rank >= min(self.tokens, self.head_dim):
            raise InputError(
                f"'{self.kind}' saves nothing: {self.tokens} tokens of {self.head_dim} features have no higher rank",
                f"choose a rank below {min(self.tokens, self.head_dim)}, or int8",
            )

    @property
    def rank(self) -> int:
        """The rank of a low-rank kind."""
        return int(self.kind.removeprefix("lowrank"))

    @property
    def record_bytes_per_head(self) -> int:
        """Bytes per (layer, key or value, head)."""
        if self.kind == "int8":
            return 2 * self.head_dim + self.tokens * self.head_dim
        if self.kind in _DTYPES:
            return self.tokens * self.head_dim * _DTYPES[self.kind].itemsize
        return 2 * self.rank * (self.head_dim + self.tokens)

    def encode(self, features: Float[Tensor, "b l 2 h k d"]) -> Shaped[Tensor, "b l 2 h *record"]:
        """Encodes the keys and values of a batch of images as records.

        Raises:
            InputError: a feature is not finite, or larger than the kind can hold.
        """
        if not torch.compiler.is_exporting() and not math.isfinite(float(features.abs().max())):
            raise InputError(
                "the frozen network's features are not finite numbers",
                "check the backbone's weights, or set precision=32",
            )
        if self.kind == "float32":
            return features.float()
        if self.kind == "bfloat16":
            return features.bfloat16().view(torch.int16)  # numpy has no bfloat16
        if self.kind == "float16":
            return _as_half(features)
        return self._encode_int8(features.float()) if self.kind == "int8" else self._encode_low_rank(features)

    def decode(self, records: Shaped[Tensor, "b l 2 h *record"]) -> FrozenTokens:
        """Decodes records of :meth:`encode`, up to the kind's precision, without a copy of the size of the tokens."""
        if self.kind == "int8":
            scales = records[..., : 2 * self.head_dim].view(torch.float16)[..., None, :]
            tokens = records[..., 2 * self.head_dim :].view(torch.int8)
            tokens = tokens.unflatten(-1, (-1, self.head_dim))
            return FrozenTokens(tokens[:, :, 0], tokens[:, :, 1], scales[:, :, 0], scales[:, :, 1], True)
        if self.kind in _DTYPES:
            tokens = records.view(torch.bfloat16) if self.kind == "bfloat16" else records
            return FrozenTokens(tokens[:, :, 0], tokens[:, :, 1])
        edge = self.rank * self.head_dim
        maps = records[..., :edge].unflatten(-1, (self.rank, self.head_dim))
        tokens = records[..., edge:].unflatten(-1, (-1, self.rank))
        return FrozenTokens(tokens[:, :, 0], tokens[:, :, 1], maps[:, :, 0], maps[:, :, 1], False)

    def token_part(self, tokens: int) -> tuple[slice, ...]:
        """The index that cuts the first ``tokens`` tokens out of one (layer, key or value, head) of a record."""
        if self.kind in _DTYPES:
            return (slice(0, tokens), slice(None))
        if self.kind == "int8":
            return (slice(0, 2 * self.head_dim + tokens * self.head_dim),)
        return (slice(0, self.rank * (self.head_dim + tokens)),)

    def _encode_int8(self, features: Tensor) -> Tensor:
        largest = features.abs().amax(-2, keepdim=True)
        # The scale is rounded up to a float16, so that the largest value still fits.
        scales = (largest / 127 * (1 + 2**-10)).clamp_min(2**-14)
        if not torch.compiler.is_exporting() and scales.max() > _LARGEST_HALF:
            raise InputError(
                f"features reach {float(largest.max()):.3g}, too much for int8 with float16 scales",
                "set store_dtype=bfloat16",
            )
        half = scales.half()
        whole = (features / half.float()).round().clamp(-127, 127).to(torch.int8)
        packed = [half.contiguous().view(torch.uint8).flatten(-2), whole.view(torch.uint8).flatten(-2)]
        return torch.cat(packed, -1)

    def _encode_low_rank(self, features: Tensor) -> Tensor:
        exact = features.double() if features.device.type == "cpu" else features.float()
        _, vectors = torch.linalg.eigh(exact.transpose(-2, -1) @ exact)  # ascending eigenvalues
        basis = vectors[..., -self.rank :]
        packed = [basis.transpose(-2, -1).flatten(-2), (exact @ basis).flatten(-2)]
        return _as_half(torch.cat(packed, -1))


def _as_half(values: Tensor) -> Tensor:
    if torch.compiler.is_exporting():  # a graph has no errors: infinity says it
        return values.half()
    largest = float(values.abs().max())
    if largest > _LARGEST_HALF:
        raise InputError(
            f"features reach {largest:.3g}, more than float16 can hold", "set store_dtype=bfloat16 or float32"
        )
    return values.half()
