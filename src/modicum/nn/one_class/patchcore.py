"""PatchCore: a memory of patches of good images (Roth et al., CVPR 2022, arXiv 2106.08265)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from modicum.nn.one_class.coreset import farthest_first, random_projection
from modicum.nn.one_class.maps import blurred, joined, upsampled
from modicum.nn.one_class.scorer import Maps, OneClassScore, OneClassScorer

PROJECTED = 128
"""Dimensions in which the coreset is chosen."""


class PatchcoreScorer(OneClassScorer):
    """Distance of patches to the nearest one that is remembered of good images; finds them wherever they lie.

    Patches are the coarser two of three maps (all of fewer), averaged over 3 x 3 places, on the finer one's grid. The
    image's score is the largest distance, weighted by how crowded the memory is there.

    Args:
        channels: of the maps.
        share: of the patches that is remembered, chosen farthest first.
        neighbours: of the nearest remembered patch, for the weight.
        sigma: of the map's blur, in pixels of the image.
        chunk: patches that are held at most: beyond it each chunk is thinned by itself.
        seed: of the projection in which patches are chosen.
    """

    bank: Tensor

    def __init__(
        self,
        channels: tuple[int, ...],
        share: float = 0.1,
        neighbours: int = 9,
        sigma: float = 4.0,
        chunk: int = 40_000,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.share, self.neighbours, self.sigma, self.chunk, self.seed = share, neighbours, sigma, chunk, seed
        self.num_patches = 0
        self.register_buffer("bank", torch.zeros(0, sum(channels[-2:])))
        self._held: list[Tensor] = []
        self._thinned: list[Tensor] = []

    def _patches(self, maps: Maps) -> tuple[Float[Tensor, "b places d"], tuple[int, int]]:
        used = [functional.avg_pool2d(one, 3, stride=1, padding=1) for one in maps[-2:]]
        grid = (int(used[0].shape[2]), int(used[0].shape[3]))
        return joined(used, grid).flatten(2).transpose(1, 2), grid

    def see(self, maps: Maps, number: int) -> None:
        patches = self._patches(maps)[0].flatten(0, 1)
        if sum(map(len, self._held)) + len(patches) > self.chunk and self._held:
            self._thin()
        self._held.append(patches)
        self.num_patches += len(patches)

    def _thin(self) -> None:
        patches = torch.cat(self._held)
        self._held = []
        count = max(1, round(self.share * len(patches)))
        if count < len(patches):
            projected = patches
            if patches.shape[1] > PROJECTED:
                projected = patches @ random_projection(patches.shape[1], PROJECTED, self.seed).to(patches)
            patches = patches[farthest_first(projected, count)]
        self._thinned.append(patches)

    def finish(self, number: int) -> None:
        self._thin()
        self.bank = torch.cat(self._thinned)
        self._thinned = []

    def forward(self, maps: Maps, size: tuple[int, int]) -> OneClassScore:
        patches, grid = self._patches(maps)
        flat = patches.flatten(0, 1)
        parts = [flat] if torch.compiler.is_exporting() else flat.split(4096)
        distances = torch.cat([torch.cdist(part, self.bank).amin(1) for part in parts])
        places = distances.view(patches.shape[0], -1)
        worst = places.argmax(1)
        most = flat.view(*patches.shape)[torch.arange(patches.shape[0], device=flat.device), worst]
        score = places.amax(1) * self._crowding(most)
        return OneClassScore(score, blurred(upsampled(places.unflatten(1, grid), size), self.sigma))

    def _crowding(self, patches: Float[Tensor, "b d"]) -> Float[Tensor, "b"]:
        """One minus the softmax weight of a patch's nearest memory among that memory's neighbours (the paper's eq. 7)."""
        nearest = torch.cdist(patches, self.bank).argmin(1)
        count = min(self.neighbours, len(self.bank))
        if count < 2:
            return torch.ones_like(nearest, dtype=patches.dtype)
        around = torch.cdist(self.bank[nearest], self.bank).topk(count, dim=1, largest=False).indices
        others = (patches[:, None] - self.bank[around]).norm(dim=2)
        own = (patches - self.bank[nearest]).norm(dim=1)
        return 1 - torch.exp(own - torch.logsumexp(others, 1))
