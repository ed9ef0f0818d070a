"""Views: a few fixed geometric versions of an image, each with a name, for features that are computed once.

A flipped or rotated square has the same pixels in another order, nothing is interpolated. A crop is resized back to
the image's size. What lies on an image is shown in the same view as it (:func:`apply_views_to_batch`).
"""

import re
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from modicum.batch import IMAGE, SPATIAL, Batch, Kind, Kinds, check_pictures, for_each_relative, names_of
from modicum.errors import InputError, did_you_mean
from modicum.transforms.batch_geometry import warp_batch
from modicum.transforms.geometry import Size, Stage, crop_stage, resize

VIEWS = ("identity", "hflip", "vflip", "rot180", "rot90", "rot270", "transpose", "antitranspose")
"""The eight symmetries of a square; the last four need square images. Further views are ``crop1``, ``crop2``, ..."""

_SQUARE = frozenset(VIEWS[4:])
# The same crop numbers give the same boxes in every run: a view is defined by its name.
_CROP_SEED = 20_260_101
_SHORTEST = 0.8


def parse_views(names: Sequence[str], image_size: tuple[int, int]) -> tuple[str, ...]:
    """Checks names of views and puts ``identity`` first.

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
    """Applies a view to each image: ``names[chosen[i]]`` to image ``i``."""
    numbers = sorted(set(chosen.tolist()))
    if numbers == [0] and names[0] == "identity":
        return images
    out = torch.empty_like(images)
    for number in numbers:
        rows = torch.nonzero(chosen == number).flatten()
        out[rows] = apply_view(images[rows], names[number])
    return out


def apply_views_to_batch(batch: Batch, names: Sequence[str], kinds: Kinds = None) -> Batch:
    """Applies to each row the view ``names[view]``: to its images, masks, boxes and points.

    Rows and relatives without a ``view`` stay as they are.

    Raises:
        InputError: an image tensor without a kind, or of another size than its image.
    """

    def in_view(part: Batch, kinds: Mapping[str, Kind]) -> Batch:
        if part.get("view") is None:
            return part
        changed, images = dict(part), names_of(part, Kind.IMAGE, Kind.SALIENCY, kinds=kinds)
        for name in images:
            planes = part[name].unsqueeze(1) if part[name].ndim == 3 else part[name]
            changed[name] = apply_views(planes, names, part["view"]).view(part[name].shape)
        attached = {name: value for name, value in part.items() if name not in images}
        if names_of(attached, *SPATIAL, kinds=kinds):
            size = part[IMAGE].shape[2], part[IMAGE].shape[3]
            changed |= warp_batch(attached, [view_stage(names, part["view"], size)], kinds)
        return changed

    check_pictures(batch, kinds)
    return for_each_relative(batch, in_view, kinds)


def view_stage(names: Sequence[str], chosen: Int[Tensor, "b"], size: Size) -> Stage:
    """The views ``names[chosen[i]]`` as a geometric step, for what is read at the nearest pixel and for coordinates."""
    matrices = [_matrix(name, size) for name in names]
    return Stage(torch.stack(matrices)[chosen.long().cpu()], size, size, "fill")


def _matrix(name: str, size: Size) -> Float[Tensor, "3 3"]:
    """Matrix from pixels of a view (x, y, 1) to those of the image."""
    if name.startswith("crop"):
        top, left, height, width = crop_box(name, size)
        window = torch.tensor([[left, top, width, height]], dtype=torch.float64)
        return crop_stage(window, size, size).matrix[0]
    right, bottom = float(size[1] - 1), float(size[0] - 1)
    # The image pixel at (x, y) of a view: of one rotated counter-clockwise by 90 degrees (right - y, x).
    rows = {
        "identity": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
        "hflip": ((-1.0, 0.0, right), (0.0, 1.0, 0.0)),
        "vflip": ((1.0, 0.0, 0.0), (0.0, -1.0, bottom)),
        "rot180": ((-1.0, 0.0, right), (0.0, -1.0, bottom)),
        "rot90": ((0.0, -1.0, right), (1.0, 0.0, 0.0)),
        "rot270": ((0.0, 1.0, 0.0), (-1.0, 0.0, bottom)),
        "transpose": ((0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
        "antitranspose": ((0.0, -1.0, right), (-1.0, 0.0, bottom)),
    }
    return torch.tensor([*rows[name], (0.0, 0.0, 1.0)], dtype=torch.float64)


def crop_box(name: str, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Top, left, height and width of a crop in an image of ``size``: sides of 80 to 100 %, drawn by its number."""
    generator = torch.Generator().manual_seed(_CROP_SEED + int(name.removeprefix("crop")))
    draws = torch.rand(4, generator=generator).tolist()
    height, width = (
        max(1, round(side * (_SHORTEST + (1 - _SHORTEST) * draw)))
        for side, draw in zip(size, draws[:2], strict=True)
    )
    return round((size[0] - height) * draws[2]), round((size[1] - width) * draws[3]), height, width
