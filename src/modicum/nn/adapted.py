"""A classifier of which a part learns: the backbone stays frozen but for what a method put into it or unfroze."""

from collections.abc import Iterable, Sequence

from torch import nn

from modicum.nn.backbones import Backbone
from modicum.nn.classifier import Classifier


class AdaptedClassifier(Classifier):
    """A frozen backbone with learned parts inside, and a head.

    The backbone is in evaluation mode whatever happens around it; only the learned parts and the head follow
    ``train()``. (:class:`~modicum.nn.Frozen` says the same of a backbone without learned parts.)

    Args:
        backbone: already changed; what does not learn has ``requires_grad`` off.
        head: from features to logits.
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
