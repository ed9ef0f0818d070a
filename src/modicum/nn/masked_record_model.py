"""Networks that reconstruct hidden parts: of an image (MAE), or of an image and its report (MRM)."""

from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from modicum.nn.masked_encoder import MaskedEncoder, PatchMask, xavier_initialise
from modicum.nn.patch_decoder import PatchDecoder
from modicum.nn.report_encoder import ReportEncoder


class MaskedAutoencoder(nn.Module):
    """Predicts the patches of images from the visible ones.

    Args:
        encoder: of the visible patches; left as it is.
        scale: how much larger than the encoder's input the predicted image is: 2 for MRM, which predicts 32-pixel
            patches from 16-pixel ones; 1 for MAE.
        width: of the decoder, which is initialised anew.
        depth: number of its blocks.
        heads: of its attention.
    """

    def __init__(
        self, encoder: MaskedEncoder, scale: int = 2, width: int = 768, depth: int = 4, heads: int = 6
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.target_patch = scale * encoder.patch_size
        self.decoder = PatchDecoder(
            encoder.width, encoder.grid, 3 * self.target_patch**2, width, depth, heads
        )
        xavier_initialise(self.decoder)

    def forward(
        self, images: Float[Tensor, "batch 3 height width"], mask: PatchMask
    ) -> tuple[Float[Tensor, "batch patches values"], Float[Tensor, "batch tokens features"]]:
        """Predictions for all patches, and the encoder's tokens: the class token and the visible patches.

        Args:
            images: normalised, of the encoder's size.
            mask: which patches are visible.
        """
        tokens = self.encoder(images, mask.kept)
        return self.decoder(tokens, mask.restore), tokens


class MaskedRecordModel(MaskedAutoencoder):
    """Predicts hidden patches, and hidden words of the report with help of the image (MRM, ICLR 2023, section 3).

    ViT-B/16 with the published decoder and a vocabulary of 30,000 has 151,457,328 parameters; 147,840 more with the
    unused pooler of the published network.

    Args:
        encoder: of the visible patches; left as it is.
        report: of the hidden report; left as it is.
        scale: see :class:`MaskedAutoencoder`.
        width: see :class:`MaskedAutoencoder`.
        depth: see :class:`MaskedAutoencoder`.
        heads: see :class:`MaskedAutoencoder`.
    """

    def __init__(
        self,
        encoder: MaskedEncoder,
        report: ReportEncoder,
        scale: int = 2,
        width: int = 768,
        depth: int = 4,
        heads: int = 6,
    ) -> None:
        super().__init__(encoder, scale, width, depth, heads)
        self.report = report
        self.projection = nn.Linear(encoder.width, report.width)
        xavier_initialise(self.projection)

    def image_features(
        self, tokens: Float[Tensor, "batch tokens features"]
    ) -> Float[Tensor, "batch report_features"]:
        """The image vector for the report branch: the mean of the projected visible patches, without the class token."""
        return self.projection(tokens[:, 1:]).mean(1)

    def report_features(
        self,
        tokens: Float[Tensor, "batch tokens features"],
        words: Int64[Tensor, "batch length"],
        words_mask: Bool[Tensor, "batch length"],
    ) -> Float[Tensor, "batch length report_features"]:
        """Features of each word, for :meth:`ReportEncoder.logits`.

        Args:
            tokens: of the image, from :meth:`forward`.
            words: ids of the report with hidden words replaced.
            words_mask: False for padding.
        """
        return self.report(words, words_mask, self.image_features(tokens))
