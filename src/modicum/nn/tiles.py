"""Dense prediction of large images in overlapping tiles, blended without seams."""

from collections.abc import Callable, Iterator
from math import ceil, pi

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from modicum.errors import InputError

Predict = Callable[[Float[Tensor, "batch channels height width"]], Float[Tensor, "batch out height width"]]


def tiled(
    predict: Predict,
    image: Float[Tensor, "channels height width"],
    tile: int | tuple[int, int],
    overlap: int | tuple[int, int],
    batch: int = 1,
) -> Float32[Tensor, "out height width"]:
    """Predicts an image in overlapping tiles, blended smoothly.

    Each tile counts with raised-cosine (Hann) flanks over the overlap, and the weights of all tiles sum to 1 at
    every pixel: a network that looks at single pixels gives what it would give on the whole image. The image
    is continued by reflection for half an overlap beyond its borders; along a side that one tile covers, only
    as far as the tile needs.

    Networks whose normalisation looks at the whole picture (instance normalisation) still see other
    statistics in every tile: for them the largest tile that memory holds is the best.

    Args:
        predict: maps tiles to outputs of the same height and width, and handles device and precision itself.
            No gradients are kept.
        image: one image.
        tile: height and width of a tile (or one number for both), in pixels.
        overlap: how far neighbouring tiles overlap at least, down and across; below the tile's size. Pixels at a
            tile's edge, where the network has little context, count least.
        batch: how many tiles are predicted at once.

    Returns:
        float32 on the image's device. Only one row of tiles is held in memory with it.

    Raises:
        InputError: an overlap that is not smaller than the tile; outputs of another size than the tiles.
    """
    bands = [band for _, band in tiled_bands(predict, image, tile, overlap, batch)]
    return torch.cat(bands, 1)


def tiled_bands(
    predict: Predict,
    image: Float[Tensor, "channels height width"],
    tile: int | tuple[int, int],
    overlap: int | tuple[int, int],
    batch: int = 1,
) -> Iterator[tuple[int, Float32[Tensor, "out rows width"]]]:
    """:func:`tiled`, yielded from top to bottom in bands of finished rows, each with the row that it begins at.

    For images whose output would not fit in memory.
    """
    sizes, overlaps = _pair(tile), _pair(overlap)
    if min(sizes) < 1 or batch < 1:
        raise InputError(
            f"tiles of {sizes[0]} x {sizes[1]} in batches of {batch}: all must be at least 1",
            "use for instance tile=512, batch=4",
        )
    if min(overlaps) < 0 or any(o >= s for o, s in zip(overlaps, sizes, strict=True)):
        raise InputError(
            f"tiles of {sizes[0]} x {sizes[1]} cannot overlap by {overlaps[0]} x {overlaps[1]}",
            "use an overlap from 0 to less than the tile",
        )
    height, width = image.shape[1:]
    tops, lefts = (_starts(*side) for side in zip((height, width), sizes, overlaps, strict=True))
    down = _weights(tops, height, sizes[0], overlaps[0])
    across = _weights(lefts, width, sizes[1], overlaps[1])
    held: Float32[Tensor, "out rows width"] | None = None  # unfinished rows, from row ``begin`` on
    begin = 0
    for at, top in enumerate(tops):
        band = _row_of_tiles(predict, image, top, lefts, sizes, across, batch)
        end = min(top + sizes[0], height)
        first = max(top, 0)
        rows = band[:, first - top : end - top] * down[at, first - top : end - top, None].to(band)
        if held is None:
            held = band.new_zeros((band.shape[0], 0, width))
        if (more := end - begin - held.shape[1]) > 0:
            held = torch.cat((held, held.new_zeros((held.shape[0], more, width))), 1)
        held[:, first - begin : end - begin] += rows
        done = height if at + 1 == len(tops) else max(tops[at + 1], 0)
        if done > begin:
            yield begin, held[:, : done - begin]
            held, begin = held[:, done - begin :], done


