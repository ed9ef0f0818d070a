"""MixStyle: mixes the channel statistics (mean and standard deviation) of feature maps between images of a batch.

Zhou et al., "Domain Generalization with MixStyle" (ICLR 2021, arXiv 2104.02008).
"""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.nn.segmentation import SegmentationNetwork

_REDUCTIONS = (4, 8)
"""Strides of the maps that are mixed: after the first two stages of a ResNet, as in the paper."""


class MixStyle(nn.Module):
    """Gives each map of a batch a blend of its own and another image's channel statistics, in training only.

    ``gamma (x - mu) / sigma + beta`` with ``gamma`` and ``beta`` between the standard deviations and the means of the
    two, in a share drawn from Beta(alpha, alpha) for each image. No gradient flows through the statistics.

    Args:
        p: probability that a batch is mixed; 0.5 in the paper.
        alpha: 0.1 in the paper: one of the two mostly prevails.
        eps: added to variances.
    """

    def __init__(self, p: float = 0.5, alpha: float = 0.1, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = p
        self.alpha = alpha
        self.eps = eps

    def forward(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if not self.training or self.p == 0 or float(torch.rand(())) >= self.p:
            return maps
        values = maps.detach().float()
        mean = values.mean((2, 3), keepdim=True)
        spread = (values.var((2, 3), keepdim=True, unbiased=False) + self.eps).sqrt()
        share = torch.distributions.Beta(self.alpha, self.alpha).sample((len(maps), 1, 1, 1)).to(maps.device)
        permutation = torch.randperm(len(maps)).to(maps.device)
        new_mean = torch.lerp(mean[permutation], mean, share)
        new_spread = torch.lerp(spread[permutation], spread, share)
        return ((maps.float() - mean) / spread * new_spread + new_mean).to(maps.dtype)


def insert_mixstyle(network: SegmentationNetwork, p: float, alpha: float = 0.1) -> None:
    """Adds MixStyle after the stages of stride 4 and 8 of a network's encoder. The network's weights are unchanged.

    Raises:
        InputError: an encoder without such stages of its own.
    """
    encoder = cast(Any, network.encoder)
    body = getattr(encoder, "model", None)
    stages = getattr(body, "feature_info", None)
    names = {} if stages is None else dict(zip(stages.reduction(), stages.module_name(), strict=True))
    chosen = [str(names[reduction]).replace(".", "_") for reduction in _REDUCTIONS if reduction in names]
    children = dict(body.named_children()) if isinstance(body, nn.Module) else {}
    if not chosen or not set(chosen) <= set(children) or getattr(encoder, "_is_channel_last", False):
        raise InputError(
            f"mixstyle does not know the stages of encoder '{network.encoder_name}'",
            "choose a convolutional one, for instance resnet18, or leave mixstyle at 0",
        )
    for name in chosen:
        # A hook, and not a layer, so that the encoder keeps the names of its weights.
        mix = MixStyle(p, alpha)
        children[name].add_module("mixstyle", mix)
        children[name].register_forward_hook(lambda _, __, maps, mix=mix: mix(maps))
