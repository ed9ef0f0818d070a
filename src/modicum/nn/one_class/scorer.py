"""What every one-class scorer owes: it is fitted on feature maps of good images, and then scores others.

A scorer sees maps, never images or files; one pass of the encoder serves several scorers. What it finds is in its
buffers, so that it is saved and loaded like any module.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

Maps = Sequence[Float[Tensor, "b _ _ _"]]
"""Feature maps of some images, from fine to coarse; channels and grid differ from one to the next."""


@dataclass(frozen=True)
class OneClassScore:
    """Scores of some images.

    Attributes:
        score: a number an image; higher is further from what was fitted.
        map: where it comes from, ``[b, h, w]`` of the image's size and not negative; None where a scorer has none.
    """

    score: Float[Tensor, "b"]
    map: Float[Tensor, "b h w"] | None = None


class OneClassScorer(nn.Module, ABC):
    """A measure of how far images are from those it was fitted to.

    Scorers that learn by gradients have ``losses(maps)`` besides and need not be streamed.

    Attributes:
        has_map: whether it says where in an image its score comes from.
        num_passes: how often it wants to see all images that it is fitted to; 0 for one that learns by gradients only.
    """

    has_map: bool = True
    num_passes: int = 1

    def see(self, maps: Maps, number: int) -> None:
        """Takes the maps of some images in pass ``number`` (from 0)."""
        raise TypeError(f"{type(self).__name__} is not fitted by streaming")

    def finish(self, number: int) -> None:
        """Called after each pass."""
        raise TypeError(f"{type(self).__name__} is not fitted by streaming")

    @abstractmethod
    def forward(self, maps: Maps, size: tuple[int, int]) -> OneClassScore:
        """Scores images by their maps; each image by itself.

        Args:
            maps: of the images.
            size: height and width of the images, which the map gets.
        """
