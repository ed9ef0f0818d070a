"""What the backbone of a run's predictor says of the images that it is shown, taken on the way of a prediction."""

from types import TracebackType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from modicum.nn import Backbone, SegmentationNetwork


class EmbeddingTap:
    """Listens to the backbone of a predictor while it answers, so that nothing is computed twice.

    A network with a :class:`~modicum.nn.Backbone` gives its pooled features, a
    :class:`~modicum.nn.SegmentationNetwork` the mean of its encoder's last map. Networks that call parts of a backbone
    (side networks, prompts) are asked once more. Used as a context; nothing is left in the network.

    Args:
        network: the predictor.
    """

    def __init__(self, network: nn.Module) -> None:
        self._source = _source_of(network)
        self._heard: Tensor | None = None
        self._listening: Any = None

    @property
    def available(self) -> bool:
        """Whether the network has a backbone to listen to."""
        return self._source is not None

    def __enter__(self) -> "EmbeddingTap":
        if self._source is not None:
            part = self._source if isinstance(self._source, Backbone) else self._source.encoder
            self._listening = part.register_forward_hook(self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listening is not None:
            self._listening.remove()
        self._listening = self._heard = None

    def _hear(self, module: nn.Module, arguments: Any, output: Any) -> None:
        if self._heard is None:  # of several passes (a mirrored image, say) the first is the image itself
            self._heard = _pooled(output)

    @torch.no_grad()
    def take(self, images: Float[Tensor, "b c h w"]) -> Float[np.ndarray, "b d"] | None:
        """The features of a batch that was just predicted; None where there are none.

        Args:
            images: the batch, on the network's device, in ``[0, 1]``.
        """
        heard, self._heard = self._heard, None
        if self._source is None:
            return None
        if heard is None or len(heard) != len(images):
            heard = self._asked(images)
            self._heard = None
        return None if heard is None else heard.float().cpu().numpy()

    def _asked(self, images: Tensor) -> Tensor | None:
        """What the backbone says of images as they are; None where it takes them only as its network prepares them."""
        assert self._source is not None
        try:
            if isinstance(self._source, SegmentationNetwork):
                return self._source.features_and_logits(images)[0]
            return _pooled(self._source(images))
        except (RuntimeError, AssertionError, ValueError):  # another size, say
            return None


def _source_of(network: nn.Module) -> Backbone | SegmentationNetwork | None:
    kinds = (Backbone, SegmentationNetwork)
    return next((part for part in network.modules() if isinstance(part, kinds)), None)


def _pooled(output: Any) -> Tensor:
    """One vector an image: of several maps the last, of a map or of tokens the mean."""
    last = output[-1] if isinstance(output, list | tuple) else output
    if last.ndim == 4:
        return last.mean((2, 3))
    return last.mean(1) if last.ndim == 3 else last
