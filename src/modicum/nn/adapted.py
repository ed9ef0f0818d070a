"""A classifier with a frozen backbone, of which only the parts that a method added or unfroze are trained."""

from collections.abc import Iterable, Sequence

from torch import nn

from modicum.nn.backbones import Backbone
from modicum.nn.classifier import Classifier


class AdaptedClassifier(Classifier):
    """A frozen backbone with trainable parts inside, and a head.

    The backbone always stays in evaluation mode; only the trainable parts and the head follow
    ``train()``. (:class:`~modicum.nn.Frozen` does the same for a backbone without trainable parts.)

    Args:
        backbone: already adapted; parameters that are not trained have ``requires_grad=False``.
        head: maps features to logits.
        parts: the modules inside the backbone that follow ``train()``.
    """

    def __init__(self, backbone: Backbone, head: nn.Module, parts: Iterable[nn.Module]) -> None:
        super().__init__(backbone, head)
        # A tuple is not searched for submodules: they are registered once, inside the backbone.
        self.parts: Sequence[nn.Module] = tuple(parts)
        self.train(self.training)

    def train(self, mode: bool = True) -> "AdaptedClassifier":
        super().train(mode)
        self.backbone.eval()
        for part in self.parts:
            part.train(mode)
        return self
