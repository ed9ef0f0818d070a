"""Saliency maps of all images, computed once and kept in a store."""

from typing import Any

import torch
from torch import Tensor

from modicum.methods.base import ExtractStage
from modicum.methods.spmix.config import Saliency
from modicum.tasks.base import Batch
from modicum.transforms.saliency import (
    fine_grained_saliency,
    half_sizes_at,
    spectral_residual_saliency,
)


class SaliencyStage(ExtractStage):
    """Computes the saliency of each image, as 256 levels.

    Args:
        detector: ``fine_grained`` or ``spectral_residual``.
        image_size: height and width of the images.
    """

    name = "saliency"
    output = "saliency"
    uses_backbone = False

    def __init__(self, detector: Saliency, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.detector = detector
        self._half_sizes = half_sizes_at(image_size)

    @torch.no_grad()
    def forward(self, batch: Batch) -> Tensor:
        """Uint8 ``[b, h, w, 1]``, as images are stored."""
        images = batch["image"].float()
        if self.detector == "fine_grained":
            maps = fine_grained_saliency(images, self._half_sizes)
        else:
            maps = spectral_residual_saliency(images)
        return (maps * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def settings(self) -> dict[str, Any]:
        sizes = {"half_sizes": list(self._half_sizes)} if self.detector == "fine_grained" else {}
        return {"version": 1, "saliency": self.detector, **sizes}
