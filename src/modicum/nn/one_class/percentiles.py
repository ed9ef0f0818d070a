"""Scores of different scales on one: where they lie among those of held-out good images."""

import torch
from jaxtyping import Float
from torch import Tensor


def percentile_among(
    values: Float[Tensor, "*shape"], reference: Float[Tensor, "n"]
) -> Float[Tensor, "*shape"]:
    """The share of reference values below each value, linear between them; beyond them it goes on.

    Inside the reference 0 to 1. Beyond its ends it grows with the logarithm of the distance, counted in standard
    deviations of the reference, so that what is far from good keeps its order, and no single score outweighs all others.

    Args:
        values: to place.
        reference: of held-out good images, in any order.
    """
    ordered = reference.sort().values.to(values)
    count = len(ordered)
    spread = ordered.std(correction=0).clamp_min(1e-12) if count > 1 else ordered.new_tensor(1.0)
    flat = values.flatten().contiguous()
    above = torch.searchsorted(ordered, flat, right=True).clamp(1, max(1, count - 1))
    if count > 1:
        low, high = ordered[above - 1], ordered[above]
        inside = (above - 1 + (flat - low) / (high - low).clamp_min(1e-12)) / (count - 1)
    else:
        inside = torch.full_like(flat, 0.5)
    found = inside.clamp(0, 1)
    found = torch.where(flat > ordered[-1], 1 + torch.log1p((flat - ordered[-1]) / spread), found)
    found = torch.where(flat < ordered[0], -torch.log1p((ordered[0] - flat) / spread), found)
    return found.view(values.shape)


def ensemble_score(
    scores: Float[Tensor, "n scorers"], reference: Float[Tensor, "m scorers"]
) -> Float[Tensor, "n"]:
    """The mean over scorers of where an image's score lies among those of held-out good images."""
    columns = [percentile_among(column, own) for column, own in zip(scores.T, reference.T, strict=True)]
    return torch.stack(columns).mean(0)
