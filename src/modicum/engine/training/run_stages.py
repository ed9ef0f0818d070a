"""Runs the stages of a method in their order."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from modicum.batch import Kinds
from modicum.engine.inputs.batches import StageData
from modicum.engine.inputs.stage_inputs import StageInputs
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import RunFolder
from modicum.engine.scoring import decide_fn
from modicum.engine.stage_sources import load_stage
from modicum.engine.training.fitting import StageFitter
from modicum.engine.training.previews import write_preview
from modicum.engine.training.results import StageResult
from modicum.engine.training.tracking import Tracking
from modicum.methods import ExtractStage, Method, Stage, TrainStage
from modicum.progress import say
from modicum.tasks import Task
from modicum.transforms import Augmentation

Learned = tuple[TrainStage, StageData]
"""A stage that has just been trained, and what it reads."""


@dataclass
class StagesResult:
    """Results of all stages.

    Attributes:
        results: of each stage that was trained or fitted, by name, in their order.
        sources: of each stage that came from an earlier run, the run's folder and the digest of its weights.
        learned: the last stage and its data, where its outputs are those of the predictor.
    """

    results: dict[str, StageResult] = field(default_factory=dict)
    sources: dict[str, dict[str, str]] = field(default_factory=dict)
    learned: Learned | None = None

    def describe(self) -> dict[str, Any]:
        """For ``metrics.json``: by stage, its selection, memory and time, and the run that it came from."""
        names = [*self.results, *(name for name in self.sources if name not in self.results)]
        return {
            name: {
                **(vars(self.results[name]) if name in self.results else {}),
                **({"source": self.sources[name]} if name in self.sources else {}),
            }
            for name in names
        }


def run_stages(
    method: Method,
    recipe: Recipe,
    folder: RunFolder,
    inputs: StageInputs,
    task: Task,
    device: torch.device,
    tracking: Tracking | None = None,
) -> StagesResult:
    """Extracts, fits and trains; each stage resumes where an earlier start of the run was stopped.

    Args:
        method: with its networks; holds what was learned afterwards.
        recipe: the run's settings.
        folder: of the run.
        inputs: hands each stage its data.
        task: scores the validation.
        device: where to compute.
        tracking: is told what is recorded.
    """
    results = StagesResult()
    decide = decide_fn(method, inputs.prepared.manifest)
    inputs.check([stage for stage in method.stages() if not _ready(stage, recipe)])
    for stage in method.stages():
        results.learned = None
        if isinstance(stage, ExtractStage):
            inputs.extract(stage)
            continue
        ready = _from_earlier_run(stage, recipe, results)
        if ready:
            continue
        data = inputs.of(stage)
        if isinstance(stage, TrainStage):
            # Lightning takes seconds to import, and nothing but training by gradients needs it.
            from modicum.engine.training.stage_trainer import StageTrainer

            write_preview(stage, data, folder, recipe.seed, device)
            frozen = learned_elsewhere(method, stage)
            decided = decide if stage.decided else None
            trainer = StageTrainer(stage, recipe, folder, data, task, device, frozen, decided, tracking)
            results.results[stage.name] = trainer.run()
            if stage.scored and (stage.decided or method.decides_over == "image"):
                results.learned = stage, data
        else:
            fitter = StageFitter(
                stage, recipe, folder, data, device, _own_augmentation(stage, recipe, data.kinds)
            )
            results.results[stage.name] = fitter.run()
    return results


def _ready(stage: Stage, recipe: Recipe) -> bool:
    """Whether a stage is taken from an earlier run as it is."""
    earlier = recipe.earlier_run(stage.name)
    return earlier is not None and not earlier[1]


def _from_earlier_run(stage: Stage, recipe: Recipe, results: StagesResult) -> bool:
    """Loads a stage from the run that the recipe names; returns whether it is complete with that."""
    earlier = recipe.earlier_run(stage.name)
    if earlier is None:
        return False
    path, trained_on = earlier
    digest = load_stage(stage, path)
    results.sources[stage.name] = {"run": path.name, "weights_sha256": digest}
    say(f"{stage.name}: {'starts from' if trained_on else 'taken from'} run '{path.name}'")
    return not trained_on


def learned_elsewhere(method: Method, stage: TrainStage) -> list[nn.Parameter]:
    """Parameters that other stages learn and this one does not."""
    own_ids = {id(parameter) for parameter in update_parameters(stage)}
    return [
        parameter
        for other in method.stages()
        if isinstance(other, TrainStage) and other is not stage
        for parameter in update_parameters(other)
        if id(parameter) not in own_ids
    ]


def update_parameters(stage: TrainStage) -> list[nn.Parameter]:
    """All parameters that a stage's updates change."""
    groups = [group for update in stage.updates() for group in update.parameters]
    return [
        parameter
        for group in groups
        for parameter in (group["params"] if isinstance(group, dict) else [group])
    ]


def _own_augmentation(stage: Stage, recipe: Recipe, kinds: Kinds) -> Callable[..., Any] | None:
    """The augmentation in a fitted stage's own settings: the run's augmentation is for training by gradients only."""
    augment = recipe.stages.get(stage.name, {}).get("augment")
    return None if augment is None else Augmentation(augment, recipe.image.size, kinds=kinds)
