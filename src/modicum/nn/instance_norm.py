"""Instance normalisation (Ulyanov et al., 2016, arXiv 1607.08022) that leaves images in their memory layout."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class InstanceNorm(nn.InstanceNorm2d):
    """:class:`torch.nn.InstanceNorm2d` without weights, whose result lies in memory as what it was given.

    PyTorch's own lays ``channels_last`` features out anew, and the next convolution once more. Group normalisation
    with a group for each channel is the same function, and keeps the layout on a CPU.
    """

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        laid = features.is_contiguous(memory_format=torch.channels_last) and not features.is_contiguous()
        if laid and features.device.type == "cpu":
            return functional.group_norm(features, features.shape[1], eps=self.eps)
        return super().forward(features)
