"""DFR: an auto-encoder of the features at each place (Yang et al., arXiv 2012.07122)."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.nn.one_class.maps import Reduce, blurred, joined, reduce_map, upsampled
from modicum.nn.one_class.scorer import Maps, OneClassScore, OneClassScorer

KEPT_VARIANCE = 0.9


class DeepFeatureReconstruction(OneClassScorer):
    """Squared error of an auto-encoder of 1 x 1 convolutions over the joined, normalised maps.

    ``C -> (C + 2d) / 2 -> 2d -> d -> 2d -> (C + 2d) / 2 -> C``, batch norm and ReLU between, none at the ends. Channels
    are normalised by their mean and standard deviation over the fitted images, which are streamed once before it learns.

    Args:
        channels: of the maps; their sum is ``C``.
        width: ``d``. The paper takes the principal components that keep 90 % of the variance: after streaming,
            :attr:`components` says how many that are for these images.
        reduce: from the map to the score.
        sigma: of the map's blur, in pixels of the image.
    """

    mean: Tensor
    std: Tensor
    components: Tensor

    def __init__(
        self, channels: tuple[int, ...], width: int = 64, reduce: Reduce = "mean", sigma: float = 4.0
    ) -> None:
        super().__init__()
        total = sum(channels)
        middle = (total + 2 * width) // 2
        sizes = [total, middle, 2 * width, width, 2 * width, middle, total]
        layers: list[nn.Module] = []
        for number, (inside, outside) in enumerate(pairwise(sizes)):
            layers.append(nn.Conv2d(inside, outside, 1))
            if number < len(sizes) - 2:
                layers += [nn.BatchNorm2d(outside), nn.ReLU()]
        self.network = nn.Sequential(*layers)
        self.reduce, self.sigma = reduce, sigma
        self.register_buffer("mean", torch.zeros(total))
        self.register_buffer("std", torch.ones(total))
        self.register_buffer("components", torch.tensor(0))
        self._count = 0
        self._sums = self._products = torch.zeros(0)

    def _raw(self, maps: Maps) -> Float[Tensor, "b c h w"]:
        return joined(maps, (int(maps[0].shape[2]), int(maps[0].shape[3])))

    def see(self, maps: Maps, number: int) -> None:
        flat = self._raw(maps).transpose(0, 1).flatten(1).double()
        if self._count == 0:
            self._sums, self._products = flat.sum(1), flat @ flat.T
        else:
            self._sums += flat.sum(1)
            self._products += flat @ flat.T
        self._count += flat.shape[1]

    def finish(self, number: int) -> None:
        if self._count == 0:
            raise InputError("no image to fit to", "add good images")
        mean = self._sums / self._count
        covariance = self._products / self._count - mean[:, None] * mean[None]
        std = covariance.diagonal().clamp_min(0).sqrt().clamp_min(1e-6)
        self.mean, self.std = mean.float(), std.float()
        self.components = torch.tensor(
            kept_components(covariance / (std[:, None] * std[None])), device=self.mean.device
        )
        self._count = 0
        self._sums = self._products = torch.zeros(0)

    def normalised(self, maps: Maps) -> Float[Tensor, "b c h w"]:
        """The joined maps, each channel with mean 0 and standard deviation 1 over the fitted images."""
        return (self._raw(maps) - self.mean[:, None, None]) / self.std[:, None, None]

    def _errors(self, maps: Maps) -> Float[Tensor, "b h w"]:
        features = self.normalised(maps)
        return ((self.network(features) - features) ** 2).mean(1)

    def losses(self, maps: Maps) -> Float[Tensor, ""]:
        """Mean squared error of normalised features."""
        return self._errors(maps).mean()

    def forward(self, maps: Maps, size: tuple[int, int]) -> OneClassScore:
        found = blurred(upsampled(self._errors(maps), size), self.sigma)
        return OneClassScore(reduce_map(found, self.reduce), found)


def kept_components(covariance: Float[Tensor, "d d"], share: float = KEPT_VARIANCE) -> int:
    """How many principal components keep a share of the variance."""
    values = torch.linalg.eigvalsh(covariance).flip(0).clamp_min(0)
    kept = values.cumsum(0) / values.sum().clamp_min(1e-12)
    return int((kept < share - 1e-9).sum()) + 1
