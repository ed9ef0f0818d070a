"""Made pairs for image-text methods: noise with six places in three states, and a short sentence for each place.

The set-up of the specification's learning check: 56 x 56 pixels, one sentence of four tokens a place, in random order.
"""

import numpy as np
import torch

from modicum.data.reports import Vocabulary

PLACES, STATES, SIDE = 6, 3, 56
WORDS = 4 + PLACES + STATES + PLACES
LENGTH = 1 + 4 * PLACES


def vocabulary(size: int = WORDS) -> Vocabulary:
    return Vocabulary(size, np.zeros(size, bool), pad=0, unknown=1, start=2, mask=3)


def pairs(count: int, seed: int, sentences: int = PLACES) -> dict[str, torch.Tensor]:
    """Images, and reports of the first ``sentences`` places in an order of their own."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randint(STATES, (count, PLACES), generator=generator)
    images = 0.5 + 0.1 * torch.randn(count, 1, SIDE, SIDE, generator=generator)
    for place in range(PLACES):
        top, left = 4 + 26 * (place // 3), 2 + 18 * (place % 3)
        images[:, :, top : top + 14, left : left + 14] += 0.3 * (states[:, place] - 1)[:, None, None, None]
    tokens, index = torch.zeros(count, LENGTH, dtype=torch.long), torch.full((count, LENGTH), -1)
    tokens[:, 0] = 2
    for row in range(count):
        for number, place in enumerate(torch.randperm(PLACES, generator=generator)[:sentences].tolist()):
            state = 4 + PLACES + int(states[row, place])
            at = slice(1 + 4 * number, 5 + 4 * number)
            tokens[row, at] = torch.tensor([4 + place, state, 4 + PLACES + STATES + place, state])
            index[row, at] = number + 1
    return {
        "image": images.clamp(0, 1).repeat(1, 3, 1, 1),
        "tokens": tokens,
        "tokens_mask": tokens != 0,
        "sentence_index": index,
        "row": torch.arange(count),
    }
