"""Warps images by displacement fields (Jaderberg et al., NeurIPS 2015, arXiv 1506.02025)."""

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A context in which operations keep the precision of their tensors; empty for devices without autocast (meta)."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def warp(image: Float[Tensor, "b c h w"], field: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b c h w"]:
    """Warps an image by a displacement field: the output at ``(i, j)`` is the input at ``(i + f0, j + f1)``.

    The field *pulls*: with ``f0 = 3`` everywhere the image moves up by three rows. Sampling is bilinear, and beyond
    its border the image repeats its edge. Differentiable in both arguments. Works in at least float32, also under
    autocast: a coordinate of 200 has no fractional bits left in bfloat16.

    Args:
        image: the images to warp.
        field: displacements in pixels, rows (down) first, then columns (right).

    >>> picture = torch.arange(6.0).view(1, 1, 3, 2)
    >>> down_one = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 3, 2)
    >>> warp(picture, down_one)[0, 0].tolist()
    [[2.0, 3.0], [4.0, 5.0], [4.0, 5.0]]
    """
    with without_autocast(image.device):
        dtype = torch.promote_types(torch.promote_types(image.dtype, field.dtype), torch.float32)
        image, field = image.to(dtype), field.to(dtype)
        coordinates = []
        # grid_sample wants x before y, counted from -1 to 1. Between the outer borders (2 p + 1) / n - 1 loses less to
        # rounding than between the outer pixels' centres, 2 p / (n - 1) - 1, as the release counts.
        for axis in (1, 0):
            side = field.shape[2 + axis]
            pixels = torch.arange(side, device=field.device, dtype=dtype)
            coordinate = pixels.view((-1, 1) if axis == 0 else (1, -1)) + field[:, axis]
            coordinates.append((2 * coordinate + 1) / side - 1)
        return functional.grid_sample(
            image, torch.stack(coordinates, -1), mode="bilinear", padding_mode="border", align_corners=False
        )


SQUARINGS = 7
"""Steps of :func:`integrate`: velocities of up to 64 pixels begin as displacements of half a pixel."""


def integrate(velocity: Float[Tensor, "b 2 h w"], squarings: int = SQUARINGS) -> Float[Tensor, "b 2 h w"]:
    """Integrates a stationary velocity field over one unit of time to a displacement field.

    By scaling and squaring (Arsigny et al., MICCAI 2006; Dalca et al., MICCAI 2018, arXiv 1805.04605): a field small
    enough to be its own displacement is composed with itself, again and again. The result has no folds as long as
    the velocity is smooth, and that of the negative velocity is its inverse. In at least float32, also under autocast.

    Args:
        velocity: in pixels, rows (down) first, then columns (right).
        squarings: how often the integration time is doubled.

    >>> constant = torch.tensor([3.0, -1.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    >>> torch.allclose(integrate(constant), constant)
    True
    """
    with without_autocast(velocity.device):
        field = velocity.to(torch.promote_types(velocity.dtype, torch.float32)) / 2**squarings
        for _ in range(squarings):
            field = field + warp(field, field)
        return field


def folded_share(field: Float[Tensor, "b 2 h w"]) -> Float[Tensor, " b"]:
    """The share of each image's pixels where a displacement field folds or collapses.

    There the determinant of the Jacobian of ``p -> p + field(p)`` is not positive. Derivatives are forward differences,
    so the last row and column have none.

    Args:
        field: displacements in pixels, rows (down) first, then columns (right); at least 2x2 pixels.

    >>> rows = torch.arange(5.0).view(1, 1, 5, 1).expand(1, 1, 5, 4)
    >>> mirrored = torch.cat([-2 * rows, torch.zeros(1, 1, 5, 4)], 1)
    >>> folded_share(mirrored), folded_share(-0.5 * mirrored)
    (tensor([1.]), tensor([0.]))
    """
    field = field.to(torch.promote_types(field.dtype, torch.float32))
    by_row, by_column = field.diff(dim=2)[..., :-1], field.diff(dim=3)[:, :, :-1]
    determinant = (1 + by_row[:, 0]) * (1 + by_column[:, 1]) - by_row[:, 1] * by_column[:, 0]
    return (determinant <= 0).to(field.dtype).mean((1, 2))
