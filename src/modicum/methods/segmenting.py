"""Base class of the methods whose result is one segmentation network."""

from typing import Any

from torch import nn

from modicum.methods.base import PREDICTOR, Context, Method
from modicum.nn import FlipAveraged, SegmentationNetwork


class SegmentingMethod(Method):
    """A method whose configuration names ``architecture``, ``decoder_width`` and ``flips``, and whose one stage has a
    ``network`` and a ``tile``.
    """

    config: Any
    _stage: Any
    _encoder: str

    def network(self, context: Context) -> SegmentationNetwork:
        """The configured decoder on the run's backbone."""
        backbone = context.backbone()
        self._encoder = backbone.name
        return SegmentationNetwork.on_backbone(
            self.config.architecture, backbone, context.task.num_outputs, self.config.decoder_width
        )

    def predictor(self) -> nn.Module:
        return FlipAveraged(self._stage.network) if self.config.flips else self._stage.network

    def tile(self) -> tuple[int, int] | None:
        return self._stage.tile

    def merge(self) -> nn.Module:
        """The encoder alone, as a backbone: another run can start from it (``run:FOLDER``).

        Raises:
            InputError: the encoder leaves out layers of that backbone.
        """
        network: SegmentationNetwork = self._stage.network
        return network.backbone(self.context.image_size).eval()

    def export_network(self, part: str = PREDICTOR) -> tuple[nn.Module, dict[str, Any]]:
        """The network; the card names its encoder."""
        network, card = super().export_network(part)
        return network, {**card, "encoder": self._encoder}
