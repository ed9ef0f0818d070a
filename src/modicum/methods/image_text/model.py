"""What is used of a method that has learned from images and reports: both encoders, and how near their answers are."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class EncodedImages(NamedTuple):
    """Images as the model sees them."""

    regions: Float[Tensor, "b r d"]
    whole: Float[Tensor, "b e"]


class EncodedTexts(NamedTuple):
    """Texts as the model reads them: their sentences (or words), which of these there are, and the whole."""

    parts: Float[Tensor, "t s d"]
    present: Bool[Tensor, "t s"]
    whole: Float[Tensor, "t e"]


class ImageTextModel(nn.Module, ABC):
    """Encodes images and texts, and compares them. In evaluation mode each row's answer depends on that row alone.

    Attributes:
        report_length: tokens of a text at most.
        max_sentences: of a text at most.
        grid: rows and columns of an image's regions; None where it has none.
    """

    report_length: int
    max_sentences: int
    grid: tuple[int, int] | None

    @abstractmethod
    def images(self, images: Float[Tensor, "b c h w"]) -> EncodedImages:
        """Encodes images in [0, 1]."""

    @abstractmethod
    def texts(
        self, tokens: Int[Tensor, "t n"], mask: Bool[Tensor, "t n"], index: Int[Tensor, "t n"]
    ) -> EncodedTexts:
        """Encodes texts.

        Args:
            tokens: ids.
            mask: False for padding.
            index: number of each token's sentence, from 1; -1 for tokens of none.
        """

    @abstractmethod
    def similarity(self, images: EncodedImages, texts: EncodedTexts) -> Float[Tensor, "b t"]:
        """Of each image to each text as wholes, in logits."""

    def local_similarity(self, images: EncodedImages, texts: EncodedTexts) -> Float[Tensor, "b t"] | None:
        """The same by regions and sentences; None where the model does not learn any."""
        return None

    def reading(self, images: EncodedImages, texts: EncodedTexts) -> Float[Tensor, "b t s r"] | None:
        """How much each sentence (or word) of each text reads of each region, from 0 to 1; None without regions."""
        return None
