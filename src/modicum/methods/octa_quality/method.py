"""Quality of images without quality labels: learned from outstanding ones, told apart by clusters of those to predict.

The two stages are those of "UNO-QA: An Unsupervised Anomaly-Aware Framework with Test-Time Clustering for OCTA Image
Quality Assessment" (arXiv 2212.10541). What fills them is an instantiation of ours; see ``docs/methods/octa-quality.md``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from modicum.methods.base import Context, Method, MethodConfig, Stage
from modicum.methods.decision import Decision, Rows
from modicum.methods.octa_quality.config import OctaQualityConfig
from modicum.methods.octa_quality.embedding import EmbeddingStage
from modicum.methods.octa_quality.features import QualityFeatures
from modicum.methods.octa_quality.grades import grades_of
from modicum.methods.octa_quality.judgement import (
    GRADABLE,
    OUTSTANDING,
    UNGRADABLE,
    Judgement,
    judged,
    log_probabilities,
)
from modicum.methods.octa_quality.prior import quality_prior
from modicum.methods.octa_quality.stages import FitScorers, HeldOutStage, RepresentStage
from modicum.nn.one_class import FeatureTaps
from modicum.progress import say

WORDS = ("ungradable", "gradable", "outstanding")
"""The grades 0, 1 and 2, for people and for ``--drop``."""
RIGID = [{"name": "horizontal_flip", "p": 0.5}, {"name": "vertical_flip", "p": 0.5}]
"""With the stage's quarter turns. Neither blur nor noise nor contrast: they would teach that bad quality is good."""


class QualityPredictor(nn.Module):
    """Images to scores, terms of the prior and embeddings, of which :meth:`OctaQuality.decide` makes grades."""

    def __init__(self, features: QualityFeatures) -> None:
        super().__init__()
        self.features = features

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b outputs"]:
        with torch.no_grad():
            return self.features(images)


class WholeImagePredictor(QualityPredictor):
    """A predictor that only knows the whole image."""

    def explain(self, image: Float[Tensor, "1 c h w"], output: int) -> None:
        """Nothing: pooled features have no place."""


class MappingPredictor(QualityPredictor):
    """A predictor that also says where quality is low."""

    def __init__(self, features: QualityFeatures, held_out: HeldOutStage) -> None:
        super().__init__(features)
        self.held_out = held_out

    @torch.no_grad()
    def maps(self, images: Float[Tensor, "b c h w"]) -> Mapping[str, Float[Tensor, "b rows columns"]]:
        """Mean over scorers of ``m / (m + s)``, with ``s`` the largest value of a usual held-out outstanding image."""
        _, maps = self.features.with_maps(images)
        scaled = [one / (one + scale) for one, scale in zip(maps, self.held_out.map_scale, strict=True)]
        return {"low_quality": torch.stack(scaled).mean(0)}


