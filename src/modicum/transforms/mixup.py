"""Mixup for dense targets: pairs of images and their masks, blended.

Zhang et al., "mixup: Beyond Empirical Risk Minimization" (ICLR 2018, arXiv 1710.09412), with the mixing of the authors'
code: one share for a batch, each image with another one of the batch.
"""

import torch

from modicum.errors import InputError
from modicum.transforms.operation import Batch, require_image


def mixup(batch: Batch, alpha: float) -> Batch:
    """A batch whose images and masks are blended with those of a random other order, by PyTorch's generator.

    The share is drawn from Beta(alpha, alpha), and pixels count where they do in both images.

    Args:
        batch: ``image`` float ``[b, c, h, w]``, ``mask`` float ``[b, channels, h, w]`` of 0 to 1, and ``fov``, where
            there is one, bool ``[b, 1, h, w]``. All else stays that of the first image.
        alpha: over 0; below 1 one of the two images mostly prevails.

    Raises:
        InputError: a mask of numbers that cannot be blended.
    """
    image, mask = require_image(batch), batch["mask"]
    if not mask.is_floating_point():
        raise InputError(
            f"mixup blends channels of 0 to 1, and the masks are {str(mask.dtype).removeprefix('torch.')}",
            "assemble the batch first",
        )
    share = _share(alpha)
    other = torch.randperm(len(image)).to(image.device)
    mixed = {
        **batch,
        "image": torch.lerp(image[other], image, share),
        "mask": torch.lerp(mask[other], mask, share),
    }
    if "fov" in batch:
        mixed["fov"] = (batch["fov"] != 0) & (batch["fov"] != 0)[other]
    return mixed


def _share(alpha: float) -> float:
    return float(torch.distributions.Beta(alpha, alpha).sample())
