"""Alignment of images with their reports: each is to be near its own, and far from the others of the batch."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from modicum.distributed import gather_with_gradient


def image_text_contrast(
    images: Float[Tensor, "b d"],
    texts: Float[Tensor, "b d"],
    scale: float | Float[Tensor, ""] = 100.0,
    *,
    present: Bool[Tensor, "b"] | None = None,
    same: Bool[Tensor, "all all"] | None = None,
    weights: tuple[float, float] = (0.5, 0.5),
) -> Float[Tensor, ""]:
    """Symmetric InfoNCE of pairs (CLIP, Radford et al., ICML 2021; PRIOR, Cheng et al., ICCV 2023, global alignment).

    ``w0 CE(s V T', y) + w1 CE(s T V', y)`` over vectors of length 1. Under several processes, negatives come from all of
    them, with gradients. Memory: one matrix of ``b^2`` float32. Always in float32: at scale 100, bfloat16 would round
    logits by up to 0.25.

    Args:
        images: embeddings.
        texts: of the reports, in the same order.
        scale: one over the temperature.
        present: rows that have a report; the others are neither queries nor negatives.
        same: pairs of rows (of all processes) that are no negatives of each other, because their reports are the same;
            a row and itself do not count.
        weights: of image to text and of text to image; ConVIRT's are 0.75 and 0.25.

    Returns:
        The mean over rows with a report; 0, still attached to the graph, where there is none.

    >>> one, same = torch.eye(4), torch.ones(4, 2)
    >>> round(image_text_contrast(one, one).item(), 6), round(image_text_contrast(same, same).item(), 4)
    (0.0, 1.3863)
    """
    with torch.autocast(images.device.type, enabled=False):
        first, second = (F.normalize(gather_with_gradient(part.float()), dim=1) for part in (images, texts))
        logits = scale * (first @ second.T)
        diagonal = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        hidden = torch.zeros_like(diagonal)
        counted = torch.ones_like(diagonal[0])
        if present is not None:
            counted = gather_with_gradient(present.to(torch.uint8)).bool()
            hidden = hidden | ~counted[:, None] | ~counted[None]
        if same is not None:
            hidden = hidden | same.to(hidden.device)
        logits = logits.masked_fill(hidden & ~diagonal, -torch.inf)
        target = torch.arange(len(logits), device=logits.device)
        by_image = F.cross_entropy(logits, target, reduction="none")
        by_text = F.cross_entropy(logits.T, target, reduction="none")
        # A row without a report has only itself left, and so a loss of 0.
        return (weights[0] * by_image + weights[1] * by_text).sum() / counted.sum().clamp_min(1)
