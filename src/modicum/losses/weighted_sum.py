"""A weighted sum of losses of the same inputs."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn


class WeightedSum(nn.Module):
    """``sum(factor * loss(*inputs))``.

    Args:
        terms: a factor and a loss each; all losses take the same inputs and give a scalar.

    >>> import torch
    >>> both = WeightedSum([(1.0, nn.L1Loss()), (0.5, nn.MSELoss())])
    >>> both(torch.tensor([2.0]), torch.tensor([0.0])).item()
    4.0
    """

    def __init__(self, terms: Sequence[tuple[float, nn.Module]]) -> None:
        super().__init__()
        self.factors = tuple(factor for factor, _ in terms)
        self.losses = nn.ModuleList(loss for _, loss in terms)

    def forward(self, *inputs: Any) -> Float[Tensor, ""]:
        first, *others = (
            factor * loss(*inputs) for factor, loss in zip(self.factors, self.losses, strict=True)
        )
        return sum(others, start=first)
