"""The steps of all stages of a method, one after another, and what each takes."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from modicum.engine.recipe.settings import Recipe
from modicum.engine.training.run_stages import learned_elsewhere
from modicum.methods import ExtractStage, Method, TrainStage
from modicum.planning.dry_run import DryRun
from modicum.planning.dry_run_failure import failing_as_input_error
from modicum.planning.memory_tracker import Peak

Trained = list[tuple[str, dict[str, Any], Peak]]
"""Name, account and peak of each stage that learns."""


def steps_of_stages(run: DryRun, method: Method) -> tuple[Trained, int]:
    """What learning takes, and the peak of stages that extract; fitted ones are left out.

    Raises:
        InputError: a step fails; it names the stage and the operation.
    """
    extraction = 0
    trained: Trained = []
    for stage in method.stages():
        with failing_as_input_error(run, f"stage '{stage.name}'"):
            if isinstance(stage, ExtractStage):
                extraction = max(extraction, run.extract(stage))
            elif isinstance(stage, TrainStage) and not _is_ready(run.recipe, stage.name):
                with no_gradients_for(learned_elsewhere(method, stage)):
                    trained.append((stage.name, *run.train(stage)))
    return trained, extraction


def _is_ready(recipe: Recipe, stage: str) -> bool:
    """Whether a stage is taken from an earlier run as it is."""
    earlier = recipe.earlier_run(stage)
    return earlier is not None and not earlier[1]


@contextmanager
def no_gradients_for(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Within, parameters that other stages learn are frozen."""
    frozen = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
