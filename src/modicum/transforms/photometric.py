"""Brightness, colour, blur and noise of a batch of images in [0, 1], each image with its own parameters.

The colour operations follow torchvision's definitions for float images, so that a recipe's numbers mean the
same. Every function is pure and returns images in [0, 1]; parameters are one number per image, on any device.
"""

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor
from torch.nn import functional

from modicum.errors import InputError

# ITU-R BT.601 luma, the weights that torchvision and Pillow use.
LUMA = (0.2989, 0.587, 0.114)

# The steps of color_jitter, as its order names them.
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


def _per_image(values: Shaped[Tensor, "batch"], image: Tensor) -> Tensor:
    return values.to(image.device, image.dtype).view(-1, 1, 1, 1)


def luminance(image: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch 1 height width"]:
    """Grey value of RGB images (ITU-R BT.601); of any other number of channels, their mean."""
    if image.shape[1] != 3:
        return image.mean(1, keepdim=True)
    red, green, blue = image.unbind(1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2]).unsqueeze(1)


def _needs_colour(image: Tensor, operation: str) -> bool:
    """Whether the image has colour to change: three channels; one channel is grey and stays as it is."""
    if image.shape[1] in (1, 3):
        return image.shape[1] == 3
    raise InputError(
        f"{operation} is for images of 1 or 3 channels, these have {image.shape[1]}",
        "leave it out of the augmentation",
    )


def adjust_brightness(
    image: Float[Tensor, "batch channels height width"], factor: Float[Tensor, "batch"]
) -> Float[Tensor, "batch channels height width"]:
    """Multiplies by ``factor``: 0 black, 1 unchanged, 2 twice as bright."""
    return _scale(image, factor, torch.full((len(image),), BRIGHTNESS))


def adjust_contrast(
    image: Float[Tensor, "batch channels height width"], factor: Float[Tensor, "batch"]
) -> Float[Tensor, "batch channels height width"]:
    """Scales the distance from the image's mean grey value: 0 flat grey, 1 unchanged."""
    return _scale(image, factor, torch.full((len(image),), CONTRAST))


def adjust_saturation(
    image: Float[Tensor, "batch channels height width"], factor: Float[Tensor, "batch"]
) -> Float[Tensor, "batch channels height width"]:
    """Scales each pixel's distance from its own grey value: 0 grey, 1 unchanged. One channel stays."""
    return _scale(image, factor, torch.full((len(image),), SATURATION))


def _scale(
    image: Float[Tensor, "batch channels height width"],
    factor: Float[Tensor, "batch"],
    step: Int64[Tensor, "batch"],
) -> Float[Tensor, "batch channels height width"]:
    """Brightness, contrast or saturation, whichever is each image's step (on the CPU).

    All three are one linear map, away from black, from the mean grey value, or from the pixel's own grey value,
    so that a batch of different steps need not be taken apart.
    """
    saturated = step == SATURATION
    if bool(saturated.any()) and not _needs_colour(image, "saturation"):
        factor = torch.where(saturated.to(factor.device), 1.0, factor)
        saturated = torch.zeros_like(saturated)
    share = _per_image(factor, image)
    # The mean grey value is the grey value of the mean colour: one pass over the image.
    origin = luminance(image.mean((2, 3), keepdim=True)) * _per_image(step == CONTRAST, image)
    if bool(saturated.any()):
        origin = torch.addcmul(origin, luminance(image), _per_image(saturated, image))
    return torch.addcmul((1 - share) * origin, image, share).clamp_(0, 1)


def adjust_hue(
    image: Float[Tensor, "batch channels height width"], shift: Float[Tensor, "batch"]
) -> Float[Tensor, "batch channels height width"]:
    """Rotates the hue by ``shift`` (1 = once around) in HSV space. Images of one channel are unchanged."""
    if not _needs_colour(image, "hue"):
        return image
    value, largest = image.max(1, keepdim=True)
    chroma = value - image.amin(1, keepdim=True)
    red, green, blue = image.split(1, 1)
    # Position on the circle in sixths, counted from red, green or blue, whichever is largest.
    offset = torch.where(largest == 0, green - blue, torch.where(largest == 1, blue - red, red - green))
    sixth = offset / chroma.clamp_min(1e-12) + 2 * largest + 6 * _per_image(shift, image)
    # A channel is largest within a sixth of its own hue and falls to the smallest over the next sixth.
    hue = torch.tensor([5.0, 3.0, 1.0], device=image.device, dtype=image.dtype).view(1, 3, 1, 1)
    distance = (hue + sixth).remainder_(6)
    return (value - chroma * torch.minimum(distance, 4 - distance).clamp_(0, 1)).clamp_(0, 1)


