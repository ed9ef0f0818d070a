"""The stage that knows the embeddings of outstanding images, labelled examples, and clusters for single images."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from modicum.methods.base import FitStage
from modicum.methods.octa_quality.clustering import Components
from modicum.methods.octa_quality.config import OctaQualityConfig
from modicum.methods.octa_quality.features import QualityFeatures
from modicum.methods.octa_quality.grades import Grades
from modicum.methods.octa_quality.judgement import Clusters, Examples, find_clusters
from modicum.methods.octa_quality.naming import BY_EXAMPLES, BY_PRIOR, Naming
from modicum.methods.octa_quality.prior import TERMS, quality_prior
from modicum.methods.octa_quality.stages import HeldOutStage
from modicum.nn.one_class.pooled import floored
from modicum.tasks.base import Batch

FEWEST_TO_FREEZE = 10
"""Training images that are not outstanding, below which no clusters are kept."""


class EmbeddingStage(FitStage):
    """Statistics of outstanding training images' embeddings; clusters among the others, kept for single images.

    Whether a training image is outstanding is all that is used of its grade; the grades of rows of split ``reference``
    name clusters.

    Args:
        held_out: the stage before it, with the features and the threshold.
        config: the method's settings.
        grades: which class is which.
        seed: of clustering.
        reference: the rows of split ``reference``.
        most_others: images that are not outstanding, of which clusters are made at most: the first in the data.
    """

    name = "embed"
    mean: Tensor
    std: Tensor
    terms: Tensor
    axes: Tensor
    centre: Tensor
    centres: Tensor
    naming: Tensor
    examples: Tensor
    examples_worst: Tensor

    def __init__(
        self,
        held_out: HeldOutStage,
        config: OctaQualityConfig,
        grades: Grades,
        seed: int,
        reference: Callable[[], Batch],
        most_others: int = 5000,
    ) -> None:
        super().__init__()
        self.held_out, self.config, self.grades, self.seed = held_out, config, grades, seed
        self.most_others = most_others
        self._reference = reference
        width = self.features.parts.embedding
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.register_buffer("terms", torch.zeros(0, TERMS))
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("axes", torch.zeros(0, width))
        self.register_buffer("centres", torch.zeros(2, 0))
        # the worse cluster, the one that the mean score calls worse, and whether examples named it
        self.register_buffer("naming", torch.zeros(3, dtype=torch.int64))
        self.register_buffer("examples", torch.zeros(0, width))
        self.register_buffer("examples_worst", torch.zeros(0, dtype=torch.bool))
        self._count = 0
        self._sums = self._squares = torch.zeros(0)
        self._terms: list[Tensor] = []
        self._others: list[Tensor] = []

    @property
    def features(self) -> QualityFeatures:
        """What the scorers and the embedding are made by."""
        return self.held_out.features

    def see(self, batch: Batch) -> None:
        outputs = self.features(batch["image"])
        good = batch["label"] == self.grades.best
        _, terms, embedding = self.features.parts.split(outputs[good])
        values = embedding.double()
        first = self._count == 0
        self._sums = values.sum(0) if first else self._sums + values.sum(0)
        self._squares = (values**2).sum(0) if first else self._squares + (values**2).sum(0)
        self._count += len(values)
        self._terms.append(terms)
        if sum(map(len, self._others)) < self.most_others:
            self._others.append(outputs[~good])

    def finish(self) -> None:
        mean = self._sums / self._count
        variance = self._squares / self._count - mean**2
        self.mean = mean.float()
        self.std = floored(variance.clamp_min(0).sqrt().float())
        self.terms = torch.cat(self._terms)
        self._keep_examples()
        others = torch.cat(self._others)[: self.most_others]
        self._count, self._terms, self._others = 0, [], []
        self._freeze(others)

    def _keep_examples(self) -> None:
        """Embeds labelled rows of split ``reference`` that are not outstanding."""
        batch = self._reference() if len(self.grades.others) == 2 else {}
        if not batch:
            return
        used = batch["label"] != self.grades.best
        if bool(used.any()):
            images = batch["image"][used].to(self.mean.device)
            self.examples = self.standardised(self.features.parts.split(self.features(images))[2])
            self.examples_worst = (batch["label"][used] == self.grades.others[0]).to(self.mean.device)

    def _freeze(self, outputs: Float[Tensor, "n outputs"]) -> None:
        """Keeps clusters of training images above the threshold, where there are enough."""
        scores, terms, embedding = self.features.parts.split(outputs)
        joined = self.held_out.joined(scores)
        above = joined > self.held_out.tau
        if len(self.grades.others) < 2 or int(above.sum()) < FEWEST_TO_FREEZE:
            return
        split = find_clusters(
            _double(self.standardised(embedding[above])),
            _double(quality_prior(terms[above], self.terms)),
            _double(joined[above]),
            self.config,
            self.seed,
            self.known_examples,
        )
        if split is None:
            return
        found, device = split.clusters, self.mean.device
        self.centre = torch.from_numpy(found.components.mean).float().to(device)
        self.axes = torch.from_numpy(found.components.axes).float().to(device)
        self.centres = torch.from_numpy(found.centres).float().to(device)
        naming = found.naming
        values = [naming.worse, naming.by_score, int(naming.rule == BY_EXAMPLES)]
        self.naming = torch.tensor(values, dtype=torch.int64, device=device)

    def standardised(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """By mean and standard deviation over outstanding training images; heavy tails tamed where it is set."""
        values = (embeddings - self.mean.to(embeddings)) / self.std.to(embeddings)
        return values.sign() * values.abs().log1p() if self.config.signed_log else values

    @property
    def known_examples(self) -> Examples | None:
        """Labelled examples; None without any."""
        if not len(self.examples):
            return None
        return Examples(_double(self.examples), self.examples_worst.cpu().numpy())

    @property
    def frozen(self) -> Clusters | None:
        """The clusters that were kept; None where there were too few images, or one cluster."""
        if not len(self.axes):
            return None
        worse, by_score, by_examples = self.naming.tolist()
        naming = Naming(worse, BY_EXAMPLES if by_examples else BY_PRIOR, by_score)
        return Clusters(Components(_double(self.centre), _double(self.axes)), _double(self.centres), naming)

    def findings(self) -> dict[str, Any]:
        """Whether clusters were kept, and whether the mean score would have named them alike."""
        found: dict[str, Any] = {"frozen_clusters": self.frozen is not None, "examples": len(self.examples)}
        if self.frozen is not None:
            found["naming"] = self.frozen.naming.rule
            found["mean_score_agrees"] = self.frozen.naming.agree
        return found


def _double(values: Tensor) -> np.ndarray:
    return values.detach().double().cpu().numpy()
