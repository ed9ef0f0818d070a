"""RandAugment: some random operations in a row, all at one strength.

Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search space" (NeurIPS 2020), over the
ten operations of AADG (:data:`~modicum.transforms.POLICY_OPERATIONS`), which is what AADG has to be compared with.

>>> import torch
>>> augment = RandAugment(length=2, strength=9)
>>> augment({"image": torch.rand(4, 3, 64, 64)}, torch.Generator().manual_seed(0))["image"].shape
torch.Size([4, 3, 64, 64])
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Int64
from pydantic import Field
from torch import Tensor

from modicum.transforms.operation import Drawn, PhotometricOperation, Shape
from modicum.transforms.policy import POLICY_OPERATIONS, apply_sub_policies
from modicum.transforms.windows import uniform

STRONGEST = 9
BINS = 2 * STRONGEST + 1
"""Number of magnitudes; the middle one is the factor 1."""
_TWO_SIDED = ("contrast", "color", "brightness", "sharpness")
_DOWNWARDS = ("solarize", "posterize")
"""Operations that do nothing at their highest magnitude."""


class RandAugment(PhotometricOperation):
    """Applies random operations, drawn for each image, at the 256 levels of 8-bit images.

    Contrast, colour, brightness and sharpness are raised or lowered, one as likely as the other. Masks stay as they
    are, also under a cutout. Images have 1 or 3 channels.

    Attributes:
        p: probability that an image is changed.
        length: operations in a row (N in the paper).
        strength: of all of them (M), from 0, which changes nothing but by the operations without a strength
            (autocontrast, invert, equalize), to 9, the strongest that AADG searches among.
    """

    name: Literal["randaugment"] = "randaugment"
    length: Annotated[int, Field(ge=1)] = 2
    strength: Annotated[int, Field(ge=0, le=STRONGEST)] = STRONGEST

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        """``steps`` [count, length, 2]: operations and magnitudes; ``centre`` [count, length, 2] of cutouts."""
        kinds = uniform(count, (0.0, float(len(POLICY_OPERATIONS))), generator, self.length).long()
        raised = uniform(count, (0.0, 1.0), generator, self.length) < 0.5
        centre = uniform(count, (0.0, 1.0), generator, 2 * self.length).view(count, self.length, 2)
        return {"steps": torch.stack((kinds, magnitudes(kinds, self.strength, raised)), -1), "centre": centre}

    def change(self, image: Tensor, drawn: Drawn) -> Tensor:
        return apply_sub_policies(image, drawn, BINS)


def magnitudes(
    kinds: Int64[Tensor, "*shape"], strength: int, raised: Bool[Tensor, "*shape"]
) -> Int64[Tensor, "*shape"]:
    """Magnitude bins, of :data:`BINS`, at which operations have a strength.

    Args:
        kinds: indices of operations.
        strength: from 0 to :data:`STRONGEST`.
        raised: whether those that can do both rather raise than lower.
    """
    bins = torch.full_like(kinds, 2 * strength)
    for index, name in enumerate(POLICY_OPERATIONS):
        if name in _DOWNWARDS:
            bins[kinds == index] = BINS - 1 - 2 * strength
        if name in _TWO_SIDED:
            bins = bins.where(kinds != index, STRONGEST + strength * (2 * raised.long() - 1))
    return bins
