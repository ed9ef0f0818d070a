"""PaDiM: a Gaussian of the features at each place (Defard et al., ICPR 2021 workshops, arXiv 2011.08785)."""

import torch
from torch import Tensor

from modicum.errors import InputError
from modicum.nn.one_class.maps import Reduce, blurred, joined, reduce_map, upsampled
from modicum.nn.one_class.scorer import Maps, OneClassScore, OneClassScorer

USUAL_CHANNELS = {448: 100, 1792: 550}
"""Channels that are kept, of ResNet-18's 448 and WideResNet-50-2's 1,792, as published."""


class PadimScorer(OneClassScorer):
    """Mahalanobis' distance, place by place, to the fitted images' features there.

    Of the maps on the first one's grid a fixed random part of the channels is kept. Sums are accumulated in double
    precision as images stream by; ``0.01 I`` is added to each covariance. Sensitive to shifts of a few pixels.

    Args:
        channels: of the maps.
        kept: how many channels are kept; as published for the networks of the paper, else at most 100.
        reduce: from the map to the score.
        sigma: of the map's blur, in pixels of the image.
        seed: of the choice of channels.
    """

    mean: Tensor
    whitening: Tensor
    chosen: Tensor

    def __init__(
        self,
        channels: tuple[int, ...],
        kept: int | None = None,
        reduce: Reduce = "max",
        sigma: float = 4.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        total = sum(channels)
        count = min(total, kept or USUAL_CHANNELS.get(total, 100))
        draw = torch.Generator().manual_seed(seed)
        self.reduce, self.sigma = reduce, sigma
        self.register_buffer("chosen", torch.randperm(total, generator=draw)[:count].sort().values)
        self.register_buffer("mean", torch.zeros(0, count))
        self.register_buffer("whitening", torch.zeros(0, count, count))
        self._count = 0
        self._sums = self._products = torch.zeros(0)

    def _vectors(self, maps: Maps) -> tuple[Tensor, tuple[int, int]]:
        """Kept channels at each place ``[places, b, d]``, and the grid."""
        grid = (int(maps[0].shape[2]), int(maps[0].shape[3]))
        kept = joined(maps, grid)[:, self.chosen]
        return kept.flatten(2).permute(2, 0, 1), grid

    def see(self, maps: Maps, number: int) -> None:
        vectors = self._vectors(maps)[0].double()
        products = vectors.transpose(1, 2) @ vectors
        if self._count == 0:
            self._sums, self._products = vectors.sum(1), products
        else:
            self._sums += vectors.sum(1)
            self._products += products
        self._count += vectors.shape[1]

    def finish(self, number: int) -> None:
        if self._count < 2:
            raise InputError(
                "PaDiM was given one image, and a covariance takes at least two", "add good images to fit to"
            )
        mean = self._sums / self._count
        scatter = self._products - self._count * mean[:, :, None] * mean[:, None, :]
        covariance = scatter / (self._count - 1)
        covariance.diagonal(dim1=1, dim2=2).add_(0.01)
        factor = torch.linalg.cholesky(covariance)
        identity = torch.eye(factor.shape[1], dtype=factor.dtype, device=factor.device)
        self.whitening = torch.linalg.solve_triangular(
            factor, identity.expand_as(factor), upper=False
        ).float()
        self.mean = mean.float()
        self._count = 0
        self._sums = self._products = torch.zeros(0)

    def distances(self, maps: Maps) -> Tensor:
        """Mahalanobis' distance at each place of the first map's grid, ``[b, rows, columns]``."""
        vectors, grid = self._vectors(maps)
        off = vectors - self.mean[:, None]
        white = off @ self.whitening.transpose(1, 2)
        return white.norm(dim=2).T.unflatten(1, grid)

    def forward(self, maps: Maps, size: tuple[int, int]) -> OneClassScore:
        found = blurred(upsampled(self.distances(maps), size), self.sigma)
        return OneClassScore(reduce_map(found, self.reduce), found)