def to_grayscale(
    image: Float[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch channels height width"]:
    """Converts to grey and keeps three channels. Images of one channel are unchanged."""
    if not _needs_colour(image, "grayscale"):
        return image
    return luminance(image).expand_as(image).contiguous()


def adjust_gamma(
    image: Float[Tensor, "batch channels height width"], gamma: Float[Tensor, "batch"]
) -> Float[Tensor, "batch channels height width"]:
    """Raises to the power ``gamma``: above 1 darker in the middle, below 1 brighter; black and white stay."""
    return image.pow(_per_image(gamma, image)).clamp(0, 1)


def gaussian_blur(
    image: Float[Tensor, "batch channels height width"], sigma: Float[Tensor, "batch"], kernel_size: int
) -> Float[Tensor, "batch channels height width"]:
    """Blurs with a Gaussian of ``sigma`` pixels, cut to ``kernel_size`` (odd) and mirrored at the borders."""
    count, channels, height, width = image.shape
    reach = kernel_size // 2
    if reach >= min(height, width):
        raise InputError(
            f"gaussian_blur: kernel_size {kernel_size} is too large for images of {height} x {width}",
            f"choose at most {2 * min(height, width) - 1}",
        )
    offset = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    kernel = torch.softmax(-0.5 * (offset / sigma.to(image.device, image.dtype).view(-1, 1)) ** 2, -1)
    kernel = kernel.repeat_interleave(channels, 0)
    # One group for each channel of each image: every image has its own kernel.
    planes = functional.pad(image, (reach,) * 4, mode="reflect")
    planes = planes.reshape(1, count * channels, height + 2 * reach, width + 2 * reach)
    planes = functional.conv2d(planes, kernel.view(-1, 1, 1, kernel_size), groups=count * channels)
    planes = functional.conv2d(planes, kernel.view(-1, 1, kernel_size, 1), groups=count * channels)
    return planes.view(image.shape).clamp_(0, 1)


def add_noise(
    image: Float[Tensor, "batch channels height width"],
    std: Float[Tensor, "batch"],
    field: Float[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch channels height width"]:
    """Adds a standard normal ``field`` times ``std`` (of the intensity range 0..1) and cuts to [0, 1]."""
    return (image + _per_image(std, image) * field.to(image.device, image.dtype)).clamp_(0, 1)


def erase(
    image: Float[Tensor, "batch channels height width"],
    window: Float[Tensor, "batch 4"],
    fill: float | Float[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch channels height width"]:
    """Fills each image's window (left, top, width, height in pixels) with a value, or with what ``fill`` has there.

    A window may be empty.
    """
    left, top, wide, high = window.to(image.device).view(-1, 4, 1, 1, 1).unbind(1)
    x = torch.arange(image.shape[-1], device=image.device).view(1, 1, 1, -1)
    y = torch.arange(image.shape[-2], device=image.device).view(1, 1, -1, 1)
    inside = (x >= left) & (x < left + wide) & (y >= top) & (y < top + high)
    if isinstance(fill, Tensor):
        return torch.where(inside, fill.to(image.device, image.dtype), image)
    return image.masked_fill(inside, fill)


def color_jitter(
    image: Float[Tensor, "batch channels height width"],
    factors: Float[Tensor, "batch 4"],
    order: Int64[Tensor, "batch steps"],
) -> Float[Tensor, "batch channels height width"]:
    """Brightness, contrast, saturation, hue in each image's own order, as torchvision's ColorJitter.

    Args:
        image: the batch.
        factors: the three factors and the hue shift (see :func:`adjust_brightness` ...). On the CPU.
        order: which of the four (0 brightness, 1 contrast, 2 saturation, 3 hue) comes first, second, ...;
            steps that are left out are not applied. On the CPU.
    """
    for turn in order.unbind(1):
        factor = factors.gather(1, turn.unsqueeze(1)).squeeze(1)
        turned, scaled = (turn == HUE).nonzero().flatten(), (turn != HUE).nonzero().flatten()
        if len(turned) == 0:
            image = _scale(image, factor, turn)
            continue
        changed = torch.empty_like(image)
        rows = turned.to(image.device)
        changed.index_copy_(0, rows, adjust_hue(image[rows], factor[turned]))
        rows = scaled.to(image.device)
        image = changed.index_copy_(0, rows, _scale(image[rows], factor[scaled], turn[scaled]))
    return image
