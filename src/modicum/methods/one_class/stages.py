"""Stages of one-class methods: fit or train a scorer on normal images, then see on what scale it answers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from modicum.methods.base import FitStage, TrainStage, Update
from modicum.methods.stages import Targets
from modicum.nn.one_class import OneClassScorer, PatchcoreScorer
from modicum.nn.one_class.maps import blurred
from modicum.nn.one_class.pixels import blur_ratio
from modicum.nn.one_class.scorer import OneClassScore
from modicum.nn.spatial_transformer import without_autocast
from modicum.progress import say
from modicum.tasks.anomaly.task import learns_from_normal
from modicum.tasks.base import Batch

MOST_BLURRED = 64
"""Images whose blurred copies are scored."""


class Scoring(nn.Module):
    """Images to scores: what looks at them, and the scorer.

    Args:
        look: images to maps.
        scorer: maps to scores.
    """

    def __init__(self, look: nn.Module, scorer: OneClassScorer) -> None:
        super().__init__()
        self.look, self.scorer = look, scorer

    def forward(self, images: Float[Tensor, "b c h w"]) -> OneClassScore:
        maps = self.look(images)
        size = (int(images.shape[2]), int(images.shape[3]))
        with without_autocast(images.device):  # distances need all their digits
            found: OneClassScore = self.scorer(maps, size)
        return found


class _NormalOnly:
    """Learns from normal images."""

    learns_from_none = (
        "normal images are learned from: give some the split train, or name their class (--set normal=NAME)"
    )

    def learns_from(self, targets: Targets) -> Bool[np.ndarray, "rows"]:
        return learns_from_normal(targets)


class FitStageOfScorer(_NormalOnly, FitStage):
    """Streams normal images through a scorer."""

    name = "fit"

    def __init__(self, scoring: Scoring) -> None:
        super().__init__()
        self.scoring = scoring
        self._pass = 0

    def on_pass_start(self, number: int) -> None:
        self._pass = number

    def see(self, batch: Batch) -> None:
        maps = self.scoring.look(batch["image"])
        with without_autocast(batch["image"].device):
            self.scoring.scorer.see(maps, self._pass)

    def finish(self) -> bool:
        self.scoring.scorer.finish(self._pass)
        return self._pass + 1 < self.scoring.scorer.num_passes

    def findings(self) -> dict[str, Any]:
        """What a memory holds, in patches and bytes."""
        scorer = self.scoring.scorer
        if not isinstance(scorer, PatchcoreScorer):
            return {}
        return {"patches": len(scorer.bank), "bank_bytes": scorer.bank.numel() * scorer.bank.element_size()}


class LearnStage(_NormalOnly, TrainStage):
    """Trains a scorer on normal images by its own loss; validated by it too."""

    name = "learn"
    scored = False

    def __init__(self, scoring: Scoring) -> None:
        super().__init__()
        self.scoring = scoring

    def updates(self) -> Sequence[Update]:
        return [Update("scorer", list(self.scoring.scorer.parameters()), self.losses)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        maps = self.scoring.look(batch["image"])
        with without_autocast(batch["image"].device):
            return {"normal": self.scoring.scorer.losses(maps)}  # type: ignore[operator]


class ScaleStage(_NormalOnly, FitStage):
    """How large a map's values are in normal images, and which way the score moves when an image is blurred.

    A score that falls with blur calls blurred images the most normal of all; this is said, and stands in the findings.
    """

    name = "scale"
    map_scale: Tensor
    blur: Tensor

    def __init__(self, scoring: Scoring) -> None:
        super().__init__()
        self.scoring = scoring
        self.register_buffer("map_scale", torch.ones(()))
        self.register_buffer("blur", torch.tensor(torch.nan))
        self._largest: list[Tensor] = []
        self._pairs: list[Tensor] = []

    def see(self, batch: Batch) -> None:
        images = batch["image"]
        found = self.scoring(images)
        if found.map is not None:
            self._largest.append(found.map.flatten(1).amax(1))
        if sum(map(len, self._pairs)) < MOST_BLURRED:
            soft = blurred(images.flatten(0, 1).float(), 2.0).view_as(images)
            self._pairs.append(torch.stack([found.score, self.scoring(soft).score], 1))

    def finish(self) -> None:
        if self._largest:
            self.map_scale = torch.cat(self._largest).median().clamp_min(1e-12)
        pairs = torch.cat(self._pairs)
        self.blur = torch.tensor(blur_ratio(pairs[:, 0], pairs[:, 1]), device=pairs.device)
        self._largest, self._pairs = [], []
        if self.blur < 0.5:
            say(
                f"caution: {100 * (1 - float(self.blur)):.0f} % of normal images score lower when they are blurred: this "
                "score calls blurred images the most normal of all"
            )

    def findings(self) -> dict[str, Any]:
        """Share of normal images that score higher when they are blurred."""
        return {"blurred_copies_score_higher": round(float(self.blur), 4)}
