"""PRIOR's three stages over shared networks, in the paper's order: align, prototypes, reconstruct.

Symbols: A regions and V wholes of images, S sentences and T wholes of reports, C what one reads in the other, q(S) the
sentences as mixtures of prototypes E.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from modicum.losses import (
    aligned_to_targets,
    image_text_contrast,
    prototype_distance,
    prototype_divergence,
    region_consistency,
    sentence_contrast,
    set_distance,
)
from modicum.methods.image_text import EncodedImages, EncodedTexts, ImageTextModel, PairStage
from modicum.methods.image_text.pairs import reaching_all, report_of, same_reports, shuffled_sentences
from modicum.methods.prior.config import PriorConfig
from modicum.methods.stages import Update
from modicum.nn import CrossModalReconstruction, PriorNetwork, SentencePrototypes
from modicum.nn.prior_network import padded
from modicum.tasks.base import Batch


class Encoded(NamedTuple):
    """A batch through both encoders."""

    regions: Float[Tensor, "b r d"]
    image: Float[Tensor, "b d"]
    sentences: Float[Tensor, "b s d"]
    """S as the text network gives them."""
    used: Float[Tensor, "b s d"]
    """What alignment uses: S, or q(S) from the second stage on."""
    report: Float[Tensor, "b d"]
    present: Bool[Tensor, "b s"]
    same: Bool[Tensor, "all all"] | None

    @property
    def has_report(self) -> Bool[Tensor, "b"]:
        return self.present.any(1)


class PriorModel(ImageTextModel):
    """Compares images and texts with what PRIOR has learned; nothing random."""

    def __init__(
        self, network: PriorNetwork, config: PriorConfig, bank: SentencePrototypes | None = None
    ) -> None:
        super().__init__()
        self.network, self.bank = network, bank
        self.report_length, self.max_sentences = config.report_length, config.max_sentences
        self.grid = network.images.grid if config.regions == "ordered" else None

    def images(self, images: Float[Tensor, "b c h w"]) -> EncodedImages:
        return EncodedImages(*self.network.images(images))

    def texts(self, tokens: Any, mask: Any, index: Any) -> EncodedTexts:
        sentences, present = self.network.texts(tokens, mask, index)
        if self.bank is not None:
            sentences = self.bank(sentences)
        return EncodedTexts(sentences, present, self.network.texts.pool(sentences, present))

    def similarity(self, images: EncodedImages, texts: EncodedTexts) -> Float[Tensor, "b t"]:
        first, second = (torch.nn.functional.normalize(part.whole.float(), dim=1) for part in (images, texts))
        # The release multiplies by the logarithm of the scale.
        return self.network.log_global_scale.exp() * first @ second.T

    def local_similarity(self, images: EncodedImages, texts: EncodedTexts) -> Float[Tensor, "b t"]:
        """The mean of both attentions over all regions and sentences."""
        columns = []
        for sentences, present in zip(texts.parts, texts.present, strict=True):
            both = self.network.attention.weights(images.regions, sentences[None])
            mean = (both[0].float() + both[1].float().transpose(1, 2)) / 2
            columns.append((mean.mean(2) * present).sum(1) / present.sum().clamp_min(1))
        return torch.stack(columns, 1)

    def reading(self, images: EncodedImages, texts: EncodedTexts) -> Float[Tensor, "b t s r"] | None:
        if self.grid is None:  # a scrambled region is no place
            return None
        read = [self.network.attention.weights(images.regions, parts[None])[0] for parts in texts.parts]
        return torch.stack(read, 1)


class AlignStage(PairStage):
    """Stage 1: whole with whole, sentence with regions.

    Args:
        network: both encoders and local attention; shared with the other stages.
        config: the method's settings.
    """

    name = "align"

    def __init__(self, network: PriorNetwork, config: PriorConfig) -> None:
        super().__init__(config.min_sentences)
        self.network, self.config = network, config

    def updates(self) -> Sequence[Update]:
        return [Update(self.name, list(self.parameters()), self.losses)]

    def model(self) -> ImageTextModel:
        return PriorModel(self.network, self.config)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        encoded = self.encode(batch)
        losses = self.alignment(encoded, self.read(encoded), self.config.global_weight)
        return reaching_all(losses, self)

    def encode(self, batch: Batch) -> Encoded:
        """A batch through both encoders, its sentences in another order where the settings say so."""
        self.network.bound_scales()
        tokens, mask, index = report_of(batch)
        same = same_reports(tokens) if self.config.same_reports == "excluded" else None
        if self.training and self.config.shuffle_sentences:
            noise = torch.rand(len(tokens), self.config.max_sentences).to(tokens.device)
            tokens, index = shuffled_sentences(tokens, mask, index, noise)
        regions, image = self.network.images(batch["image"])
        sentences, present = self.network.texts(tokens, mask, index)
        used = self.used(sentences)
        report = self.network.texts.pool(used, present)
        return Encoded(regions, image, sentences, used, report, present, same)

    def used(self, sentences: Float[Tensor, "b s d"]) -> Float[Tensor, "b s d"]:
        """What alignment uses of sentences."""
        return sentences

    def read(self, encoded: Encoded) -> tuple[Float[Tensor, "b s d"], Float[Tensor, "b r d"]]:
        """C: what each sentence reads in the image, and each region in the report."""
        return self.network.attention(encoded.regions, encoded.used, encoded.present)

    def alignment(
        self, encoded: Encoded, contexts: tuple[Tensor, Tensor], global_weight: float
    ) -> dict[str, Tensor]:
        """``global``, ``local_image`` and ``local_text``, weighted; those of weight 0 are left out."""
        config, network, losses = self.config, self.network, {}
        of_sentences, of_regions = contexts
        if global_weight:
            scale = network.log_global_scale.exp()
            losses["global"] = global_weight * image_text_contrast(
                encoded.image, encoded.report, scale, present=encoded.has_report, same=encoded.same
            )
        if config.local_image_weight:
            losses["local_image"] = config.local_image_weight * region_consistency(
                network.predictor(encoded.regions),
                encoded.regions,
                network.predictor(of_regions),
                of_regions,
                encoded.has_report,
            )
        if config.local_text_weight:
            losses["local_text"] = config.local_text_weight * sentence_contrast(
                of_sentences, encoded.used, encoded.present, network.log_local_scale.exp()
            )
        return losses


class PrototypeStage(AlignStage):
    """Stage 2: the same on sentences as mixtures of prototypes, which learn to be near them.

    Args:
        network, config: see :class:`AlignStage`.
        bank: of prototypes; shared with the last stage.
    """

    name = "prototype"

    def __init__(self, network: PriorNetwork, config: PriorConfig, bank: SentencePrototypes) -> None:
        super().__init__(network, config)
        self.bank = bank

    def model(self) -> ImageTextModel:
        return PriorModel(self.network, self.config, self.bank)

    def on_epoch_start(self, epoch: int) -> None:
        self.bank.forget_usage()

    def findings(self) -> dict[str, Any]:
        """How many prototypes the last epoch's sentences used, as if equally often."""
        return {
            "prototypes": self.config.prototypes,
            "prototype_perplexity": round(self.bank.perplexity(), 2),
        }

    def used(self, sentences: Float[Tensor, "b s d"]) -> Float[Tensor, "b s d"]:
        return self.bank(sentences)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        encoded = self.encode(batch)
        losses = self.alignment(encoded, self.read(encoded), self.config.global_weight)
        return reaching_all(losses | self.near_prototypes(encoded), self)

    def near_prototypes(self, encoded: Encoded) -> dict[str, Tensor]:
        """``prototype``: how far sentences are from their mixtures."""
        if self.training:
            self.bank.count_usage(encoded.sentences.detach(), encoded.present)
        distance = prototype_distance(encoded.used, encoded.sentences, encoded.present)
        return {"prototype": self.config.prototype_weight * distance}


