"""Randomness as a function of where a run is, so that a killed run needs no saved generator states.

Whatever is random in a training step is drawn from generators seeded with the run's seed and the step's place;
repeating the step repeats the draws.
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(*place: int | str) -> int:
    """A seed in ``[0, 2^63)`` from a place such as ``(seed, "augment", stage, step, rank)``."""
    text = "/".join(str(part) for part in place)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator_at(*place: int | str) -> torch.Generator:
    """A CPU generator for one place."""
    return torch.Generator().manual_seed(derive_seed(*place))


def seed_globals(*place: int | str) -> None:
    """Seeds the global generators (dropout, drop path and weight initialisation draw from them)."""
    seed = derive_seed(*place)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - third-party layers may draw from it
    torch.manual_seed(seed)


@contextmanager
def undisturbed_generators() -> Iterator[None]:
    """Whatever is seeded and drawn within, the global generators are afterwards as they were."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - as above
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002 - as above
