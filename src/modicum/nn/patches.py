"""Images as rows of patches, and back."""

from jaxtyping import Float
from torch import Tensor

from modicum.errors import InputError


def patchify(
    images: Float[Tensor, "batch channels height width"], size: int
) -> Float[Tensor, "batch patches values"]:
    """Cuts images into square patches, row by row; inside a patch the order is row, column, channel.

    Args:
        images: height and width are multiples of ``size``.
        size: side of a patch in pixels.

    Raises:
        InputError: the patches do not divide the images.
    """
    height, width = images.shape[2:]
    if height % size or width % size:
        raise InputError(
            f"patches of {size} pixels do not divide images of {height}x{width}",
            f"use sizes that are multiples of {size}",
        )
    cut = images.unflatten(3, (-1, size)).unflatten(2, (-1, size))
    return cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def unpatchify(
    patches: Float[Tensor, "batch patches values"], size: int, grid: tuple[int, int]
) -> Float[Tensor, "batch channels height width"]:
    """Joins the patches of :func:`patchify` into images.

    Args:
        patches: rows of patches.
        size: side of a patch in pixels.
        grid: rows and columns of patches.
    """
    cut = patches.unflatten(1, grid).unflatten(3, (size, size, -1))
    return cut.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)
