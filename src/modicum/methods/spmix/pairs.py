"""A few pairs of a training as pictures for the report: both images, their saliency, the shares, and the mixture."""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from modicum.nn.token_mixing import mixed_pixels
from modicum.tasks.base import Batch

FILE = "pairs.json"
_COUNT = 4
_SHOWN_GRID = (14, 14)
"""The grid of shares that are shown where a network makes its own."""
_SIDE = 192


@dataclass(frozen=True)
class Pair:
    """One pair: class numbers of foreground and background, and pictures ``[h, w]`` or ``[h, w, 3]`` by name."""

    foreground: int
    background: int
    pictures: dict[str, UInt8[np.ndarray, "h w *channels"]]


@torch.no_grad()
def keep_pairs(
    parts: tuple[Batch, Batch],
    labels: tuple[Int[Tensor, "b"], Int[Tensor, "b"]],
    saliency: str,
    ratio: Callable[[tuple[int, int]], Float[Tensor, "n patches"]],
    patch: int | None,
) -> list[Pair]:
    """The first pairs of a batch; none where tensors have no values (a memory prediction).

    Args:
        parts: foregrounds and backgrounds, as the network sees them.
        labels: of both.
        saliency: name of their saliency.
        ratio: the shares for a grid.
        patch: side of a patch where pixels are mixed; None where tokens or features are: there is no mixture to see then.
    """
    if not _has_values(parts[0]["image"]):
        return []
    first, second = ({name: value[:_COUNT] for name, value in part.items()} for part in parts)
    height, width = first["image"].shape[2:]
    grid = _SHOWN_GRID if patch is None else (max(1, height // patch), max(1, width // patch))
    with torch.random.fork_rng(devices=[]):  # with noise, the shares are drawn
        shares = ratio(grid)[: len(first["image"])]
    pictures: dict[str, Tensor] = {"foreground": first["image"], "background": second["image"]}
    if saliency in first:
        pictures |= {"foreground saliency": first[saliency], "background saliency": second[saliency]}
    pictures["share"] = shares.view(-1, 1, *grid)
    if patch is not None:
        pictures["mixture"] = mixed_pixels(first["image"], second["image"], lambda _: shares, patch)
    drawn = {name: _levels(values) for name, values in pictures.items()}
    numbers = zip(labels[0][:_COUNT].tolist(), labels[1][:_COUNT].tolist(), strict=True)
    return [
        Pair(label, other, {name: values[row] for name, values in drawn.items()})
        for row, (label, other) in enumerate(numbers)
    ]


def pairs_file(pairs: Sequence[Pair], classes: Sequence[str]) -> dict[str, str]:
    """The pairs as a text file for the run folder: PNG pictures in base64, with the names of the classes."""
    entries = [
        {
            "foreground": classes[pair.foreground],
            "background": classes[pair.background],
            "panels": {name: _encoded(picture) for name, picture in pair.pictures.items()},
        }
        for pair in pairs
    ]
    return {FILE: json.dumps({"schema": 1, "pairs": entries})}


def _has_values(tensor: Tensor) -> bool:
    from torch._subclasses.fake_tensor import FakeTensor

    return not isinstance(tensor, FakeTensor) and not tensor.is_meta


def _levels(values: Float[Tensor, "n c h w"]) -> UInt8[np.ndarray, "n h w *channels"]:
    levels = (values.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    return levels[:, 0] if levels.shape[1] == 1 else np.moveaxis(levels[:, :3], 1, 3)


def _encoded(picture: UInt8[np.ndarray, "h w *channels"]) -> str:
    import cv2

    if max(picture.shape[:2]) < _SIDE:  # patches are squares, and small images stay what they are
        factor = _SIDE / max(picture.shape[:2])
        size = round(picture.shape[1] * factor), round(picture.shape[0] * factor)
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST)
    bgr = picture if picture.ndim == 2 else picture[:, :, ::-1]
    return base64.b64encode(cv2.imencode(".png", bgr)[1].tobytes()).decode("ascii")
