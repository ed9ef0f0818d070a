"""A loss over a whole batch, and a small network, for the tests beside this file."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROWS = 6


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 4))


def two_views() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(ROWS, 5, generator=generator), torch.randn(ROWS, 5, generator=generator)


def nt_xent(first: Tensor, second: Tensor, temperature: float = 0.5) -> Tensor:
    """Each view against all others, its own left out (Chen et al., ICML 2020, equation 1)."""
    both = F.normalize(torch.cat([first, second]), dim=1)
    similarity = (both @ both.T / temperature).fill_diagonal_(-torch.inf)
    return F.cross_entropy(similarity, torch.arange(len(both)).roll(len(first)))
