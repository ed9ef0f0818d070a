"""Adapters: a narrow pair of linear layers after, or parallel to, a part of a frozen network."""

from jaxtyping import Float
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """Down-projection, non-linearity, dropout, up-projection; its output is zero at the start.

    Args:
        width: features in and out.
        hidden: features in between.
        activation: the non-linearity.
        dropout: share of hidden features set to zero in training.
    """

    def __init__(self, width: int, hidden: int, activation: nn.Module, dropout: float = 0.0) -> None:
        super().__init__()
        self.down = nn.Linear(width, hidden)
        self.activation = activation
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(hidden, width)
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, tokens: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return self.up(self.dropout(self.activation(self.down(tokens))))


class SerialAdapter(nn.Module):
    """A part of a network followed by a bottleneck with a skip connection: ``y + bottleneck(y)``, ``y = part(x)``.

    Args:
        part: the frozen part.
        bottleneck: the trainable part.
    """

    def __init__(self, part: nn.Module, bottleneck: Bottleneck) -> None:
        super().__init__()
        self.part = part
        self.bottleneck = bottleneck

    def forward(self, tokens: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        outputs = self.part(tokens)
        return outputs + self.bottleneck(outputs)


class ParallelAdapter(nn.Module):
    """A part of a network and a bottleneck in parallel: ``part(x) + scale * bottleneck(x)``.

    Args:
        part: the frozen part.
        bottleneck: the trainable part.
        scale: weight of the bottleneck.
    """

    def __init__(self, part: nn.Module, bottleneck: Bottleneck, scale: float) -> None:
        super().__init__()
        self.part = part
        self.bottleneck = bottleneck
        self.scale = scale

    def forward(self, tokens: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return self.part(tokens) + self.scale * self.bottleneck(tokens)
