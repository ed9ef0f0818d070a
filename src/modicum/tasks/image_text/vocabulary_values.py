"""What a run folder keeps of its vocabulary, as JSON values."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from modicum.data.reports import Vocabulary


def vocabulary_values(vocabulary: Vocabulary) -> dict[str, Any]:
    """JSON values; the tokens that continue a word as bits, in hexadecimal digits."""
    return {
        "size": vocabulary.size,
        "continuation": np.packbits(vocabulary.continuation).tobytes().hex(),
        **{name: getattr(vocabulary, name) for name in ("pad", "unknown", "start", "mask")},
    }


def vocabulary_of(values: Mapping[str, Any]) -> Vocabulary:
    """The inverse of :func:`vocabulary_values`."""
    bits = np.frombuffer(bytes.fromhex(values["continuation"]), dtype=np.uint8)
    continuation = np.unpackbits(bits, count=values["size"]).astype(bool)
    return Vocabulary(**{**values, "continuation": continuation})
