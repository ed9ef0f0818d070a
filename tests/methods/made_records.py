"""Made pairs for MRM: an image with one bright blob, and a report that names its quadrant among words of noise."""

import torch

from modicum.data.reports import Vocabulary

FINDINGS = (4, 5, 6, 7)
"""Ids of the words that name the blob's quadrant."""
WORDS = 24
LENGTH = 14


def vocabulary(size: int = WORDS) -> Vocabulary:
    continuation = torch.zeros(size, dtype=torch.bool).numpy()
    return Vocabulary(size, continuation, pad=0, unknown=1, start=2, mask=3)


def records(
    count: int, seed: int, side: int = 64, slope: float = 0.2
) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """A batch, the quadrant of each image, and where its report names it.

    Args:
        count: pairs.
        seed: of all that is random.
        side: of the images in pixels.
        slope: how much brighter or darker the background gets across an image at most, beside a blob of 0.5.
    """
    generator = torch.Generator().manual_seed(seed)

    def spread(*shape: int) -> torch.Tensor:
        return 2 * torch.rand(shape, generator=generator) - 1

    quadrant = torch.randint(4, (count,), generator=generator)
    # Somewhere inside of its quadrant, on a background that grows brighter in any direction.
    centre = side * (0.25 + 0.5 * torch.stack([quadrant // 2, quadrant % 2]) + 0.06 * spread(2, count))
    lines = torch.arange(side).view(1, -1)
    down, right = (torch.exp(-((lines - c.view(-1, 1)) ** 2) / (2 * (side / 8) ** 2)) for c in centre)
    slope_down, slope_right = slope * spread(2, count, 1) * (lines / side - 0.5)
    images = (
        0.4
        + slope_down.unsqueeze(2)
        + slope_right.unsqueeze(1)
        + 0.5 * down.unsqueeze(2) * right.unsqueeze(1)
    )
    images = images.unsqueeze(1) + 0.02 * torch.randn(count, 1, side, side, generator=generator)
    tokens = torch.randint(8, WORDS, (count, LENGTH), generator=generator)
    tokens[:, 0], tokens[:, -1] = 2, 0
    place = torch.randint(1, LENGTH - 1, (count,), generator=generator)
    tokens[torch.arange(count), place] = 4 + quadrant
    batch = {
        "image": images.clamp(0, 1),
        "tokens": tokens,
        "tokens_mask": tokens != 0,
        "row": torch.arange(count),
    }
    return batch, quadrant, place
