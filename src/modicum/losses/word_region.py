"""Local contrast of GLoRIA: the words of a report against the regions of every image of the batch."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from modicum.distributed import gather_with_gradient


def word_region_similarity(
    regions: Float[Tensor, "i r d"],
    words: Float[Tensor, "t w d"],
    mask: Bool[Tensor, "t w"],
    attention_temperature: float = 0.25,
    word_temperature: float = 0.2,
) -> Float[Tensor, "i t"]:
    """``t2 log sum_w exp(cos(c_w, w) / t2)``, where word ``w`` reads ``c_w`` in the regions by softmax attention.

    GLoRIA (Huang et al., ICCV 2021), equations of its local contrastive loss. Report by report, so that memory holds
    ``i w r`` attention weights and not ``i t w r``.

    Args:
        regions: of images.
        words: of reports.
        mask: False for padding.
        attention_temperature: of a word's attention over regions.
        word_temperature: of the sum over words.
    """
    regions = F.normalize(regions.float(), dim=2)
    words = F.normalize(words.float(), dim=2)
    columns = []
    for diagonal, counted in zip(words, mask, strict=True):
        attention = (regions @ diagonal.T / attention_temperature).softmax(1)  # over regions: [i, r, w]
        read = attention.transpose(1, 2) @ regions
        near = F.cosine_similarity(read, diagonal[None], dim=2) / word_temperature
        near = near.masked_fill(~counted[None], -torch.inf)
        near = near.where(counted.any(), torch.zeros_like(near))  # without a word, one value for all images
        columns.append(word_temperature * near.logsumexp(1))
    return torch.stack(columns, 1)


def word_region_contrast(
    regions: Float[Tensor, "b r d"],
    words: Float[Tensor, "b w d"],
    mask: Bool[Tensor, "b w"],
    temperatures: tuple[float, float, float] = (0.25, 0.2, 0.1),
    *,
    same: Bool[Tensor, "all all"] | None = None,
) -> Float[Tensor, ""]:
    """Symmetric cross-entropy over :func:`word_region_similarity` of all pairs of a batch, of all processes.

    Args:
        regions: of the images.
        words: of their reports, in the same order.
        mask: False for padding; a report without any word counts neither way.
        temperatures: of attention, of the sum over words, of the cross-entropy.
        same: pairs of rows (of all processes) whose reports are the same, and so no negatives of each other.
    """
    with torch.autocast(regions.device.type, enabled=False):
        regions, words = (gather_with_gradient(part.float()) for part in (regions, words))
        mask = gather_with_gradient(mask.to(torch.uint8)).bool()
        logits = word_region_similarity(regions, words, mask, *temperatures[:2]) / temperatures[2]
        counted = mask.any(1)
        diagonal = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        hidden = ~counted[:, None] | ~counted[None]
        if same is not None:
            hidden = hidden | same
        logits = logits.masked_fill(hidden & ~diagonal, -torch.inf)
        target = torch.arange(len(logits), device=logits.device)
        both = [F.cross_entropy(part, target, reduction="none") for part in (logits, logits.T)]
        return (both[0] + both[1]).sum() / 2 / counted.sum().clamp_min(1)