class OctaQuality(Method):
    """Outstanding, gradable or ungradable, learned from outstanding images."""

    name: ClassVar[str] = "octa_quality"
    summary: ClassVar[str] = (
        "grade image quality from outstanding images alone; the others are clustered and named"
    )
    source: ClassVar[str] = "UNO-QA (arXiv 2212.10541), its stages; what fills them is ours"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    Config: ClassVar[type[MethodConfig]] = OctaQualityConfig
    training: ClassVar[Mapping[str, Any]] = {"batch_size": 16}
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "fit": {},
        "represent": {
            "epochs": 200,
            "optimizer": "adam",
            "lr": 0.005,
            "betas": [0.5, 0.999],
            "weight_decay": 0.0,
            "schedule": "constant",
            "warmup_epochs": 0,
            "select": "last",
            "augment": RIGID,
        },
        "held_out": {},
        "embed": {},
    }
    image: ClassVar[Mapping[str, Any]] = {"size": 256}
    backbone: ClassVar[Mapping[str, Any]] = {"name": "wide_resnet50_2"}
    decides_over: ClassVar[Literal["image", "set"]] = "set"
    one_class: ClassVar[bool] = True

    config: OctaQualityConfig

    def __init__(self, config: OctaQualityConfig, context: Context) -> None:
        super().__init__(config, context)
        facts = context.task.to_dict()
        self._grades = grades_of(
            facts["classes"], bool(facts.get("ordered")), config.best, not context.has_data
        )
        taps = FeatureTaps(context.backbone())
        if taps.network.random and context.has_data and set(config.scorers) <= {"rd", "dfr"}:
            say(
                f"caution: {', '.join(config.scorers)} with random weights of the encoder says nothing of quality; give "
                "--weights, or add the scorer pooled"
            )
        self._features = QualityFeatures(taps, config)
        self._fit = FitScorers(self._features, self._grades.best)
        learners = {name: scorer for name, scorer in self._features.named if name in {"rd", "dfr"}}
        self._represent = (
            RepresentStage(taps, nn.ModuleDict(learners), self._grades.best) if learners else None
        )
        self._held_out = HeldOutStage(self._features, config, self._grades.best)
        self._embed = EmbeddingStage(self._held_out, config, self._grades, context.seed, context.reference)
        self._predictor = (
            MappingPredictor(self._features, self._held_out)
            if self._features.has_maps
            else WholeImagePredictor(self._features)
        )

    def stages(self) -> Sequence[Stage]:
        streamed = any(scorer.num_passes for _, scorer in self._features.named)
        first: list[Stage] = [self._fit] if streamed else []
        learned: list[Stage] = [] if self._represent is None else [self._represent]
        return [*first, *learned, self._held_out, self._embed]

    def predictor(self) -> nn.Module:
        return self._predictor

    def decide(self, outputs: Float[Tensor, "n outputs"], rows: Rows) -> Decision:
        scores, terms, embedding = self._features.parts.split(outputs.float().cpu())
        joined = _array(self._held_out.joined(scores))
        tau, spread = float(self._held_out.tau), float(self._held_out.spread)
        prior = _array(quality_prior(terms, self._embed.terms.cpu()))
        standard = _array(self._embed.standardised(embedding))
        embed, config, seed = self._embed, self.config, self.context.seed
        found = judged(joined, tau, spread, standard, prior, config, seed, embed.frozen, embed.known_examples)
        if len(self._grades.others) == 2 and found.clusters is not None and not found.clusters.naming.agree:
            say(
                "note: by their mean score the clusters of gradable and ungradable images would be named the other way "
                f"round; they are named by {found.clusters.naming.rule}"
            )
        return Decision(
            self._outputs(log_probabilities(found, joined, tau, spread)),
            self._columns(found, joined, tau, prior),
        )

    def _outputs(self, logs: Float[np.ndarray, "n three"]) -> Float[Tensor, "n classes"]:
        """Log-probabilities in the order of the task's classes."""
        made = np.empty((len(logs), self.context.task.num_outputs))
        made[:, self._grades.best] = logs[:, OUTSTANDING]
        if len(self._grades.others) == 1:
            made[:, self._grades.others[0]] = np.logaddexp(logs[:, UNGRADABLE], logs[:, GRADABLE])
        for index, grade in zip(self._grades.others, (UNGRADABLE, GRADABLE), strict=False):
            if len(self._grades.others) == 2:
                made[:, index] = logs[:, grade]
        return torch.from_numpy(made)

    def _columns(
        self, found: Judgement, scores: np.ndarray, tau: float, prior: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Columns of the table of predictions."""
        shared = {
            "score": scores,
            "tau": np.full(len(scores), tau),
            "outstanding": scores <= tau,
            "prior": prior,
        }
        if len(self._grades.others) == 1:
            return shared
        return {
            **shared,
            "cluster": found.cluster,
            "margin": found.margin,
            "cluster_x": found.plane[:, 0],
            "cluster_y": found.plane[:, 1],
            "grade": found.grade,
            "quality": np.array(WORDS, dtype=object)[found.grade],
            "rule": found.rule,
        }


def _array(values: Tensor) -> np.ndarray:
    return values.detach().double().cpu().numpy()
