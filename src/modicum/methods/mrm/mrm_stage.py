"""Masked record modelling: predicts hidden patches of an image and hidden words of its report together.

Symbols of the paper: H the encoder's tokens, W the projection to the report's width, g the mean of the projected
visible patches, which is added to every token of the report.
"""

from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from modicum.data.reports import Vocabulary, masked_words
from modicum.distributed import mean_over_processes
from modicum.errors import InputError
from modicum.losses import masked_token_loss, patch_errors
from modicum.methods.mrm.config import MrmConfig
from modicum.methods.mrm.mae_stage import MaeStage, decoder_shape
from modicum.nn import MaskedEncoder, MaskedRecordModel, ReportEncoder
from modicum.tasks.base import Batch


class MrmStage(MaeStage):
    """Learns from pairs of an ``image`` and its report, ``tokens`` with ``tokens_mask``.

    A batch holds images at the doubled resolution; the network's input is their half. Rows without a report have
    ``[CLS]`` alone and learn from their image.

    Args:
        config: the method's settings.
        body: see :class:`MaeStage`.
        vocabulary: of the tokenizer that made the tokens.
    """

    outputs: ClassVar[tuple[str, ...]] = ("image", "report", "report_accuracy")
    config: MrmConfig
    network: MaskedRecordModel
    continuation: Tensor

    def __init__(self, config: MrmConfig, body: Any, vocabulary: Vocabulary) -> None:
        def make_network(encoder: MaskedEncoder) -> MaskedRecordModel:
            report = report_encoder(config, vocabulary)
            return MaskedRecordModel(encoder, report, config.target_scale, *decoder_shape(config))

        super().__init__(config, body, make_network)
        self._vocabulary = vocabulary
        self.register_buffer("continuation", torch.from_numpy(vocabulary.continuation), persistent=False)

    @property
    def noise_width(self) -> int:
        return self.encoder.num_patches + self.config.report_length

    # --- the step ------------------------------------------------------------------------------------------------

    def losses_at(self, batch: Batch, noise: Float[Tensor, "b noise"]) -> dict[str, Tensor]:
        """``image``, the mean error of hidden patches, and ``report``, the mean loss of words; both weighted."""
        hidden = self.hidden_words(batch, noise)
        image, tokens = self._image_loss(batch, noise)
        report = self._report_loss(batch, tokens, hidden)
        return {"image": self.config.image_weight * image, "report": self.config.report_weight * report}

    def hidden_words(self, batch: Batch, noise: Float[Tensor, "b noise"]) -> Bool[Tensor, "b length"]:
        """Which tokens of the reports are masked, from each row's noise.

        Raises:
            InputError: no reports in the batch, or reports longer than ``report_length``.
        """
        if "tokens" not in batch or "tokens_mask" not in batch:
            raise InputError(
                "a batch has no 'tokens' of reports", "give images with reports, or use method mae"
            )
        tokens = batch["tokens"]
        if tokens.shape[1] > self.config.report_length:
            raise InputError(
                f"reports of {tokens.shape[1]} tokens, but the network takes at most {self.config.report_length}",
                f"encode reports to at most {self.config.report_length} tokens",
            )
        noise = noise[:, self.encoder.num_patches :][:, : tokens.shape[1]].to(
            tokens.device, non_blocking=True
        )
        return masked_words(
            tokens, self.continuation, noise, self.config.report_mask_ratio, self._vocabulary.pad
        )

    def _report_loss(self, batch: Batch, image: Tensor, hidden: Bool[Tensor, "b length"]) -> Tensor:
        features = self._report_features(batch, image, hidden)
        counted = hidden
        if self.config.report_positions == "all":
            counted = torch.ones_like(hidden)
        # The logits are the step's largest tensor: they are computed for the counted tokens only.
        logits = self.network.report.logits(features[counted])
        count = mean_over_processes(counted.sum().float())
        return masked_token_loss(logits, batch["tokens"][counted], count)

    def _report_features(
        self, batch: Batch, image: Float[Tensor, "b tokens width"], hidden: Bool[Tensor, "b length"]
    ) -> Float[Tensor, "b length report_width"]:
        visible_tokens = batch["tokens"].masked_fill(hidden, self._vocabulary.mask)
        return self.network.report_features(image, visible_tokens, batch["tokens_mask"].bool())

    # --- validation ----------------------------------------------------------------------------------------------

    def forward(self, batch: Batch) -> Float[Tensor, "b outputs"]:
        """The columns of :attr:`outputs` for each row.

        They are the error of its hidden patches, the mean loss of its masked words (whatever ``report_positions``
        says), and the share of these that is predicted correctly; NaN for the last two where no word is masked.
        """
        noise = self.noise_at(batch["row"])
        mask = self.mask(noise, batch["image"].device)
        images, target = self.views(batch)
        predicted, tokens = self.network(images, mask)
        hidden = self.hidden_words(batch, noise)
        logits = self.network.report.logits(self._report_features(batch, tokens, hidden)[hidden]).float()
        words = batch["tokens"][hidden]
        losses = F.cross_entropy(logits, words, reduction="none")
        correct = (logits.argmax(1) == words).float()
        return torch.stack(
            [
                patch_errors(predicted, target, mask.hidden),
                _row_means(losses, hidden),
                _row_means(correct, hidden),
            ],
            1,
        )

    def validate(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        outputs = self(batch)
        report = outputs[:, 1]
        means = {"image": outputs[:, 0].mean(), "report": report.nanmean().nan_to_num()}
        weights = {"image": self.config.image_weight, "report": self.config.report_weight}
        return outputs, {name: weights[name] * mean for name, mean in means.items()}


def report_encoder(config: MrmConfig, vocabulary: Vocabulary) -> ReportEncoder:
    """Builds the report encoder of a configuration."""
    return ReportEncoder(
        vocabulary.size,
        config.report_width,
        config.report_depth,
        config.report_heads,
        config.report_length,
        vocabulary.pad,
        config.report_dropout,
        tied=config.tied_output,
        pooler=config.pooler,
    )


def _row_means(values: Float[Tensor, "hidden"], hidden: Bool[Tensor, "b length"]) -> Float[Tensor, "b"]:
    """Mean over each row's hidden tokens; NaN for rows without any."""
    rows = hidden.nonzero()[:, 0]
    counts = hidden.sum(1)
    return values.new_zeros(len(hidden)).index_add(0, rows, values) / counts.where(counts > 0, torch.nan)
