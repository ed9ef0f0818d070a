"""Losses of PRIOR's sentence prototypes: a sentence near its mixture of prototypes, and sentences predicted as a set.

Cheng et al., "PRIOR" (ICCV 2023, arXiv 2307.12577), sentence prototype bank and cross-modal conditional reconstruction.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from modicum.distributed import mean_over_processes


def prototype_distance(
    mixtures: Float[Tensor, "b s d"], sentences: Float[Tensor, "b s d"], present: Bool[Tensor, "b s"]
) -> Float[Tensor, ""]:
    """``mean |q(x) - x|`` over all sentences and dimensions, with gradients to both.

    Args:
        mixtures: of prototypes, ``q(x)``.
        sentences: ``x``.
        present: False for padding.
    """
    distances = (mixtures.float() - sentences.float()).abs().mean(2)
    return (distances * present).sum() / _count(present.sum())


@torch.library.custom_op("modicum::assignment", mutates_args=())
def _assignment(costs: Tensor) -> Tensor:
    """For each target (second axis) the row (first axis) that is assigned to it, at the least total cost."""
    from scipy.optimize import linear_sum_assignment

    rows = torch.empty(costs.shape[0], costs.shape[2], dtype=torch.int64)
    for index, cost in enumerate(costs.detach().double().cpu().numpy()):
        row, column = linear_sum_assignment(cost)
        rows[index, torch.from_numpy(column)] = torch.from_numpy(row)
    return rows.to(costs.device)


@_assignment.register_fake
def _(costs: Tensor) -> Tensor:
    return costs.new_empty(costs.shape[0], costs.shape[2], dtype=torch.int64)


def match_sets(predicted: Float[Tensor, "b q d"], targets: Float[Tensor, "b q d"]) -> Int64[Tensor, "b q"]:
    """Hungarian matching by L1 distance, without gradient: for each target, the prediction that is assigned to it.

    ``aligned[:, i] = predicted[:, match[:, i]]``. The release indexes predictions by the assignment instead of its
    inverse, which is right for swaps and wrong for longer cycles.

    >>> targets = torch.arange(3.0).view(1, 3, 1)
    >>> match_sets(targets[:, [2, 0, 1]], targets).tolist()
    [[1, 2, 0]]
    """
    with torch.no_grad(), torch.autocast(predicted.device.type, enabled=False):
        costs = torch.cdist(predicted.detach().float(), targets.detach().float(), p=1)
        return _assignment(costs.nan_to_num(0.0, 1e30, -1e30))


def aligned_to_targets(
    predicted: Float[Tensor, "b q d"], targets: Float[Tensor, "b q d"]
) -> Float[Tensor, "b q d"]:
    """The predictions in the order of the targets that :func:`match_sets` assigns them to."""
    match = match_sets(predicted, targets)
    return predicted.gather(1, match[..., None].expand_as(predicted))


def set_distance(
    aligned: Float[Tensor, "b q d"],
    targets: Float[Tensor, "b q d"],
    counted: Bool[Tensor, "b"] | None = None,
) -> Float[Tensor, ""]:
    """Mean L1 distance over all slots, padding (targets of zeros) included, as published; over reports that count."""
    distances = (aligned.float() - targets.float()).abs().mean((1, 2))
    if counted is None:
        return distances.mean()
    return (distances * counted).sum() / _count(counted.sum())


def prototype_divergence(
    sentences: Float[Tensor, "b q d"],
    aligned: Float[Tensor, "b q d"],
    prototypes: Float[Tensor, "k d"],
    present: Bool[Tensor, "b q"],
) -> Float[Tensor, ""]:
    """``KL(softmax(x E') || softmax(y E'))``, summed over prototypes; the mean over sentences.

    As published, the sentences ``x`` get gradients too.

    Args:
        sentences: ``x``.
        aligned: predictions in their order, ``y``.
        prototypes: ``E``.
        present: slots that hold a sentence.
    """
    with torch.autocast(sentences.device.type, enabled=False):
        rows = prototypes.float()
        target = F.log_softmax(sentences.float() @ rows.T, dim=2)
        predicted_shares = F.log_softmax(aligned.float() @ rows.T, dim=2)
        divergences = (target.exp() * (target - predicted_shares)).sum(2)
        return (divergences * present).sum() / _count(present.sum())


def _count(count: Tensor) -> Tensor:
    """The divisor of a sum over this process's part of a batch; 1 where nothing counts anywhere."""
    mean = mean_over_processes(count.float())
    return mean.where(mean > 0, torch.ones_like(mean))
