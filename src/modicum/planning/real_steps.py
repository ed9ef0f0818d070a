"""The memory of steps that cannot be done without values: measured on small batches of noise, and carried on from there.

How many boxes a detector proposes decides the sizes of what follows. Such steps are done in earnest on the CPU, with two
images and with four; what they take grows by the same amount for each further image.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from modicum.engine.model import make_method
from modicum.engine.recipe.settings import Recipe
from modicum.planning.data_facts import DataFacts
from modicum.planning.dry_run import DryRun, FakeCPU
from modicum.planning.memory_tracker import Peak
from modicum.planning.noisy_inputs import NoisyInputs
from modicum.planning.stage_steps import Trained, steps_of_stages

SMALL, LARGER = 2, 4
"""Images of the two batches; two, as batch norms and contrasts have nothing to learn from one."""


class RealCPU(FakeCPU):
    """Tensors are real ones, on the CPU.

    Args:
        block: bytes that sizes are rounded up to.
        for_gpu: whether precision and optimisers are a GPU's.
    """

    def __init__(self, block: int, for_gpu: bool) -> None:
        self.block, self.for_gpu = block, for_gpu

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: Any) -> None:
        pass


class RealRun(DryRun):
    """Steps of a recipe's method on noise, each of whose tensors is counted."""

    device: RealCPU

    @property
    def cuda(self) -> bool:
        return self.device.for_gpu

    @cached_property
    def inputs(self) -> NoisyInputs:
        return NoisyInputs(self.recipe, self.facts, self.device.place, self.values)


def measured_steps(recipe: Recipe, facts: DataFacts, device: RealCPU) -> tuple[Trained, int]:
    """Name, account and peak of each stage that learns, and the peak of those that extract, for the recipe's batches.

    Args:
        recipe: settings of the run.
        facts: of the data.
        device: whose memory is meant.

    Raises:
        InputError: a step fails in earnest too; it names the stage and the operation.
    """
    (few, few_extracted), (more, more_extracted) = (
        _steps(recipe, facts, device, count) for count in (SMALL, LARGER)
    )

    def onward(batch: int, less: int, greater: int) -> int:
        return max(0, round(greater + (batch - LARGER) * (greater - less) / (LARGER - SMALL)))

    def all_onward(batch: int, less: Mapping[str, Any], greater: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: onward(batch, less.get(name, 0), value) if isinstance(value, int) else value
            for name, value in greater.items()
        }

    trained: Trained = []
    for (name, lesser, low), (_, account, peak) in zip(few, more, strict=True):
        batch = recipe.training_of(name).batch_size
        top = Peak(onward(batch, low.bytes, peak.bytes), all_onward(batch, low.parts, peak.parts))
        trained.append((name, all_onward(batch, lesser, account), top))
    return trained, onward(recipe.training.batch_size, few_extracted, more_extracted)


def _steps(recipe: Recipe, facts: DataFacts, device: RealCPU, count: int) -> tuple[Trained, int]:
    """Those of batches of ``count`` images in every stage."""
    batch = {"batch_size": count}
    stages = {name: {**own, **batch} if "batch_size" in own else own for name, own in recipe.stages.items()}
    small = recipe.model_copy(
        update={
            "training": recipe.training.model_copy(update=batch),
            "stages": stages,
            "backbone": recipe.backbone.model_copy(update={"weights": "random"}),
        }
    )
    method = make_method(small, facts.task, facts.targets, has_data=False)
    return steps_of_stages(RealRun(small, facts, device), method)
