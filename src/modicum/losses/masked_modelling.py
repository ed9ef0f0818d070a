"""Losses of masked autoencoding: hidden patches of an image and hidden words of a report.

He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, arXiv 2111.06377; Zhou et al., "Advancing
Radiograph Representation Learning with Masked Record Modeling", ICLR 2023, arXiv 2301.13155.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F


def normalised_patches(
    patches: Float[Tensor, "batch patches values"], epsilon: float = 1e-6
) -> Float[Tensor, "batch patches values"]:
    """Normalises each patch by its mean and (unbiased) standard deviation; a constant patch becomes zeros.

    >>> normalised_patches(torch.tensor([[[1.0, 2.0, 3.0], [7.0, 7.0, 7.0]]])).round(decimals=4).tolist()
    [[[-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]]
    """
    deviation = (patches.var(2, keepdim=True) + epsilon).sqrt()
    return (patches - patches.mean(2, keepdim=True)) / deviation


def patch_errors(
    predicted: Float[Tensor, "batch patches values"],
    target: Float[Tensor, "batch patches values"],
    hidden: Bool[Tensor, "batch patches"],
) -> Float[Tensor, "batch"]:
    """For each image, the mean squared error over its hidden patches; visible ones do not count."""
    predicted = predicted.to(torch.promote_types(predicted.dtype, torch.float32))
    errors = (predicted - target).square().mean(2)
    return (errors * hidden).sum(1) / hidden.sum(1).clamp_min(1)


def masked_patch_loss(
    predicted: Float[Tensor, "batch patches values"],
    target: Float[Tensor, "batch patches values"],
    hidden: Bool[Tensor, "batch patches"],
) -> Float[Tensor, ""]:
    """The mean squared error over all hidden patches of a batch: ``sum(m mean(p - t)^2) / sum(m)``.

    Args:
        predicted: output of the decoder.
        target: the true patches, normalised or not.
        hidden: True where a patch was hidden.
    """
    counts = hidden.sum(1)
    return (patch_errors(predicted, target, hidden) * counts).sum() / counts.sum().clamp_min(1)


def masked_token_loss(
    logits: Float[Tensor, "positions vocabulary"],
    tokens: Int64[Tensor, "positions"],
    count: Float[Tensor, ""] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of the hidden words.

    Args:
        logits: scores of all words.
        tokens: the words.
        count: divides the sum; None for the number of positions. Where several processes share a batch, the mean of
            their numbers, so that the mean of their gradients is that of the whole batch.

    Returns:
        The mean; 0, still attached to the graph, where no position counts.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    total = F.cross_entropy(logits, tokens, reduction="sum")
    return total / (count if count is not None else torch.tensor(len(tokens), device=total.device)).clamp_min(
        1
    )
