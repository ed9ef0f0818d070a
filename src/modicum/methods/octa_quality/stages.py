"""Stages of quality assessment: fit to outstanding images, learn of them, set the threshold, prepare the clusters."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from modicum.methods.base import FitStage, TrainStage, Update
from modicum.methods.octa_quality.config import OctaQualityConfig
from modicum.methods.octa_quality.features import QualityFeatures
from modicum.methods.stages import Targets
from modicum.nn.one_class import FeatureTaps, PatchcoreScorer, ensemble_score
from modicum.nn.one_class.dfr import DeepFeatureReconstruction
from modicum.nn.spatial_transformer import without_autocast
from modicum.tasks.base import Batch

NO_OUTSTANDING = (
    "outstanding images are learned from: give some the highest grade, or name their class (--set best=NAME)"
)
_DFR_RATE = 1e-4 / 5e-3
"""DFR's published learning rate over that of reverse distillation."""


def dfr_rate(epoch: int) -> float:
    """The factor on the learning rate for DFR."""
    return _DFR_RATE


class _OutstandingOnly:
    """Learns from rows of one class."""

    best: int

    def learns_from(self, targets: Targets) -> Bool[np.ndarray, "rows"]:
        return targets["label"] == self.best


class FitScorers(_OutstandingOnly, FitStage):
    """Fits those scorers that are fitted by streaming, to outstanding training images."""

    name = "fit"
    learns_from_none = NO_OUTSTANDING

    def __init__(self, features: QualityFeatures, best: int) -> None:
        super().__init__()
        self.features, self.best = features, best
        self._pass = 0

    def on_pass_start(self, number: int) -> None:
        self._pass = number

    def see(self, batch: Batch) -> None:
        maps = self.features.taps(batch["image"])
        for _, scorer in self.features.named:
            if self._pass < scorer.num_passes:
                scorer.see(maps, self._pass)

    def finish(self) -> bool:
        passes = [scorer.num_passes for _, scorer in self.features.named]
        for _, scorer in self.features.named:
            if self._pass < scorer.num_passes:
                scorer.finish(self._pass)
        return self._pass + 1 < max(passes)

    def findings(self) -> dict[str, Any]:
        """Sizes of what was remembered."""
        found: dict[str, Any] = {}
        for name, scorer in self.features.named:
            if isinstance(scorer, PatchcoreScorer):
                found |= {"patches": len(scorer.bank), "bank_bytes": 4 * scorer.bank.numel()}
            if isinstance(scorer, DeepFeatureReconstruction):
                found[f"{name}_components_of_90_percent"] = int(scorer.components)
        return found


class RepresentStage(_OutstandingOnly, TrainStage):
    """Trains the scorers that learn by gradients, on outstanding images; the encoder stays as it is."""

    name = "represent"
    scored = False
    learns_from_none = NO_OUTSTANDING

    def __init__(self, taps: FeatureTaps, learners: nn.ModuleDict, best: int) -> None:
        super().__init__()
        self.taps, self.learners, self.best = taps, learners, best

    def updates(self) -> Sequence[Update]:
        made = []
        for name, learner in self.learners.items():
            factor = {"lr_factor": dfr_rate} if name == "dfr" else {}
            made.append(Update(name, list(learner.parameters()), self._losses_of(name), **factor))  # type: ignore[arg-type]
        return made

    def _losses_of(self, name: str) -> Any:
        def losses(batch: Batch) -> dict[str, Tensor]:
            maps = self.taps(quarter_turns(batch["image"]))
            with without_autocast(batch["image"].device):
                return {name: self.learners[name].losses(maps)}  # type: ignore[operator]

        return losses


def quarter_turns(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Each image of a square batch turned by 0 to 3 right angles, drawn by Python's generator; in training only."""
    if not torch.is_grad_enabled() or images.shape[2] != images.shape[3]:
        return images
    turns = random.choices(range(4), k=len(images))  # numbers also in a dry run, whose tensors have no values
    return torch.stack([image.rot90(turn, (1, 2)) for image, turn in zip(images, turns, strict=True)])


class HeldOutStage(FitStage):
    """Sets the threshold by outstanding validation images, which nothing was fitted to."""

    name = "held_out"
    split = "val"
    learns_from_none = "outstanding validation images set the threshold: give some of them the split val"
    scores: Tensor
    tau: Tensor
    spread: Tensor
    map_scale: Tensor

    def __init__(self, features: QualityFeatures, config: OctaQualityConfig, best: int) -> None:
        super().__init__()
        self.features, self.config, self.best = features, config, best
        count = len(features.scorers)
        with_maps = sum(scorer.has_map for _, scorer in features.named)
        self.register_buffer("scores", torch.zeros(0, count))
        self.register_buffer("tau", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))
        self.register_buffer("map_scale", torch.ones(with_maps))
        self._seen: list[Tensor] = []
        self._largest: list[Tensor] = []
        self._outstanding: list[Tensor] = []

    def learns_from(self, targets: Targets) -> Bool[np.ndarray, "rows"]:
        outstanding = targets["label"] == self.best
        if self.config.threshold == "best_f1" and outstanding.any():
            return np.ones_like(outstanding)
        return outstanding

    def see(self, batch: Batch) -> None:
        outputs, maps = self.features.with_maps(batch["image"])
        self._seen.append(self.features.parts.split(outputs)[0])
        outstanding = batch["label"] == self.best
        self._outstanding.append(outstanding)
        if maps:
            self._largest.append(torch.stack([one.flatten(1).amax(1) for one in maps], 1)[outstanding])

    def finish(self) -> None:
        scores, outstanding = torch.cat(self._seen), torch.cat(self._outstanding)
        self.scores = scores[outstanding]
        if self._largest:
            self.map_scale = torch.cat(self._largest).median(0).values.clamp_min(1e-12)
        self._seen, self._largest, self._outstanding = [], [], []
        held = self.joined(self.scores)
        self.tau = held.quantile(self.config.quantile)
        self.spread = (self.tau - held.median()).abs().clamp_min(1e-6 * held.abs().max().clamp_min(1e-6))
        if self.config.threshold == "best_f1":
            self.tau = best_f1_threshold(self.joined(scores), outstanding)

    def joined(self, scores: Float[Tensor, "n scorers"]) -> Float[Tensor, "n"]:
        """One score an image: the only scorer's, or the mean of percentiles among held-out outstanding images."""
        if scores.shape[1] == 1:
            return scores[:, 0]
        return ensemble_score(scores, self.scores.to(scores.device))

    def findings(self) -> dict[str, Any]:
        """The threshold, and what it was set by."""
        return {
            "tau": float(self.tau),
            "quantile": self.config.quantile,
            "supervised": self.config.threshold == "best_f1",
            "held_out_images": len(self.scores),
            "held_out_scores": [round(float(value), 6) for value in self.joined(self.scores).sort().values],
        }


def best_f1_threshold(scores: Float[Tensor, "n"], outstanding: Bool[Tensor, "n"]) -> Float[Tensor, ""]:
    """The threshold with the best F1 of images that are not outstanding; between two scores. Supervised."""
    order = scores.argsort()
    ordered, bad = scores[order], ~outstanding[order]
    if not bad.any():
        return ordered[-1]
    below = torch.cumsum(bad, 0)
    caught = bad.sum() - below  # above each score
    called = len(ordered) - 1 - torch.arange(len(ordered), device=scores.device)
    best = int((2 * caught / (called + bad.sum())).argmax())
    return ordered[best] if best + 1 == len(ordered) else (ordered[best] + ordered[best + 1]) / 2
