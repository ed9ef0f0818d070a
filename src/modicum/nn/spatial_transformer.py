"""Moving images by displacement fields (Jaderberg et al., NeurIPS 2015, arXiv 1506.02025)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def warp(image: Float[Tensor, "b c h w"], field: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b c h w"]:
    """Reads an image at displaced places: the output at ``(i, j)`` is the input at ``(i + f0, j + f1)``.

    The field *pulls*: with ``f0 = 3`` everywhere the picture moves up by three rows. Reading is bilinear, and beyond
    its border the image repeats its edge. Differentiable in both arguments. Works in at least float32, also under
    autocast: a place at pixel 200 has no fraction left in bfloat16.

    Args:
        image: what is moved.
        field: displacements in pixels, rows (down) first, then columns (right).

    >>> picture = torch.arange(6.0).view(1, 1, 3, 2)
    >>> down_one = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 3, 2)
    >>> warp(picture, down_one)[0, 0].tolist()
    [[2.0, 3.0], [4.0, 5.0], [4.0, 5.0]]
    """
    with torch.autocast(image.device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(image.dtype, field.dtype), torch.float32)
        image, field = image.to(dtype), field.to(dtype)
        places = []
        # grid_sample wants x before y, counted from -1 to 1. Between the outer borders (2 p + 1) / n - 1 loses less to
        # rounding than between the outer pixels' centres, 2 p / (n - 1) - 1, as the release counts.
        for axis in (1, 0):
            side = field.shape[2 + axis]
            pixels = torch.arange(side, device=field.device, dtype=dtype)
            place = pixels.view((-1, 1) if axis == 0 else (1, -1)) + field[:, axis]
            places.append((2 * place + 1) / side - 1)
        return functional.grid_sample(
            image, torch.stack(places, -1), mode="bilinear", padding_mode="border", align_corners=False
        )
