"""Classification by prompts, without training: an image goes to the class whose texts it is nearest to."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modicum.data.manifest import Manifest
from modicum.engine.inference.image_text import ImageTextRun
from modicum.errors import InputError, did_you_mean
from modicum.methods.image_text import EncodedTexts, ImageTextModel
from modicum.tasks.classification.task import Classification

ScoredBy = Literal["global", "local", "both"]
SCORED_BY: tuple[ScoredBy, ...] = ("global", "local", "both")
LOCAL_SHARE = 0.5
"""Weight of local scores beside global ones (PRIOR's release)."""


class PromptClassifier(nn.Module):
    """From images in [0, 1] to a logit a class.

    Wholes: the similarity to the nearest of a class's prompts. Parts: the mean local similarity to its prompts. Both:
    ``softmax(global) + 0.5 softmax(local)`` over classes (PRIOR's release). For findings, which do not exclude each
    other, there is no softmax over classes: scores rank the images of a finding, and are no probabilities.

    Args:
        model: both encoders.
        prompts: of all classes, encoded, one after the other.
        counts: number of prompts of each class.
        scored_by: ``global``, ``local`` or ``both``.
        exclusive: whether an image has one class only.

    Raises:
        InputError: local scores of a model that has none.
    """

    def __init__(
        self,
        model: ImageTextModel,
        prompts: EncodedTexts,
        counts: Sequence[int],
        scored_by: ScoredBy = "both",
        exclusive: bool = True,
    ) -> None:
        super().__init__()
        self.model, self.counts, self.scored_by, self.exclusive = model, list(counts), scored_by, exclusive
        self.prompts = prompts

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        encoded = self.model.images(images)
        whole = self._by_class(self.model.similarity(encoded, self.prompts), "max")
        if self.scored_by == "global":
            return whole
        local = self.model.local_similarity(encoded, self.prompts)
        assert local is not None
        parts = self._by_class(local, "mean")
        if self.scored_by == "local":
            return parts
        if not self.exclusive:
            return whole + LOCAL_SHARE * parts
        mixed = whole.float().softmax(1) + LOCAL_SHARE * parts.float().softmax(1)
        return (mixed / (1 + LOCAL_SHARE)).clamp_min(1e-30).log()

    def _by_class(self, scores: Float[Tensor, "b prompts"], how: str) -> Float[Tensor, "b classes"]:
        parts = scores.float().split(self.counts, 1)
        return torch.stack([part.amax(1) if how == "max" else part.mean(1) for part in parts], 1)


def prompt_classifier(
    run: ImageTextRun,
    prompts: Mapping[str, Sequence[str]],
    classes: Sequence[str],
    scored_by: str | None,
    exclusive: bool = True,
) -> PromptClassifier:
    """A classifier of these classes.

    Args:
        run: the opened run.
        prompts: texts of each class.
        classes: in the order of the outputs; each has prompts.
        scored_by: one of :data:`SCORED_BY`; None for ``both``, or ``global`` where the model has no local scores.
        exclusive: see :class:`PromptClassifier`.

    Raises:
        InputError: an unknown way to score, or one that the run has not learned.
    """
    if scored_by is not None and scored_by not in SCORED_BY:
        raise InputError(f"unknown --scored-by '{scored_by}'", did_you_mean(scored_by, SCORED_BY))
    encoded = run.all_texts([text for name in classes for text in prompts[name]])
    has_local = type(run.model).local_similarity is not ImageTextModel.local_similarity
    if scored_by in ("local", "both") and not has_local:
        raise InputError(
            f"method '{run.recipe.method}' compares wholes only", "pass --scored-by global, or leave it out"
        )
    chosen = scored_by or ("both" if has_local else "global")
    counts = [len(prompts[name]) for name in classes]
    return PromptClassifier(run.model, encoded, counts, chosen, exclusive)


def prompted_task(prompts: Mapping[str, Sequence[str]]) -> Classification:
    """The classification that prompts alone make: their classes, one an image."""
    return Classification("binary" if len(prompts) == 2 else "multi-class", list(prompts))


def labelled_task(prompts: Mapping[str, Sequence[str]], manifest: Manifest) -> Classification:
    """The classification of labelled data by prompts.

    Raises:
        InputError: there are no labels, or a class has no prompt.
    """
    if findings := manifest.findings:
        prompted = [name for name in findings if name in prompts]
        if not prompted:
            raise InputError(
                f"none of the findings of {manifest.source} has a prompt ({', '.join(findings[:6])})",
                "name the classes of the prompts as the findings",
            )
        return Classification("multi-label", prompted)
    if "label" not in manifest.table:
        raise InputError(
            f"{manifest.source}: no column 'label' or 'labels' to compare with",
            "name it with --label COLUMN, or predict without labels: modicum predict RUN IMAGES --prompts FILE",
        )
    classes = [str(name) for name in manifest.classes()]
    if lacking := [name for name in classes if name not in prompts]:
        raise InputError(f"class '{lacking[0]}' of the data has no prompt", did_you_mean(lacking[0], prompts))
    ordered = [name for name in prompts if name in classes]
    return Classification("binary" if len(ordered) == 2 else "multi-class", ordered)
