"""Scaling and shifting of a layer's outputs, which can be folded into the layer afterwards."""

import copy

import torch
from torch import Tensor, nn

from modicum.errors import InputError


class ScaleShift(nn.Module):
    """A frozen layer whose output channels are scaled and shifted: ``scale * layer(x) + shift``.

    Starts at N(1, 0.02^2) and N(0, 0.02^2) (Lian et al., Scaling & Shifting Your Features, arXiv 2210.08823).

    Args:
        layer: linear layer, convolution or layer norm.

    Raises:
        InputError: the layer is of another type, into which they cannot be folded.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        if not isinstance(layer, nn.Linear | nn.Conv2d | nn.LayerNorm):
            raise InputError(
                f"scale and shift cannot be folded into a layer of type {type(layer).__name__}",
                "choose a backbone of linear layers and layer norms, for instance vit_base_patch16_224",
            )
        self.layer = layer
        channel = layer.weight.detach().flatten(1)[:, 0] if layer.weight.ndim > 1 else layer.weight.detach()
        self.scale = nn.Parameter(torch.empty_like(channel))
        self.shift = nn.Parameter(torch.empty_like(channel))
        nn.init.normal_(self.scale, mean=1.0, std=0.02)
        nn.init.normal_(self.shift, std=0.02)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.layer(inputs)
        if isinstance(self.layer, nn.Conv2d):  # channels first
            return outputs * self.scale[:, None, None] + self.shift[:, None, None]
        return outputs * self.scale + self.shift

    @torch.no_grad()
    def folded(self) -> nn.Module:
        """One layer of the frozen layer's type that computes the same."""
        layer = copy.deepcopy(self.layer)
        weight, bias = layer.weight, layer.bias
        scale = self.scale.view(-1, *[1] * (weight.ndim - 1))
        weight.copy_(weight * scale)
        shift = self.shift if bias is None else self.shift + bias * self.scale
        layer.bias = nn.Parameter(shift.detach().clone(), requires_grad=False)
        return layer


def folded_copy(network: nn.Module) -> nn.Module:
    """A copy of a network with every :class:`ScaleShift` folded into its layer."""
    plain = copy.deepcopy(network)
    for name, part in list(plain.named_modules()):
        if isinstance(part, ScaleShift):
            plain.set_submodule(name, part.folded())
    return plain
