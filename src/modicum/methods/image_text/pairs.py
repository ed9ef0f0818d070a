"""Stages that learn from pairs of an image and its report."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from modicum.distributed import gather_with_gradient, processes
from modicum.errors import InputError
from modicum.methods.image_text.model import ImageTextModel
from modicum.methods.stages import Targets, TrainStage
from modicum.tasks.base import Batch


class PairStage(TrainStage):
    """A stage whose batches hold images and reports with numbered sentences; scored by how they find each other.

    Args:
        min_sentences: reports with fewer are not learned from.
    """

    reads = ("image",)
    scored = True
    learns_from_none = "fill the report column of training rows, or lower min_sentences"

    def __init__(self, min_sentences: int) -> None:
        super().__init__()
        self.min_sentences = max(1, min_sentences)

    def learns_from(self, targets: Targets) -> Bool[np.ndarray, "rows"] | None:
        return targets["sentence_index"].max(1) >= self.min_sentences

    def model(self) -> ImageTextModel:
        """What the stage has learned, sharing its networks."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Float[Tensor, "b outputs"]:
        """An image's vector, its report's, and 1 where it has one."""
        model = self.model()
        tokens, mask, index = report_of(batch)
        images, texts = model.images(batch["image"]), model.texts(tokens, mask, index)
        has_text = (index > 0).any(1, keepdim=True)
        vectors = [F.normalize(part.whole.float(), dim=1) for part in (images, texts)]
        return torch.cat([*vectors, has_text.float()], 1)


def reaching_all(losses: dict[str, Tensor], stage: TrainStage) -> dict[str, Tensor]:
    """The same losses; under several processes, with a gradient of 0 to parameters that none of them needs.

    Data-parallel training waits for the gradient of every parameter, and a weight of 0 leaves some without.
    """
    if processes() == 1:
        return losses
    nothing = sum(parameter.sum() for parameter in stage.parameters() if parameter.requires_grad) * 0.0
    first = next(iter(losses))
    return {**losses, first: losses[first] + nothing}


def report_of(
    batch: Batch,
) -> tuple[Int[Tensor, "b n"], Bool[Tensor, "b n"], Int[Tensor, "b n"]]:
    """Tokens, their mask and their sentences. Raises :class:`InputError` for a batch without them."""
    if any(name not in batch for name in ("tokens", "tokens_mask", "sentence_index")):
        raise InputError(
            "a batch has no 'tokens' with a 'sentence_index'", "give images with reports to this method"
        )
    return batch["tokens"].long(), batch["tokens_mask"].bool(), batch["sentence_index"].long()


def shuffled_sentences(
    tokens: Int[Tensor, "b n"],
    mask: Bool[Tensor, "b n"],
    index: Int[Tensor, "b n"],
    noise: Float[Tensor, "b s"],
) -> tuple[Int[Tensor, "b n"], Int[Tensor, "b n"]]:
    """Tokens and sentence numbers with the sentences of each report in another order; the mask stays as it is.

    Args:
        tokens: ids.
        mask: False for padding.
        index: number of each token's sentence; keeps its meaning: the moved sentence keeps its number.
        noise: uniform in [0, 1), one for each sentence; the order is that of these.
    """
    keys = noise.gather(1, (index - 1).clamp(0, noise.shape[1] - 1))
    keys = keys.where(index > 0, torch.full_like(keys, 2.0)).where(mask, torch.full_like(keys, 3.0))
    keys = torch.cat([torch.full_like(keys[:, :1], -1.0), keys[:, 1:]], 1)  # the first token stays
    order = keys.argsort(dim=1, stable=True)
    return tokens.gather(1, order), index.gather(1, order)


def same_reports(tokens: Int[Tensor, "b n"]) -> Bool[Tensor, "all all"]:
    """Which rows of the batch (of all processes) have the same report, by a number made of its tokens."""
    powers = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
    mixed = (tokens.long() + 0x9E3779B9) * (2 * powers * 0x5851F42D4C957F2D + 1)  # wraps around
    number = gather_with_gradient((mixed ^ (mixed >> 29)).sum(1))
    return number[:, None] == number[None]
