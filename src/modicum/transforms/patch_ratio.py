"""How much of each patch is the foreground's where two images are mixed: by the saliency of both (SPMix).

"Saliency-guided and Patch-based Mixup for Long-tailed Skin Cancer Image Classification" (arXiv 2406.10801). Where either
image shows a lesion the foreground prevails, so that the background's lesion vanishes; elsewhere both share alike.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

NOISE_STEPS = 10_000
"""The release draws its noise in steps of 1e-4."""
SALIENCY_STD = 0.137
"""Of the release's saliency maps in [0, 1]; its noise is added after the division by it."""


def patch_saliency(
    saliency: Float[Tensor, "b 1 h w"], grid: tuple[int, int], noise: float = 0.0
) -> Float[Tensor, "b patches"]:
    """The mean saliency of each patch, brought to ``[0.5, 1]`` over the patches of its image; row by row.

    A map without contrast is 0.5 everywhere.

    Args:
        saliency: in any range: it is invariant to a scale and an offset. Not changed.
        grid: rows and columns of patches.
        noise: half width of uniform noise on every pixel of the normalised map, as in the release (0.5), from PyTorch's
            generator. The release's noise makes a flat map a random one of full range; none by default.

    >>> patch_saliency(torch.zeros(1, 1, 4, 4), (2, 2)).tolist()
    [[0.5, 0.5, 0.5, 0.5]]
    """
    maps = saliency.float()
    if noise:
        steps = torch.randint(-NOISE_STEPS // 2, NOISE_STEPS // 2 + 1, maps.shape, device=maps.device)
        maps = maps / SALIENCY_STD + steps * (2 * noise / NOISE_STEPS)
    patches = F.adaptive_avg_pool2d(maps, grid).flatten(1)
    low, high = patches.amin(1, keepdim=True), patches.amax(1, keepdim=True)
    span = high - low
    # Pooling equal values leaves differences of rounding: they are no lesion.
    contrast = span > 1e-6 * high.abs().clamp_min(1e-6)
    share = torch.where(contrast, (patches - low) / torch.where(contrast, span, torch.ones_like(span)), 0.0)
    return 0.5 + 0.5 * share


def patch_ratio(
    foreground: Float[Tensor, "b 1 h w"],
    background: Float[Tensor, "b 1 h w"] | None,
    grid: tuple[int, int],
    alpha: float = 0.8,
    noise: float = 0.0,
) -> Float[Tensor, "b patches"]:
    """The foreground's share of each patch: ``min(alpha, max(p_f, p_b))``, row by row, in ``[0.5, alpha]``.

    Args:
        foreground: saliency of the images whose label is kept.
        background: of the others; None for the foreground's alone.
        grid: rows and columns of patches.
        alpha: the largest share, 0.5 to 1.
        noise: see :func:`patch_saliency`.
    """
    share = patch_saliency(foreground, grid, noise)
    if background is not None:
        share = torch.maximum(share, patch_saliency(background, grid, noise))
    return share.clamp_max(alpha)
