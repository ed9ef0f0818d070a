"""Random windows of an image, for crops and for random erasing."""

import math

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from modicum.transforms.geometry import Size

# As many as torchvision tries before it falls back to the whole image.
TRIALS = 10


def uniform(
    count: int, limits: tuple[float, float], generator: torch.Generator, columns: int | None = None
) -> Float64[Tensor, "count *columns"]:
    """Uniform numbers between the limits, on the CPU: [count], or [count, columns]."""
    shape = (count,) if columns is None else (count, columns)
    return limits[0] + (limits[1] - limits[0]) * torch.rand(shape, generator=generator, dtype=torch.float64)


def log_uniform(
    count: int, limits: tuple[float, float], generator: torch.Generator, columns: int | None = None
) -> Float64[Tensor, "count *columns"]:
    """Numbers whose logarithm is uniform between those of the limits: halving is as likely as doubling."""
    return uniform(count, (math.log(limits[0]), math.log(limits[1])), generator, columns).exp()


def random_windows(
    count: int,
    size: Size,
    area: tuple[float, float],
    aspect: tuple[float, float],
    generator: torch.Generator,
) -> tuple[Float64[Tensor, "count 4"], Bool[Tensor, "count"]]:
    """For each image, the first of ten random windows that fits into it, at a random position in whole pixels.

    Args:
        count: number of images.
        size: their height and width.
        area: limits of the uniform share of the image's area.
        aspect: limits of width/height, drawn log-uniformly.
        generator: on the CPU.

    Returns:
        Windows (left, top, width, height), and whether any trial fits; where none does, the window is
        invalid.
    """
    height, width = size
    root = (uniform(count, area, generator, TRIALS) * height * width).sqrt()
    stretch = log_uniform(count, aspect, generator, TRIALS).sqrt()
    trials = torch.stack((root * stretch, root / stretch), -1).round()
    limit = torch.tensor([width, height], dtype=torch.float64)
    fits = ((trials > 0) & (trials <= limit)).all(-1)
    extent = trials[torch.arange(count), fits.double().argmax(1)]
    corner = torch.floor(uniform(count, (0.0, 1.0), generator, 2) * (limit - extent + 1).clamp_min(1))
    return torch.cat((corner, extent), 1), fits.any(1)


def largest_window(size: Size, aspect: tuple[float, float]) -> Float64[Tensor, "4"]:
    """The largest centred window (left, top, width, height) whose width/height is within ``aspect``."""
    height, width = size
    ratio = width / height
    if ratio < aspect[0]:
        extent = (width, round(width / aspect[0]))
    elif ratio > aspect[1]:
        extent = (round(height * aspect[1]), height)
    else:
        extent = (width, height)
    left, top = (width - extent[0]) // 2, (height - extent[1]) // 2
    return torch.tensor([left, top, *extent], dtype=torch.float64)