def tile_count(size: tuple[int, int], tile: tuple[int, int], overlap: tuple[int, int]) -> int:
    """The number of tiles in which :func:`tiled` predicts an image; all sizes are (height, width)."""
    down, across = (len(_starts(*side)) for side in zip(size, tile, overlap, strict=True))
    return down * across


@torch.no_grad()  # here, as around a generator it would not hold where types are checked
def _row_of_tiles(
    predict: Predict,
    image: Float[Tensor, "channels height width"],
    top: int,
    lefts: list[int],
    sizes: tuple[int, int],
    across: Float32[Tensor, "tiles tile_width"],
    batch: int,
) -> Float32[Tensor, "out tile_height width"]:
    """Predicts the tiles that begin at one row and blends them horizontally."""
    height, width = image.shape[1:]
    strip = image[:, _reflected(top, sizes[0], height).to(image.device)]
    blended: Float32[Tensor, "out tile_height width"] | None = None
    for start in range(0, len(lefts), batch):
        batch_lefts = lefts[start : start + batch]
        columns = [_reflected(left, sizes[1], width).to(image.device) for left in batch_lefts]
        tiles = torch.stack([strip[:, :, column] for column in columns])
        outputs = predict(tiles)
        if outputs.ndim != 4 or (len(outputs), *outputs.shape[2:]) != (len(batch_lefts), *sizes):
            raise InputError(
                f"tiles of {len(batch_lefts)} x {sizes[0]} x {sizes[1]} gave outputs of {tuple(outputs.shape)}",
                "a dense predictor keeps height and width; choose a tile that its strides divide",
            )
        outputs = outputs.to(image.device, torch.float32)
        if blended is None:
            blended = outputs.new_zeros((outputs.shape[1], sizes[0], width))
        for left, output, weights in zip(batch_lefts, outputs, across[start : start + batch], strict=True):
            first, end = max(left, 0), min(left + sizes[1], width)
            inside = slice(first - left, end - left)
            blended[:, :, first:end] += output[:, :, inside] * weights[inside].to(output)
    assert blended is not None  # there is always one tile
    return blended


def _starts(side: int, tile: int, overlap: int) -> list[int]:
    """Where the tiles begin along one side: evenly spread, from half an overlap outside to half one outside."""
    if side <= tile:
        return [-((tile - side) // 2)]
    margin = overlap // 2
    length = side + 2 * margin
    count = ceil((length - overlap) / (tile - overlap))
    return [round(at * (length - tile) / (count - 1)) - margin for at in range(count)]


def _weights(starts: list[int], side: int, tile: int, overlap: int) -> Float32[Tensor, "tiles {tile}"]:
    """The weight of each tile at each of its pixels along one side; at every pixel of the image they sum to 1."""
    flank = torch.sin(pi / 2 * (torch.arange(overlap, dtype=torch.float64) + 0.5) / max(1, overlap)) ** 2
    window = torch.ones(tile, dtype=torch.float64)
    window[:overlap] = flank
    window[tile - overlap :] *= flank.flip(0)  # both where the flanks meet, in tiles under two overlaps
    total = torch.zeros(side, dtype=torch.float64)
    for start in starts:
        first, end = max(start, 0), min(start + tile, side)
        total[first:end] += window[first - start : end - start]
    weights = torch.zeros((len(starts), tile), dtype=torch.float64)
    for at, start in enumerate(starts):
        first, end = max(start, 0), min(start + tile, side)
        inside = slice(first - start, end - start)
        weights[at, inside] = window[inside] / total[first:end]
    return weights.float()


def _reflected(start: int, length: int, side: int) -> Int64[Tensor, "{length}"]:
    """Pixel indices from ``start`` on, mirrored at the first and last as often as needed (these are not repeated)."""
    if side == 1:
        return torch.zeros(length, dtype=torch.int64)
    at = torch.arange(start, start + length) % (2 * (side - 1))
    return torch.minimum(at, 2 * (side - 1) - at)


def _pair(sides: int | tuple[int, int]) -> tuple[int, int]:
    return (sides, sides) if isinstance(sides, int) else (sides[0], sides[1])
