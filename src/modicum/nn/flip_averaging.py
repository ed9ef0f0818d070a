"""Test-time augmentation: averages a network's outputs for an image and its mirror images."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FlipAveraged(nn.Module):
    """The mean of a dense network's outputs (logits) for an image and its three mirror images, mirrored back.

    The output is equivariant to mirroring. It takes four times as long.

    Args:
        network: maps images to outputs of the same height and width.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b outputs h w"]:
        outputs: Tensor = self.network(images)
        for axes in ((3,), (2,), (2, 3)):
            outputs = outputs + torch.flip(self.network(torch.flip(images, axes)), axes)
        return outputs / 4
