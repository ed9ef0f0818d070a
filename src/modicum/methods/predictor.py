"""What the engine asks of a predictor besides ``forward``."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn


@runtime_checkable
class Explains(Protocol):
    """A predictor that can say where it looked. Others are explained by gradients, where they have any."""

    def explain(
        self, image: Float[Tensor, "1 c h w"], output: int
    ) -> tuple[Float[Tensor, "1 1 rows columns"], str] | None:
        """How much each place of an image counts for one output, and the name of the map; None: no explanation."""


@runtime_checkable
class Draws(Protocol):
    """A predictor whose answers are drawn at random (``draws = True``); it is given a seed for each image.

    The seed is a function of the run's seed and the image's file name, so that an image gets the same answer in any
    batch and any order.
    """

    draws: bool

    def __call__(self, images: Float[Tensor, "b c h w"], seeds: Int64[Tensor, "b"]) -> Tensor:
        """Outputs; the same for the same image and seed."""


@runtime_checkable
class AnswersWithMaps(Protocol):
    """A predictor of pictures that knows more of its answers than they show (how sure they are), found with them.

    Attributes:
        map_names: names of the maps.
    """

    map_names: tuple[str, ...]

    def with_maps(
        self, images: Float[Tensor, "b c h w"], seeds: Int64[Tensor, "b"]
    ) -> tuple[Float[Tensor, "b channels h w"], Mapping[str, Float[Tensor, "b h w"]]]:
        """Outputs, and maps in ``[0, 1]`` by name."""


@runtime_checkable
class TilesItself(Protocol):
    """A predictor that sees large images in tiles by itself, where blending its outputs would not do."""

    def with_tiles(self, tile: tuple[int, int], overlap: tuple[int, int]) -> nn.Module:
        """A predictor for images of any size. Height and width of tiles, and their overlap, in pixels."""


@runtime_checkable
class KnowsItsImages(Protocol):
    """A predictor of pictures that can tell images which are unlike those that it learned from."""

    def unlike(self, images: Float[Tensor, "b c h w"]) -> Bool[Tensor, "b"]:
        """Which are."""


@runtime_checkable
class MakesMaps(Protocol):
    """A predictor with maps of what it found (anomaly, quality).

    They are written next to the predictions on request, and shown over examples where there is no ``explain``. Scores
    that measure maps by masks (:class:`~modicum.tasks.scores.MapScores`) take the first one.
    """

    def maps(self, images: Float[Tensor, "b c h w"]) -> Mapping[str, Float[Tensor, "b rows columns"]]:
        """Named maps in ``[0, 1]``, of any resolution; they are resized to the image's size."""


@runtime_checkable
class MakesGraph(Protocol):
    """A predictor whose ``forward`` cannot be traced (it draws, or branches by values), and that has another that can."""

    def for_graph(self) -> nn.Module:
        """A module from images, and noise ``[b, samples, c, h, w]`` where it has ``noise_samples`` above 0, to outputs.

        The noise of an image is drawn sample by sample from a generator seeded for it, as ``forward`` draws its own.
        """
