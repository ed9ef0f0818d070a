"""PRIOR's networks: images with regions, reports with sentences, and each reading the other."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from modicum.nn.bert import BertSize, SetDecoder
from modicum.nn.image_decoder import ImageDecoder
from modicum.nn.region_encoder import LocalAttention, RegionEncoder, Regions, SentenceEncoder

LARGEST_SCALE = 100.0
"""Of similarities, as in CLIP; the release has no bound."""


class PriorNetwork(nn.Module):
    """The part that stays: both encoders, local attention, the predictor of regions, and two learned scales.

    Args:
        images: gives regions and the whole of an image.
        texts: gives sentences, and pools them to the whole of a report.
        width: of all of these.
        temperature: at the start; its inverse is learned as a logarithm.
    """

    def __init__(
        self, images: RegionEncoder, texts: SentenceEncoder, width: int = 768, temperature: float = 0.01
    ) -> None:
        super().__init__()
        self.images, self.texts = images, texts
        self.attention = LocalAttention(width)
        narrow = max(1, width // 2)
        first = nn.Linear(width, narrow)
        nn.init.normal_(first.weight, std=width**-0.5)
        self.predictor = nn.Sequential(first, nn.ReLU(inplace=True), nn.Linear(narrow, width))
        self.log_global_scale, self.log_local_scale = (
            nn.Parameter(torch.tensor(math.log(1 / temperature))) for _ in range(2)
        )

    def bound_scales(self) -> None:
        """Brings learned scales back to :data:`LARGEST_SCALE`: a clamp in the graph would leave them without gradient."""
        with torch.no_grad():
            for scale in (self.log_global_scale, self.log_local_scale):
                scale.clamp_(max=math.log(LARGEST_SCALE))


class CrossModalReconstruction(nn.Module):
    """The decoders of PRIOR's third stage: an image from half of its channels and its report, sentences from an image.

    Args:
        grid: rows and columns of regions.
        image_size: of images in pixels.
        width: features of regions and sentences.
        queries: sentences that are predicted.
        depth: layers of the decoder of sentences.
        heads: its attention heads.
        regions: as the encoder reads the map.
        dead_words: see :class:`SetDecoder`.
    """

    def __init__(
        self,
        grid: tuple[int, int],
        image_size: tuple[int, int],
        width: int = 768,
        queries: int = 16,
        depth: int = 8,
        heads: int = 12,
        regions: Regions = "ordered",
        dead_words: int = 0,
    ) -> None:
        super().__init__()
        self.grid, self.queries, self.regions = grid, queries, regions
        self.dropout = nn.Dropout2d(0.5)
        self.image = ImageDecoder(2 * width, grid, image_size)
        positions = max(queries, 512)  # as BERT's
        size = BertSize(width, depth, heads, 4 * width, positions)
        self.sentences = SetDecoder(queries, size, dead_words=dead_words)

    def image_of(
        self, regions: Float[Tensor, "b r d"], contexts: Float[Tensor, "b r d"]
    ) -> Float[Tensor, "b 1 h w"]:
        """The image, from its regions with half of the channels left out, and from what each reads in the report."""
        return self.image(torch.cat([self.dropout(self._map(regions)), self._map(contexts)], 1))

    def _map(self, regions: Float[Tensor, "b r d"]) -> Float[Tensor, "b d rows columns"]:
        if self.regions == "scrambled":  # back the way they were read
            return regions.reshape(len(regions), -1, *self.grid)
        return regions.transpose(1, 2).unflatten(2, self.grid)


def padded(
    sentences: Float[Tensor, "b s d"], present: Bool[Tensor, "b s"], count: int
) -> tuple[Float[Tensor, "b q d"], Bool[Tensor, "b q"]]:
    """The first ``count`` sentences, zeros where there are fewer, and which there are."""
    kept, there = sentences[:, :count], present[:, :count]
    lacking = count - kept.shape[1]
    kept = nn.functional.pad(kept * there[..., None], (0, 0, 0, lacking))
    return kept, nn.functional.pad(there, (0, lacking))
