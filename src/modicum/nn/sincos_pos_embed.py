"""Fixed sine-cosine position embeddings of a grid of patches (MAE, He et al., CVPR 2022, arXiv 2111.06377)."""

import torch
from jaxtyping import Float64
from torch import Tensor


def sincos_pos_embed(grid: tuple[int, int], width: int, prefix: int = 1) -> Float64[Tensor, "1 tokens width"]:
    """Position embeddings, one for each token: zeros for the prefix, then the patches row by row.

    The first half of an embedding encodes the patch's column, the second its row, as in MAE's weights. Each half is
    ``[sin(p f), cos(p f)]`` with the frequencies ``f = 10000^(-4 i / width)``, ``i`` from 0.

    Args:
        grid: rows and columns of patches.
        width: features of a token, a multiple of 4.
        prefix: class and register tokens before the patches.
    """
    if width % 4:
        raise ValueError(f"width {width} is not a multiple of 4")
    rows, columns = (torch.arange(side, dtype=torch.float64) for side in grid)
    frequencies = 10_000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))

    def waves(coordinates: Tensor) -> Tensor:
        angles = coordinates.flatten().unsqueeze(1) * frequencies
        return torch.cat([angles.sin(), angles.cos()], 1)

    row_of, column_of = torch.meshgrid(rows, columns, indexing="ij")
    patches = torch.cat([waves(column_of), waves(row_of)], 1)
    return torch.cat([patches.new_zeros(prefix, width), patches]).unsqueeze(0)
