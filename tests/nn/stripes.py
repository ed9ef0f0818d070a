"""The stripe task: a detail that the large image shows and its small copy cannot.

Noise of 128x128 pixels with one square of 32 pixels whose rows (class 0) or columns (class 1) alternate between +1
and -1. In means of blocks of 2x2 pixels or more the stripes cancel exactly; only the large image tells the classes apart.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.nn import Backbone, FineGrainedSideNetwork
from modicum.nn.feature_codec import FeatureCodec
from modicum.nn.key_value_taps import KeyValueTaps, Score

SIDE, SQUARE, PATCH = 128, 32, 8
_STEP = 8  # the square starts at multiples of this many pixels


@dataclass(frozen=True)
class Stripes:
    """Images and their classes."""

    large: Float[Tensor, "b 3 128 128"]
    labels: Int[Tensor, " b"]

    def small(self, side: int) -> Float[Tensor, "b 3 side side"]:
        """Their copies of ``side`` pixels: means of blocks."""
        return F.avg_pool2d(self.large, SIDE // side)


def stripes(count: int, seed: int) -> Stripes:
    """``count`` images, half of each class."""
    generator = torch.Generator().manual_seed(seed)
    large = 0.3 * torch.randn(count, 1, SIDE, SIDE, generator=generator)
    labels = (torch.arange(count) % 2)[torch.randperm(count, generator=generator)]
    corners = _STEP * torch.randint((SIDE - SQUARE) // _STEP + 1, (count, 2), generator=generator)
    rows = (1 - 2 * (torch.arange(SQUARE) % 2)).float()[:, None].expand(SQUARE, SQUARE)
    for image, label, (top, left) in zip(large, labels, corners.tolist(), strict=True):
        image[:, top : top + SQUARE, left : left + SQUARE] += rows.T if label else rows
    return Stripes(large.repeat(1, 3, 1, 1), labels)


def random_transformer(seed: int = 0) -> Backbone:
    """The frozen network: width 96, 4 blocks, 4 heads, patches of 8 pixels, random weights."""
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(seed)
    backbone = Backbone("test_vit", (16, 16))
    backbone.body = VisionTransformer(SIDE, PATCH, embed_dim=96, depth=4, num_heads=4, num_classes=0)
    backbone.image_size = (SIDE, SIDE)
    return backbone.requires_grad_(False).eval()


@dataclass(frozen=True)
class Trial:
    """One way to learn the stripe task.

    Attributes:
        plus: FPT+ rather than FPT.
        layers: tapped blocks of the four.
        rho: share of the tokens kept.
        score: what makes a token important.
        prompts: of each layer.
        side: pixels of the small image.
        fused: whether the side network gets what the prompts read, or zeros.
    """

    plus: bool = True
    layers: tuple[int, ...] = (2, 3)
    rho: float = 0.2
    score: Score = "global"
    prompts: int = 8
    side: int = 32
    fused: bool = True

    def network(self, taps: KeyValueTaps) -> FineGrainedSideNetwork:
        """The learned part: side width 24."""
        wide = {} if self.plus else {"prompt_reduction": 4, "prompt_norm": False, "prompt_projection": True}
        return FineGrainedSideNetwork(
            taps.shape,
            len(self.layers),
            2,
            (self.side, self.side),
            side_reduction=4,
            num_prompts=self.prompts,
            **wide,
        )

    def run(self, backbone: Backbone, train: Stripes, test: Stripes, seed: int = 0) -> float:
        """Area under the curve on ``test`` after 8 epochs of AdamW (3e-3, batches of 16) on ``train``."""
        taps = KeyValueTaps(backbone, self.layers, self.rho, self.score)
        codec = FeatureCodec("float16", taps.tokens, taps.shape.head_dim)
        records, unseen = (
            torch.cat([codec.encode(taps(part)) for part in data.large.split(32)]) for data in (train, test)
        )
        small = train.small(self.side)
        torch.manual_seed(seed)
        network = self.network(taps)
        optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=0.1)
        for _ in range(8):
            for rows in torch.randperm(len(train.labels)).split(16):
                logits = self._logits(network, codec, small[rows], records[rows])
                optimizer.zero_grad()
                F.cross_entropy(logits, train.labels[rows]).backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
        network.eval()
        with torch.no_grad():
            logits = self._logits(network, codec, test.small(self.side), unseen)
        return area_under_curve(logits[:, 1] - logits[:, 0], test.labels)

    def _logits(
        self, network: FineGrainedSideNetwork, codec: FeatureCodec, small: Tensor, records: Tensor
    ) -> Tensor:
        fused = network.fusion(codec.decode(records))
        return network.side(small, fused if self.fused else torch.zeros_like(fused))


def area_under_curve(scores: Tensor, labels: Tensor) -> float:
    """The share of pairs of one image of each class that are in the right order."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    difference = positive[:, None] - negative[None]
    return float(((difference > 0).float() + 0.5 * (difference == 0).float()).mean())
