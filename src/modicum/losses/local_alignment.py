"""Local alignment of PRIOR: regions of an image and sentences of its report, each with what it reads of the other.

Cheng et al., "PRIOR: Prototype Representation Joint Learning from Medical Images and Reports" (ICCV 2023, arXiv
2307.12577), local alignment, and its code. All reports of a batch at once, padded to one number of sentences.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from modicum.distributed import mean_over_processes


def region_consistency(
    predicted_regions: Float[Tensor, "b r d"],
    regions: Float[Tensor, "b r d"],
    predicted_contexts: Float[Tensor, "b r d"],
    contexts: Float[Tensor, "b r d"],
    counted: Bool[Tensor, "b"] | None = None,
) -> Float[Tensor, ""]:
    """``-1/2 [cos(h(A), sg(C)) + cos(h(C), sg(A))]``, the mean over regions and images; between -1 and 1.

    SimSiam's form (Chen and He, CVPR 2021): no negatives, as neighbouring regions see much of the same.

    Args:
        predicted_regions: the predictor's output for the regions, ``h(A)``.
        regions: ``A``; without gradient here.
        predicted_contexts: ``h(C)``.
        contexts: what each region reads in the report, ``C``; without gradient here.
        counted: images that have a report.
    """
    of_regions = F.cosine_similarity(predicted_regions.float(), contexts.detach().float(), dim=2)
    of_contexts = F.cosine_similarity(predicted_contexts.float(), regions.detach().float(), dim=2)
    losses = -(of_regions + of_contexts).mean(1) / 2
    return _mean(losses, counted if counted is not None else torch.ones_like(losses, dtype=torch.bool))


def sentence_contrast(
    contexts: Float[Tensor, "b s d"],
    sentences: Float[Tensor, "b s d"],
    present: Bool[Tensor, "b s"],
    scale: float | Float[Tensor, ""] = 100.0,
) -> Float[Tensor, ""]:
    """Each sentence against the other sentences of its own report, both ways; the mean over sentences, then reports.

    Sentences of other patients are no negatives: normal ones are the same in most reports.

    Args:
        contexts: what each sentence reads in the image.
        sentences: their features.
        present: False for padding.
        scale: one over the temperature.

    Returns:
        The mean over reports that have a sentence; 0 where none has. N equal sentences give ln N.

    >>> same = torch.ones(1, 3, 4)
    >>> round(sentence_contrast(same, same, torch.ones(1, 3, dtype=torch.bool)).item(), 4)  # ln 3
    1.0986
    """
    with torch.autocast(contexts.device.type, enabled=False):
        first, second = F.normalize(contexts.float(), dim=2), F.normalize(sentences.float(), dim=2)
        logits = scale * first @ second.transpose(1, 2)
        identity = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
        both = present[:, :, None] & present[:, None, :]
        logits = logits.masked_fill(~both & ~identity, -torch.inf)
        diagonal = logits.diagonal(dim1=1, dim2=2)
        losses = (logits.logsumexp(1) + logits.logsumexp(2)) / 2 - diagonal
        counts = present.sum(1)
        per_report = (losses * present).sum(1) / counts.clamp_min(1)
    return _mean(per_report, counts > 0)


def _mean(losses: Float[Tensor, "b"], counted: Bool[Tensor, "b"]) -> Float[Tensor, ""]:
    """The mean over the reports that count, of all processes."""
    count = mean_over_processes(counted.sum().float())
    return (losses * counted).sum() / count.where(count > 0, torch.ones_like(count))
