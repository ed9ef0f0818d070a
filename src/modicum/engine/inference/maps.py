"""Maps that a predictor computes from images (anomaly maps, for instance), as images of the original size."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.data.image import ImageRef
from modicum.data.placement import Placement
from modicum.data.writers import write_png
from modicum.errors import InputError

BITS = 16
"""Scale of the PNG files: 65,535 is 1."""


def check_makes_maps(network: nn.Module) -> None:
    """Raises :class:`InputError` if a predictor has no maps."""
    if not callable(getattr(network, "maps", None)):
        raise InputError("this run's method makes no maps", "leave --maps out")


def map_prefix(number: int, ref: ImageRef) -> str:
    """What the names of an image's maps begin with."""
    return f"{number:06d}_{ref.path.name.split('.')[0]}_"


def write_maps(
    folder: Path,
    maps: Mapping[str, Float[Tensor, "b rows columns"]],
    refs: Sequence[ImageRef],
    placements: Sequence[Placement],
    first: int,
) -> list[str]:
    """Writes the maps of one batch as grey PNG files of 16 bits; returns the first map's file of each image.

    Args:
        folder: exists.
        maps: in ``[0, 1]``, by name, over what the network saw of each image.
        refs: the images.
        placements: of the images in what the network saw.
        first: number of the first image among all.
    """
    files: list[str] = []
    for name, values in maps.items():
        for index, (ref, placement) in enumerate(zip(refs, placements, strict=True)):
            seen = F.interpolate(values[index][None, None].float(), placement.seen, mode="bilinear")[0].cpu()
            whole = placement.restored(np.clip(seen.numpy(), 0, 1), 0.0)
            file = f"{map_prefix(first + index, ref)}{name}.png"
            write_png(folder / file, whole, BITS)
            if len(files) <= index:
                files.append(file)
    return files