class ReconstructStage(PrototypeStage):
    """Stage 3: also the image from half of its channels and its report, and the report's sentences from the image.

    Args:
        network, config, bank: see :class:`PrototypeStage`.
        decoders: of images and of sentences; a finished run does not keep them.
    """

    name = "reconstruct"

    def __init__(
        self,
        network: PriorNetwork,
        config: PriorConfig,
        bank: SentencePrototypes,
        decoders: CrossModalReconstruction,
    ) -> None:
        super().__init__(network, config, bank)
        self.decoders = decoders

    def persistent_modules(self) -> tuple[str, ...]:
        """Both encoders and the bank; the decoders serve learning alone."""
        return ("network", "bank")

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        encoded = self.encode(batch)
        contexts = self.read(encoded)
        losses = self.alignment(encoded, contexts, self.config.reconstruct_global_weight)
        losses |= self.near_prototypes(encoded)
        if self.config.image_weight:
            losses["image"] = self.config.image_weight * self.image_distance(batch, encoded, contexts[1])
        if config_needs_sentences(self.config):
            losses |= self.report_losses(encoded)
        return reaching_all(losses, self)

    def image_distance(
        self, batch: Batch, encoded: Encoded, contexts: Float[Tensor, "b r d"]
    ) -> Float[Tensor, ""]:
        """Mean L1 distance to the grey image as the network sees it."""
        target = self.network.images.backbone.normalise(batch["image"]).mean(1, keepdim=True)
        return (self.decoders.image_of(encoded.regions, contexts).float() - target).abs().mean()

    def report_losses(self, encoded: Encoded) -> dict[str, Tensor]:
        """``sentences``, ``divergence`` and ``report``: the set of sentences that the image says, and its whole."""
        config, count = self.config, self.decoders.queries
        targets, present = padded(encoded.used, encoded.present, count)
        sentences, _ = padded(encoded.sentences, encoded.present, count)
        aligned = aligned_to_targets(self.decoders.sentences(encoded.regions), targets)
        losses = {
            "sentences": config.sentence_weight * set_distance(aligned, targets, encoded.has_report),
            "divergence": config.divergence_weight
            * prototype_divergence(sentences, aligned, self.bank.prototypes, present),
        }
        if config.report_weight:
            predicted = self.network.texts.pool(self.bank(aligned), present)
            losses["report"] = config.report_weight * image_text_contrast(
                predicted,
                encoded.report,
                self.network.log_global_scale.exp(),
                present=encoded.has_report,
                same=encoded.same,
            )
        return losses


def config_needs_sentences(config: PriorConfig) -> bool:
    """Whether any loss of the last stage takes predicted sentences."""
    return bool(config.sentence_weight or config.divergence_weight or config.report_weight)
