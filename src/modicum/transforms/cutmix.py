"""CutMix: a box of one image on another, whose targets have the share of their area.

Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features" (ICCV 2019, arXiv
1905.04899); one box for a batch, as in the authors' code.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def random_box(size: tuple[int, int], share: float) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of a box at a random place, cut off at the border; by PyTorch's generator.

    Args:
        size: height and width of the images.
        share: of the image that stays, 0 to 1: the box has ``sqrt(1 - share)`` of both sides before it is cut off.
    """
    height, width = size
    ratio = max(0.0, 1 - share) ** 0.5
    half_height, half_width = int(height * ratio) // 2, int(width * ratio) // 2
    row, column = int(torch.randint(height, ())), int(torch.randint(width, ()))
    return (
        max(0, row - half_height),
        max(0, column - half_width),
        min(height, row + half_height),
        min(width, column + half_width),
    )


def paste_box(
    images: Float[Tensor, "b c h w"], others: Float[Tensor, "b c h w"], box: tuple[int, int, int, int]
) -> tuple[Float[Tensor, "b c h w"], float]:
    """Images with a box of the others, and the share of their area that is still theirs.

    >>> mixed, share = paste_box(torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4), (0, 0, 2, 2))
    >>> mixed.sum().item(), share
    (4.0, 0.75)
    """
    top, left, bottom, right = box
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
    area = (bottom - top) * (right - left)
    return mixed, 1 - area / (images.shape[2] * images.shape[3])
