"""What an ensemble predicts: the outputs of its members as one, with what all of them offer besides."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.errors import InputError
from modicum.methods.predictor import KnowsItsImages, MakesGraph, MakesMaps, TilesItself
from modicum.nn.tiles import tiled

Join = Callable[[Sequence[Tensor]], Tensor]
"""From the outputs of all members to those of the ensemble."""


class EveryOutput(nn.Module):
    """The outputs of all members as one.

    Args:
        predictors: from images to outputs; one that draws is given the seed of each image, the same as all others.
        join: makes one output of all.
    """

    def __init__(self, predictors: Sequence[nn.Module], join: Join) -> None:
        super().__init__()
        self.predictors = nn.ModuleList(predictors)
        self._join = join

    def forward(
        self, images: Float[Tensor, "b c h w"], seeds: Int64[Tensor, "b"] | None = None
    ) -> Float[Tensor, "b ..."]:
        return self._join(
            [
                predictor(images, seeds) if _draws(predictor) else predictor(images)
                for predictor in self.predictors
            ]
        )

    @property
    def draws(self) -> bool:
        """Whether any member takes a seed for each image."""
        return any(_draws(predictor) for predictor in self.predictors)


class EveryPicture(EveryOutput):
    """Of members that make pictures, of which some see large images in tiles by themselves or know their images."""

    def with_tiles(self, tile: tuple[int, int], overlap: tuple[int, int]) -> "EveryPicture":
        """The same for images of any size; the other members' outputs are blended."""
        other = copy(self)
        other._modules = dict(self._modules)
        other.predictors = nn.ModuleList(
            one.with_tiles(tile, overlap) if isinstance(one, TilesItself) else InTiles(one, tile, overlap)
            for one in self.predictors
        )
        return other

    def unlike(self, images: Float[Tensor, "b c h w"]) -> Bool[Tensor, "b"]:
        """Which images are unlike what they learned from to half of the members that know theirs, or more."""
        know = [one.unlike(images) for one in self.predictors if isinstance(one, KnowsItsImages)]
        if not know:
            return torch.zeros(len(images), dtype=torch.bool)
        return torch.stack(know).float().mean(0) >= 0.5

    def for_graph(self) -> "EveryGraph":
        """The same from images and noise, where members draw; see :class:`~modicum.methods.predictor.MakesGraph`.

        Raises:
            InputError: members draw different numbers of samples.
        """
        return EveryGraph(self.predictors, self._join)


class EveryGraph(nn.Module):
    """Networks that a graph can be made of, of which those that draw take the same noise.

    Args:
        predictors: of the members.
        join: makes one output of all.

    Attributes:
        noise_samples: how many times an image is sampled; 0 where no member draws.

    Raises:
        InputError: members draw different numbers of samples.
    """

    def __init__(self, predictors: Iterable[nn.Module], join: Join) -> None:
        super().__init__()
        self.networks = nn.ModuleList(
            one.for_graph() if isinstance(one, MakesGraph) else one for one in predictors
        )
        counts = {_noise_samples(network) for network in self.networks} - {0}
        if len(counts) > 1:
            raise InputError(
                f"members of the ensemble draw {' and '.join(map(str, sorted(counts)))} samples of an image, and a graph "
                "takes one number",
                "export it as safetensors, which modicum.load_exported reads",
            )
        self.noise_samples = max(counts, default=0)
        self._join = join

    def forward(
        self, images: Float[Tensor, "b c h w"], noise: Float[Tensor, "b samples _ h w"] | None = None
    ) -> Float[Tensor, "b ..."]:
        return self._join(
            [
                network(images, noise) if _noise_samples(network) else network(images)
                for network in self.networks
            ]
        )


class EveryMap(EveryOutput):
    """Of members that all make maps."""

    @torch.no_grad()
    def maps(self, images: Float[Tensor, "b c h w"]) -> Mapping[str, Float[Tensor, "b rows columns"]]:
        """The mean of each map that all members make, at the resolution of the first member's."""
        made = [one.maps(images) for one in self.predictors]  # type: ignore[operator]
        return {
            name: torch.stack([_of_size(of_one[name], values.shape[-2:]) for of_one in made]).mean(0)
            for name, values in made[0].items()
            if all(name in of_one for of_one in made)
        }


class InTiles(nn.Module):
    """A predictor of pictures that sees a large image in tiles, whose outputs are blended."""

    def __init__(self, predictor: nn.Module, tile: tuple[int, int], overlap: tuple[int, int]) -> None:
        super().__init__()
        self.predictor, self.tile, self.overlap = predictor, tile, overlap

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b out h w"]:
        height, width = (min(side, length) for side, length in zip(self.tile, images.shape[2:], strict=True))
        if (height, width) == images.shape[2:]:
            return self.predictor(images)
        overlap = min(self.overlap[0], height - 1), min(self.overlap[1], width - 1)
        return torch.stack([tiled(self.predictor, one, (height, width), overlap) for one in images])


def joined_predictor(predictors: Sequence[nn.Module], join: Join) -> EveryOutput:
    """The predictor of an ensemble.

    Args:
        predictors: of its members.
        join: makes one output of all.
    """
    if any(isinstance(one, TilesItself | KnowsItsImages) for one in predictors):
        return EveryPicture(predictors, join)
    if all(isinstance(one, MakesMaps) for one in predictors):
        return EveryMap(predictors, join)
    return EveryOutput(predictors, join)


def _draws(predictor: nn.Module) -> bool:
    return bool(getattr(predictor, "draws", False))


def _noise_samples(network: nn.Module) -> int:
    return int(getattr(network, "noise_samples", 0))


def _of_size(values: Float[Tensor, "b _ _"], size: Sequence[int]) -> Float[Tensor, "b rows columns"]:
    if tuple(values.shape[-2:]) == tuple(size):
        return values
    return F.interpolate(values[:, None], tuple(size), mode="bilinear", align_corners=False)[:, 0]
