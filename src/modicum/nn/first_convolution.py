"""The convolution that a network of images begins with."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FirstConvolution(nn.Conv2d):
    """:class:`torch.nn.Conv2d` that decides how its features lie in memory.

    A grey image has no layout of its own, so that all that follows would have its channels first. On a CPU in bfloat16
    a training step of RegGAN takes a third less with them last.
    """

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b features rows columns"]:
        features = super().forward(images)
        if features.dtype == torch.bfloat16 and features.device.type == "cpu":
            return features.contiguous(memory_format=torch.channels_last)
        return features
