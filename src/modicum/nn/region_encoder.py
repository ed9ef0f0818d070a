"""An image network that gives regions and one vector of the whole, and a text network that gives sentences."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.nn.attention_pool import AttentionPool
from modicum.nn.backbones import Backbone
from modicum.nn.bert import Bert

Regions = Literal["ordered", "scrambled"]


class RegionEncoder(nn.Module):
    """From images to their regions and one vector of the whole (PRIOR, Cheng et al., ICCV 2023).

    Any timm network with a feature map: ResNet-50 gives 7x7 regions of an image of 224 pixels, ViT-B/16 14x14.

    Args:
        backbone: the image network; left as it is.
        width: features of regions and of the whole.
        heads: of the attention pool; the largest divisor of the backbone's width that is not larger.
        regions: ``ordered``: a region is a cell of the feature map. ``scrambled``: as the release reads the map
            (``[C, h, w]`` viewed as ``[h w, C]``), where each "region" holds a few channels of all cells.

    Raises:
        InputError: the backbone's features have no places.
    """

    def __init__(
        self, backbone: Backbone, width: int = 768, heads: int = 8, regions: Regions = "ordered"
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.regions = regions
        self.grid = grid_of(backbone)
        features = backbone.num_features
        heads = max(count for count in range(1, heads + 1) if features % count == 0)
        self.pool = AttentionPool(features, heads, self.grid[0] * self.grid[1])
        self.local_projection, self.global_projection = (_projection(features, width) for _ in range(2))

    def forward(
        self, images: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b r width"], Float[Tensor, "b width"]]:
        """Regions, row by row, and the whole of images in [0, 1]."""
        planes = self.backbone.spatial(self.backbone.feature_map(images))
        assert planes is not None
        cells = planes.flatten(2).transpose(1, 2)
        local = cells if self.regions == "ordered" else planes.flatten(1).reshape(cells.shape)
        return self.local_projection(local), self.global_projection(self.pool(cells))


@torch.no_grad()
def grid_of(backbone: Backbone) -> tuple[int, int]:
    """Rows and columns of a backbone's feature map. Raises :class:`InputError` where it has no places."""
    training = backbone.training
    backbone.eval()
    device = next(backbone.parameters()).device
    planes = backbone.spatial(backbone.feature_map(torch.zeros(1, 3, *backbone.image_size, device=device)))
    backbone.train(training)
    if planes is None:
        raise InputError(
            f"features of backbone '{backbone.name}' have no places, which regions need",
            "choose a network with a feature map, such as resnet50 or vit_base_patch16_224",
        )
    return planes.shape[2], planes.shape[3]


class SentenceEncoder(nn.Module):
    """From tokens to features of words and sentences, and from sentences to one vector of a report (PRIOR).

    A sentence is the mean of its tokens' projected features; a report is its sentences pooled by attention, in no order.

    Args:
        bert: the text network.
        width: features of a sentence.
        heads: of the pool.
        sentences: of a report at most; later ones are left out.
        dead_projection: have the release's unused projection of whole reports, for parity of counts.
    """

    def __init__(
        self,
        bert: Bert,
        width: int = 768,
        heads: int = 8,
        sentences: int = 32,
        *,
        dead_projection: bool = False,
    ) -> None:
        super().__init__()
        self.bert = bert
        self.sentences = sentences
        self.projection = _projection(bert.size.width, width)
        self.unused = _projection(bert.size.width, width) if dead_projection else None
        self.pool = AttentionPool(width, heads)

    def words(self, tokens: Int64[Tensor, "b n"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b n width"]:
        """Projected features of each token."""
        return self.projection(self.bert(tokens, mask))

    def forward(
        self, tokens: Int64[Tensor, "b n"], mask: Bool[Tensor, "b n"], index: Int64[Tensor, "b n"]
    ) -> tuple[Float[Tensor, "b s width"], Bool[Tensor, "b s"]]:
        """Features of each sentence, 0 where there is none, and which there are.

        Args:
            tokens: ids.
            mask: False for padding.
            index: number of each token's sentence, from 1; -1 for tokens of none.
        """
        return mean_by_sentence(self.words(tokens, mask), index, self.sentences)


def mean_by_sentence(
    words: Float[Tensor, "b n width"], index: Int64[Tensor, "b n"], sentences: int
) -> tuple[Float[Tensor, "b s width"], Bool[Tensor, "b s"]]:
    """The mean of the tokens of each sentence, 0 where there is none, and which there are."""
    numbers = torch.arange(1, sentences + 1, device=index.device)
    member = (index[:, None, :] == numbers[None, :, None]).to(words.dtype)
    counts = member.sum(2)
    return member @ words / counts.clamp_min(1)[..., None], counts > 0


class LocalAttention(nn.Module):
    """Sentences read regions, and regions read sentences (PRIOR, local alignment): one head, sums by sigmoid weights.

    The weights are not normalised: a sentence may read of no region at all. 3,543,552 parameters for 768 features.
    """

    def __init__(self, width: int = 768) -> None:
        super().__init__()
        self.of_image, self.of_text = (
            nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value")})
            for _ in range(2)
        )

    def weights(
        self, regions: Float[Tensor, "b r d"], sentences: Float[Tensor, "t s d"]
    ) -> tuple[Float[Tensor, "b s r"], Float[Tensor, "b r s"]]:
        """How much each sentence reads of each region, and each region of each sentence, from 0 to 1."""
        root = regions.shape[2] ** 0.5
        reading = (self.of_text["query"](sentences) @ self.of_image["key"](regions).transpose(1, 2)) / root
        read = (self.of_image["query"](regions) @ self.of_text["key"](sentences).transpose(1, 2)) / root
        return reading.sigmoid(), read.sigmoid()

    def forward(
        self,
        regions: Float[Tensor, "b r d"],
        sentences: Float[Tensor, "b s d"],
        present: Bool[Tensor, "b s"],
    ) -> tuple[Float[Tensor, "b s d"], Float[Tensor, "b r d"]]:
        """What each sentence reads in the image, and each region in the report."""
        of_sentences, of_regions = self.weights(regions, sentences)
        of_regions = of_regions * present[:, None, :]
        return of_sentences @ self.of_image["value"](regions), of_regions @ self.of_text["value"](sentences)


def _projection(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer whose weights have the deviation ``inputs ** -0.5``."""
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=inputs**-0.5)
    return layer
