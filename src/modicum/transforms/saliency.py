"""Saliency without training: how much a place of a photograph differs from what is around it.

Both functions look at the brightness alone, on the images' device, and give maps in ``[0, 1]``: a flat image has 0
everywhere.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from modicum.errors import InputError

HALF_SIZES = (12, 24, 28, 48, 56, 112)
"""Of the surroundings, in pixels of an image whose shorter side is :data:`REFERENCE`."""
REFERENCE = 224
_GREY = (0.299, 0.587, 0.114)
_SPECTRUM_SIDE = 64
"""Hou and Zhang: the scale at which a spectrum's residual means an object."""


def half_sizes_at(size: tuple[int, int], half_sizes: Sequence[int] = HALF_SIZES) -> tuple[int, ...]:
    """Half sizes for images of another size: as large a part of the shorter side as of 224 pixels, at least one pixel.

    >>> half_sizes_at((224, 224))
    (12, 24, 28, 48, 56, 112)
    >>> half_sizes_at((32, 32))
    (2, 3, 4, 7, 8, 16)
    """
    factor = min(size) / REFERENCE
    return tuple(sorted({max(1, round(half * factor)) for half in half_sizes}))


def fine_grained_saliency(
    images: Float[Tensor, "b c h w"], half_sizes: Sequence[int] | None = None
) -> Float[Tensor, "b 1 h w"]:
    """Fine-grained static saliency: differences from the mean of square surroundings, added up over their sizes.

    For each half size ``s`` the mean of the ``(2 s + 1)^2`` window around a pixel, cut off at the image's border, is
    taken from an integral image. On-centre is ``max(0, grey - mean)``, off-centre ``max(0, mean - grey)``; the sum of
    both over all sizes is brought to ``[0, 1]``. Source: Montabone and Soto, "Human detection using a mobile platform
    and novel features derived from a visual saliency mechanism" (Image and Vision Computing 28, 2010).

    Args:
        images: in ``[0, 1]``, of 1 or 3 channels.
        half_sizes: in pixels; by default :func:`half_sizes_at` the images' size.

    Raises:
        InputError: neither 1 nor 3 channels.

    >>> fine_grained_saliency(torch.full((1, 3, 8, 8), 0.5)).max().item()
    0.0
    """
    grey = _grey(images).double()  # sums over whole images need more digits than single precision has
    height, width = grey.shape[2:]
    integral = F.pad(grey.cumsum(2).cumsum(3), (1, 0, 1, 0))
    rows, columns = (torch.arange(side, device=grey.device) for side in (height, width))
    total = torch.zeros_like(grey)
    for half in half_sizes if half_sizes is not None else half_sizes_at((height, width)):
        top, bottom = (rows - half).clamp_min(0), (rows + half + 1).clamp_max(height)
        left, right = (columns - half).clamp_min(0), (columns + half + 1).clamp_max(width)
        below, above = integral[:, :, bottom], integral[:, :, top]
        window = below[..., right] - below[..., left] - above[..., right] + above[..., left]
        mean = window / ((bottom - top)[:, None] * (right - left))
        total += (grey - mean).clamp_min(0) + (mean - grey).clamp_min(0)
    return _unit_range(total).to(images.dtype)


def spectral_residual_saliency(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
    """Saliency by the spectral residual: what of the log spectrum does not follow from its surroundings.

    Hou and Zhang, "Saliency Detection: A Spectral Residual Approach" (CVPR 2007): at 64 pixels, the log amplitude minus
    its 3 x 3 mean, with the phase transformed back, squared, smoothed by a Gaussian (sigma 2.5), resized to the image and
    brought to ``[0, 1]``.

    Args:
        images: in ``[0, 1]``, of 1 or 3 channels.

    Raises:
        InputError: neither 1 nor 3 channels.
    """
    grey = _grey(images).float()
    small = F.interpolate(grey, (_SPECTRUM_SIDE, _SPECTRUM_SIDE), mode="area")
    spectrum = torch.fft.fft2(small)
    log = spectrum.abs().clamp_min(1e-8).log()
    around = F.avg_pool2d(F.pad(log, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    residual = torch.polar((log - around).exp(), spectrum.angle())
    energy = torch.fft.ifft2(residual).abs().square()
    offsets = torch.arange(-8, 9, device=grey.device, dtype=energy.dtype)
    kernel = (-offsets.square() / (2 * 2.5**2)).exp()
    kernel = kernel / kernel.sum()
    energy = F.pad(energy, (8, 8, 8, 8), mode="replicate")
    energy = F.conv2d(F.conv2d(energy, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    maps = F.interpolate(energy, grey.shape[2:], mode="bilinear", align_corners=False)
    flat = (grey.amax((2, 3), keepdim=True) - grey.amin((2, 3), keepdim=True)) < 1e-6
    return _unit_range(maps.masked_fill(flat, 0.0)).to(images.dtype)


def _grey(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
    """Luminance by the weights of ITU-R BT.601."""
    if images.shape[1] == 1:
        return images
    if images.shape[1] != 3:
        raise InputError(
            f"saliency is found in images of 1 or 3 channels, these have {images.shape[1]}",
            "give saliency maps in a column (--saliency COLUMN, --set saliency_by=column)",
        )
    weights = torch.tensor(_GREY, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def _unit_range(maps: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
    """Each map from its lowest to its highest value to 0 to 1; one without contrast is 0."""
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    span = high - low
    # Below a thousandth of a grey level a difference is rounding.
    return torch.where(span > 1e-6, (maps - low) / span.clamp_min(1e-6), torch.zeros_like(maps))
