"""Finds a network's tensors in a state dict whose names begin with something else (``model.``, ``teacher.backbone.``)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from modicum.wording import count_of

AVERAGED = ("ema", "teacher", "averaged", "average")
"""Parts of a prefix that name averaged weights: the ones to use where the learned ones are there too."""
SLOW_QUERY = ("momentum", "encoder_k", "target")
"""Parts of a prefix that name the slow copy of a contrastive method, whose other encoder is the one that is used."""
COUNTER = "num_batches_tracked"
"""How many batches a normalisation has seen: weights of other frameworks and of PyTorch before 0.4.1 lack it."""


def prefixes_of(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[tuple[str, int]]:
    """What stands before a network's names in a state dict, and how many of its tensors have it, the most first.

    Args:
        state: any state dict.
        expected: the network's own.

    Returns:
        Prefixes (``""``, ``"model."``) with the number of tensors of the right shape. Of equal numbers, averaged weights
        come first, then in the order of the file.
    """
    counts: dict[str, int] = {}
    for name, tensor in state.items():
        rest, at = name, 0
        while True:
            if rest in expected:
                prefix = name[:at]
                counts[prefix] = counts.get(prefix, 0) + int(expected[rest].shape == tensor.shape)
            head, dot, rest = rest.partition(".")
            if not dot:
                break
            at += len(head) + 1
    return sorted(counts.items(), key=lambda item: (-item[1], _rank(item[0])))


def without_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, under the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def named_prefix(prefixes: list[tuple[str, int]], source: str) -> str:
    """Says which of the found prefixes is used."""
    prefix, count = prefixes[0]
    others = [f"'{name}'" for name, number in prefixes[1:] if number == count and name]
    besides = f"; the same are there under {', '.join(others[:3])}" if others else ""
    return f"weights '{source}': those under '{prefix}' are used{besides}"


def not_finite(state: Mapping[str, Tensor]) -> list[str]:
    """Names of tensors with values that are not finite numbers."""
    return [name for name, t in state.items() if t.is_floating_point() and not bool(torch.isfinite(t).all())]


def missing_words(missing: int, wrong: int, expected: int, example: str) -> str:
    """How much of a network was not found: ``90 of its 122 tensors are missing and ...``."""
    return f"{missing} of its {expected} tensors are missing and {wrong} have another shape (for instance '{example}')"


def names_in_file(state: Mapping[str, Tensor]) -> str:
    """The first names of a state dict, for a message about names that fit nothing."""
    names = [f"'{name}'" for name in list(state)[:2]]
    return f"the file has {count_of(len(state), 'tensor')}: {', '.join(names)}, ..."


def _rank(prefix: str) -> int:
    parts = prefix.replace(".", "_").split("_")
    if any(word in parts for word in AVERAGED):
        return 0
    return 2 if any(word in prefix for word in SLOW_QUERY) else 1
