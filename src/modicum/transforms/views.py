"""Views: a few fixed geometric versions of an image, each with a name, for features that are computed once.

A flipped or turned square is the same pixels in other places, nothing is interpolated. A crop is resized back to
the image's size.
"""

import re
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from modicum.errors import InputError, did_you_mean
from modicum.transforms.geometry import resize

VIEWS = ("identity", "hflip", "vflip", "rot180", "rot90", "rot270", "transpose", "antitranspose")
"""The eight symmetries of a square; the last four need square images. Further views are ``crop1``, ``crop2``, ..."""

_SQUARE = frozenset(VIEWS[4:])
# The same crop numbers give the same boxes in every run: a view's name says all about it.
_CROP_SEED = 20_260_101
_SHORTEST = 0.8


def parse_views(names: Sequence[str], image_size: tuple[int, int]) -> tuple[str, ...]:
    """Checks names of views and puts the image as it is first.

    Raises:
        InputError: an unknown name, or a view that only square images have.
    """
    for name in names:
        if name not in VIEWS and not re.fullmatch(r"crop[1-9]\d{0,3}", name):
            raise InputError(f"unknown view '{name}'", did_you_mean(name, [*VIEWS, "crop1"]))
        if name in _SQUARE and image_size[0] != image_size[1]:
            raise InputError(
                f"view '{name}' needs square images, these have {image_size[0]}x{image_size[1]} pixels",
                "choose identity, hflip, vflip, rot180 or crops",
            )
    return tuple(dict.fromkeys(["identity", *names]))


def apply_view(images: Float[Tensor, "b c h w"], name: str) -> Float[Tensor, "b c h w"]:
    """One view of every image of a batch."""
    if name.startswith("crop"):
        top, left, height, width = crop_box(name, (images.shape[2], images.shape[3]))
        part = images[:, :, top : top + height, left : left + width]
        return resize(part, (images.shape[2], images.shape[3]))
    moves = {
        "identity": lambda x: x,
        "hflip": lambda x: x.flip(3),
        "vflip": lambda x: x.flip(2),
        "rot180": lambda x: x.flip(2, 3),
        "rot90": lambda x: x.rot90(1, (2, 3)),
        "rot270": lambda x: x.rot90(3, (2, 3)),
        "transpose": lambda x: x.transpose(2, 3),
        "antitranspose": lambda x: x.transpose(2, 3).flip(2, 3),
    }
    return moves[name](images)


def apply_views(
    images: Float[Tensor, "b c h w"], names: Sequence[str], chosen: Int[Tensor, "b"]
) -> Float[Tensor, "b c h w"]:
    """Each image in its own view: ``names[chosen[i]]`` of image ``i``."""
    numbers = sorted(set(chosen.tolist()))
    if numbers == [0] and names[0] == "identity":
        return images
    out = torch.empty_like(images)
    for number in numbers:
        rows = torch.nonzero(chosen == number).flatten()
        out[rows] = apply_view(images[rows], names[number])
    return out


def crop_box(name: str, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Top, left, height and width of a crop in an image of ``size``: sides of 80 to 100 %, drawn by its number."""
    generator = torch.Generator().manual_seed(_CROP_SEED + int(name.removeprefix("crop")))
    draws = torch.rand(4, generator=generator).tolist()
    height, width = (
        max(1, round(side * (_SHORTEST + (1 - _SHORTEST) * draw)))
        for side, draw in zip(size, draws[:2], strict=True)
    )
    return round((size[0] - height) * draws[2]), round((size[1] - width) * draws[3]), height, width
