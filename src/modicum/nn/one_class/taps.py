"""Feature maps of a frozen backbone at three depths: what one-class scorers look at."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.nn.backbones import Backbone
from modicum.nn.frozen import Frozen

STRIDES = (4, 8, 16)
"""Of the maps of a network that has several sizes: residual stages 1 to 3."""


class FeatureTaps(nn.Module):
    """The maps of a frozen backbone at three depths, from fine to coarse.

    Convolutional networks give the last map of strides 4, 8 and 16 (residual stages 1 to 3); what comes after them is
    not computed. Networks whose maps all have one size, such as plain vision transformers, give those of three blocks
    that are spread over their depth.

    Args:
        backbone: any timm network with maps inside.

    Attributes:
        channels: of each map.
        strides: of each map, in pixels of the image.

    Raises:
        InputError: the backbone has no maps that can be read.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = Frozen(backbone)
        self._indices, self.channels, self.strides = _levels(backbone)

    @property
    def network(self) -> Backbone:
        """The backbone itself."""
        network = self.backbone.module
        assert isinstance(network, Backbone)
        return network

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Three maps of images in ``[0, 1]``, in single precision."""
        network = self.network
        maps = network.body.forward_intermediates(
            network.normalise(images), indices=list(self._indices), intermediates_only=True, output_fmt="NCHW"
        )
        return [one.float() for one in maps]


def _levels(backbone: Backbone) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Indices, channels and strides of the maps that are read."""
    info = list(getattr(backbone.body, "feature_info", None) or [])
    if not info or not hasattr(backbone.body, "forward_intermediates"):
        raise InputError(
            f"backbone '{backbone.name}' has no maps that a one-class method could read",
            "choose for instance resnet18 or wide_resnet50_2",
        )
    strides = [int(one["reduction"]) for one in info]
    by_stride = {stride: index for index, stride in enumerate(strides)}
    if all(stride in by_stride for stride in STRIDES):
        indices = tuple(by_stride[stride] for stride in STRIDES)
    else:
        last = len(info) - 1
        indices = tuple(dict.fromkeys(round(last * part / 3) for part in (1, 2, 3)))
    return (
        indices,
        tuple(int(info[index]["num_chs"]) for index in indices),
        tuple(strides[index] for index in indices),
    )
