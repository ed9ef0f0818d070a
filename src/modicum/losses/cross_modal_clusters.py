"""Prototypes that images and reports share: each predicts the cluster of the other."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from modicum.distributed import gather_with_gradient


def cross_modal_cluster_loss(
    images: Float[Tensor, "b d"],
    texts: Float[Tensor, "b d"],
    prototypes: Float[Tensor, "k d"],
    present: Bool[Tensor, "b"] | None = None,
    *,
    temperature: float = 0.2,
    epsilon: float = 0.05,
    iterations: int = 3,
) -> Float[Tensor, ""]:
    """Cross-modal prototype alignment of MGCA (Wang et al., NeurIPS 2022, arXiv 2210.06044).

    Images and reports are softly assigned to prototypes, equally many to each (Sinkhorn's iterations, as SwAV's); an
    image's softmax over prototypes is to be its report's assignment, and the other way round. Assignments are made over
    the rows of all processes, without gradient.

    Args:
        images: embeddings.
        texts: of their reports, in the same order.
        prototypes: learned; brought to length 1 here, as the embeddings are.
        present: rows that have a report.
        temperature: of the softmax.
        epsilon: of the assignments; smaller is harder.
        iterations: Sinkhorn's.
    """
    with torch.autocast(images.device.type, enabled=False):
        centres = F.normalize(prototypes.float(), dim=1)
        first, second = (F.normalize(gather_with_gradient(part.float()), dim=1) for part in (images, texts))
        counted = torch.ones(len(first), dtype=torch.bool, device=first.device)
        if present is not None:
            counted = gather_with_gradient(present.to(torch.uint8)).bool()
        scores = [part @ centres.T for part in (first, second)]
        assigned = [equal_assignment(part.detach(), counted, epsilon, iterations) for part in scores]
        predicted = [(part / temperature).log_softmax(1) for part in scores]
        losses = -(assigned[1] * predicted[0] + assigned[0] * predicted[1]).sum(1) / 2
        return (losses * counted).sum() / counted.sum().clamp_min(1)


def equal_assignment(
    scores: Float[Tensor, "b k"],
    counted: Bool[Tensor, "b"],
    epsilon: float = 0.05,
    iterations: int = 3,
) -> Float[Tensor, "b k"]:
    """Soft assignments of rows to clusters, each row's adding up to 1 and clusters nearly equally full (Sinkhorn).

    Rows that do not count get 0.

    >>> equal_assignment(torch.zeros(2, 2), torch.tensor([True, True])).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    weights = torch.exp((scores - scores.max()) / epsilon) * counted[:, None]
    for _ in range(iterations):
        weights = weights / weights.sum(0, keepdim=True).clamp_min(1e-12)
        weights = weights / weights.sum(1, keepdim=True).clamp_min(1e-12)
    return weights
