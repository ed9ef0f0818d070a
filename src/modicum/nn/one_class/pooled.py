"""Distance of pooled features: one standardised vector an image."""

from typing import Literal

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from modicum.errors import InputError
from modicum.nn.one_class.scorer import Maps, OneClassScore, OneClassScorer

Distance = Literal["knn", "mahalanobis"]


def pooled_features(maps: Maps) -> Float[Tensor, "b features"]:
    """Mean and standard deviation over all places of each channel of each map: 2 values a channel.

    896 values of ResNet-18's first three stages, 3,584 of WideResNet-50-2's.
    """
    parts = []
    for one in maps:
        flat = one.float().flatten(2)
        parts += [flat.mean(2), flat.std(2, correction=0)]
    return torch.cat(parts, 1)


def floored(std: Float[Tensor, "features"]) -> Float[Tensor, "features"]:
    """Standard deviations to divide by: at least 1e-6, and a tenth of their median.

    A channel that is dead in all fitted images would outweigh all others wherever it lives a little.
    """
    return std.clamp_min(max(1e-6, 0.1 * float(std.median())))


def nearest_distances(
    queries: Float[Tensor, "n d"], bank: Float[Tensor, "m d"], neighbours: int, leave_self_out: bool = False
) -> Float[Tensor, "n"]:
    """The mean Euclidean distance to the nearest vectors of a bank.

    Args:
        queries: vectors to score.
        bank: what they are compared with.
        neighbours: how many are averaged; all of a smaller bank.
        leave_self_out: the queries are the bank, row by row, and each is compared with the others only.
    """
    if torch.compiler.is_exporting():  # a graph has no loops over images
        distances = torch.cdist(queries, bank, compute_mode="donot_use_mm_for_euclid_dist")
        return distances.topk(min(neighbours, len(bank)), dim=1, largest=False).values.mean(1)
    found = queries.new_empty(len(queries))
    for start in range(0, len(queries), 256):
        # by differences: the expansion of the square loses the digits that near neighbours differ in
        part = torch.cdist(queries[start : start + 256], bank, compute_mode="donot_use_mm_for_euclid_dist")
        if leave_self_out:
            own = torch.arange(len(part), device=part.device)
            part[own, start + own] = torch.inf
        count = min(neighbours, len(bank) - int(leave_self_out))
        if count < 1:
            raise InputError("one image is left to compare with itself", "fit to at least two images")
        found[start : start + 256] = part.topk(count, dim=1, largest=False).values.mean(1)
    return found


def ledoit_wolf(vectors: Float64[Tensor, "n d"]) -> tuple[Float64[Tensor, "d d"], float]:
    """The covariance of centred vectors, shrunk towards a multiple of the identity, and by how much (0 to 1).

    Ledoit and Wolf, Journal of Multivariate Analysis 2004, 88, 365-411; divides by n.
    """
    count, width = vectors.shape
    covariance = vectors.T @ vectors / count
    mean = covariance.diagonal().mean()
    squares = vectors**2
    spread = (squares.T @ squares / count - covariance**2).sum() / count
    distance = (covariance**2).sum() - width * mean**2
    shrinkage = 0.0 if distance <= 0 else float((spread / distance).clamp(0, 1))
    target = mean * torch.eye(width, dtype=vectors.dtype, device=vectors.device)
    return (1 - shrinkage) * covariance + shrinkage * target, shrinkage


class PooledScorer(OneClassScorer):
    """How far the standardised pooled features of an image are from those of the images it was fitted to.

    Standardisation by the fitted images' mean and standard deviation matters most: without it features of large variance
    hide all others.

    Args:
        channels: of the maps.
        distance: mean distance to the nearest fitted images, or Mahalanobis' with the covariance of Ledoit and Wolf.
        neighbours: of ``knn``.
    """

    has_map = False
    mean: Tensor
    std: Tensor
    bank: Tensor
    precision_root: Tensor

    def __init__(self, channels: tuple[int, ...], distance: Distance = "knn", neighbours: int = 5) -> None:
        super().__init__()
        width = 2 * sum(channels)
        self.distance, self.neighbours = distance, neighbours
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.register_buffer("bank", torch.zeros(0, width))
        self.register_buffer("precision_root", torch.zeros(0, width))
        self._seen: list[Tensor] = []

    def see(self, maps: Maps, number: int) -> None:
        self._seen.append(pooled_features(maps))

    def finish(self, number: int) -> None:
        vectors = torch.cat(self._seen)
        self._seen = []
        self.mean = vectors.mean(0)
        self.std = floored(vectors.std(0, correction=0))
        standard = self.standardised(vectors)
        if self.distance == "knn":
            self.bank = standard
            return
        covariance, _ = ledoit_wolf(standard.double())
        values, directions = torch.linalg.eigh(covariance)
        root = directions / values.clamp_min(1e-12).sqrt()
        self.precision_root = root.T.float()

    def standardised(self, features: Float[Tensor, "n features"]) -> Float[Tensor, "n features"]:
        """Features with mean 0 and standard deviation 1 over the fitted images."""
        return (features - self.mean) / self.std

    def distances(
        self, features: Float[Tensor, "n features"], leave_self_out: bool = False
    ) -> Float[Tensor, "n"]:
        """Scores of pooled features; ``leave_self_out`` where they are those of the fitted images, in their order."""
        standard = self.standardised(features)
        if self.distance == "knn":
            return nearest_distances(standard, self.bank, self.neighbours, leave_self_out)
        return (standard @ self.precision_root.T).norm(dim=1)

    def forward(self, maps: Maps, size: tuple[int, int]) -> OneClassScore:
        return OneClassScore(self.distances(pooled_features(maps)))
