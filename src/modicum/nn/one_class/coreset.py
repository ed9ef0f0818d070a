"""A small part of many vectors that leaves none of them far from it."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def farthest_first(vectors: Float[Tensor, "n d"], count: int, first: int = 0) -> Int64[Tensor, "count"]:
    """Greedy k-centre: each next vector is the one farthest from all chosen so far; the earlier one of equals.

    No vector is then farther from the chosen ones than twice what the best choice of as many could reach
    (Gonzalez, Theoretical Computer Science 1985, 38, 293-306).

    Args:
        vectors: to choose from.
        count: how many; all where there are fewer.
        first: index of the first one.
    """
    count = min(count, len(vectors))
    chosen = torch.empty(count, dtype=torch.int64, device=vectors.device)
    squares = (vectors**2).sum(1)
    nearest = torch.full_like(squares, torch.inf)
    index = torch.tensor(first, device=vectors.device)
    for number in range(count):
        chosen[number] = index
        distance = squares + squares[index] - 2 * (vectors @ vectors[index])
        nearest = torch.minimum(nearest, distance)
        nearest[index] = -torch.inf  # never again, also where others lie at the same place
        index = nearest.argmax()
    return chosen


def random_projection(width: int, dimensions: int, seed: int) -> Float[Tensor, "width dimensions"]:
    """A Gaussian matrix that keeps distances, about (Johnson and Lindenstrauss)."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(width, dimensions, generator=draw) / dimensions**0.5
