"""The first convolution of an image network."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FirstConvolution(nn.Conv2d):
    """:class:`torch.nn.Conv2d` that chooses the memory format of its features.

    A one-channel image has no memory format of its own, so all features would be channels first. On a CPU in bfloat16
    a training step of RegGAN takes a third less time with channels last.
    """

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b features rows columns"]:
        features = super().forward(images)
        if features.dtype == torch.bfloat16 and features.device.type == "cpu":
            return features.contiguous(memory_format=torch.channels_last)
        return features
