"""Contrastive losses: two views of an image are to be alike, and unlike all other images of the batch."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.distributed import gather_with_gradient


def nt_xent(
    first: Float[Tensor, "b d"],
    second: Float[Tensor, "b d"],
    temperature: float = 0.07,
    *,
    not_negative: Bool[Tensor, "b b"] | None = None,
) -> Float[Tensor, ""]:
    """Normalised temperature-scaled cross-entropy (Chen et al., ICML 2020, equation 1).

    The mean over all ``2b`` vectors of ``-log(exp(z_i z_p / t) / sum_{j != i} exp(z_i z_j / t))``, ``z_p`` the other view
    of the same row. Vectors are brought to length 1. Under several processes, negatives come from all of them, with
    gradients. Memory: one matrix of ``(2b)^2`` float32 is kept for the gradient, two are there at once.

    Args:
        first: embeddings of one view.
        second: of the other, in the same order.
        temperature: of the similarities; 0.07 as in "Lesion-based Contrastive Learning" (MICCAI 2021, 3.5).
        not_negative: pairs of rows that are no negatives of each other (two patches of one image); in a single process.
            A row and itself do not count.

    >>> one = torch.eye(4)
    >>> round(nt_xent(one, one).item(), 7)
    3.7e-06
    """
    views = [F.normalize(gather_with_gradient(view.float()), dim=1) for view in (first, second)]
    vectors = torch.cat(views)
    count = len(views[0])
    logits = (vectors / temperature) @ vectors.T
    hidden = torch.eye(2 * count, dtype=torch.bool, device=logits.device)
    if not_negative is not None:
        is_itself = torch.eye(count, dtype=torch.bool, device=logits.device)
        hidden = hidden | (not_negative.to(logits.device) & ~is_itself).repeat(2, 2)
    partner = torch.arange(2 * count, device=logits.device).roll(count)
    return F.cross_entropy(logits.masked_fill_(hidden, -torch.inf), partner)  # in place: no second matrix


class NTXent(nn.Module):
    """:func:`nt_xent` with its temperature."""

    def __init__(self, temperature: float = 0.07) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(
        self,
        first: Float[Tensor, "b d"],
        second: Float[Tensor, "b d"],
        not_negative: Bool[Tensor, "b b"] | None = None,
    ) -> Float[Tensor, ""]:
        return nt_xent(first, second, self.temperature, not_negative=not_negative)
