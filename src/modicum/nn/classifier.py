"""A backbone and a head: the network of every image-level task."""

from jaxtyping import Float
from torch import Tensor, nn

from modicum.nn.backbones import Backbone
from modicum.nn.frozen import Frozen


class Classifier(nn.Module):
    """Backbone, dropout, one linear layer.

    Args:
        backbone: maps images to feature vectors; wrapped in :class:`Frozen` where it is not trained.
        head: from features to logits, see :func:`linear_head`.
    """

    def __init__(self, backbone: Backbone | Frozen, head: nn.Module) -> None:
        super().__init__()
        self._backbone = backbone
        self.head = head

    @property
    def backbone(self) -> Backbone:
        """The backbone itself, also where it is frozen."""
        inner = self._backbone.module if isinstance(self._backbone, Frozen) else self._backbone
        assert isinstance(inner, Backbone)
        return inner

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b outputs"]:
        """Images in ``[0, 1]`` to logits."""
        return self.head(self._backbone(images))


def linear_head(num_features: int, num_outputs: int, dropout: float = 0.0) -> nn.Sequential:
    """Dropout and one linear layer, initialised with zero bias and N(0, 0.01^2) weights."""
    linear = nn.Linear(num_features, num_outputs)
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.Dropout(dropout), linear)
