"""Memory and time of stages that are fitted without gradients: done on a few images of noise, and carried on from there.

What a memory bank keeps grows with the images. Choosing a core set compares each with each, so that what follows the pass
over the images is carried on by its square.
"""

import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from modicum.engine.devices import autocast
from modicum.engine.inputs.batches import as_network_input
from modicum.engine.model import make_method
from modicum.engine.randomness import seed_globals
from modicum.engine.recipe.settings import Recipe
from modicum.engine.training.meters import memory_account
from modicum.errors import InputError, ModicumError
from modicum.methods import FitStage
from modicum.planning.data_facts import DataFacts
from modicum.planning.known_values import KnownValues
from modicum.planning.memory_tracker import MemoryTracker, Peak
from modicum.planning.noisy_inputs import NoisyInputs

SMALL, LARGER = 8, 16
"""Images that are fitted to; enough for five neighbours, and for a core set of a tenth."""


@dataclass(frozen=True)
class FittedStage:
    """What fitting a stage takes.

    Attributes:
        name: of the stage.
        account: as ``memory`` in ``metrics.json`` has it.
        peak: the most that is alive at one time.
        image: seconds for each image that is seen, in all passes.
        finish: seconds of what follows the passes.
    """

    name: str
    account: dict[str, Any]
    peak: Peak
    image: float
    finish: float


def fitted_stages(
    recipe: Recipe, facts: DataFacts, device: torch.device, block: int = 1, *, tracked: bool
) -> list[FittedStage]:
    """What fitting each stage of a recipe takes with all training images.

    Args:
        recipe: settings of the run.
        facts: of the data.
        device: where it is measured.
        block: bytes that sizes are rounded up to.
        tracked: whether memory is followed, which makes the times useless.

    Raises:
        InputError: a stage cannot be fitted to noise.
    """
    try:
        few, more = (_fitted(recipe, facts, device, block, count, tracked) for count in (SMALL, LARGER))
    except ModicumError:
        raise
    except Exception as error:
        raise InputError(
            f"what method '{recipe.method}' takes cannot be predicted ({type(error).__name__} on noise)",
            "give --batch-size a number and leave --memory and --time out",
        ) from error
    return [_onward(one, other, facts.rows) for one, other in zip(few, more, strict=True)]


def _onward(few: FittedStage, more: FittedStage, rows: int) -> FittedStage:
    """From two measurements to all rows: memory along a line, the end of the fitting along a parabola through zero."""

    def line(less: int, greater: int) -> int:
        return max(0, round(greater + (rows - LARGER) * (greater - less) / (LARGER - SMALL)))

    account = {
        name: line(few.account[name], value) if isinstance(value, int) else value
        for name, value in more.account.items()
    }
    parts = {name: line(few.peak.parts.get(name, 0), value) for name, value in more.peak.parts.items()}
    square = max(0.0, (more.finish / LARGER - few.finish / SMALL) / (LARGER - SMALL))
    finish = more.finish / LARGER * rows + square * rows * (rows - LARGER)
    return FittedStage(
        more.name, account, Peak(line(few.peak.bytes, more.peak.bytes), parts), more.image, finish
    )


def _fitted(
    recipe: Recipe, facts: DataFacts, device: torch.device, block: int, count: int, tracked: bool
) -> list[FittedStage]:
    """Of a method that is fitted to so many images."""
    noise = recipe.model_copy(update={"backbone": recipe.backbone.model_copy(update={"weights": "random"})})
    method = make_method(noise, facts.task, facts.targets, has_data=False)
    inputs = NoisyInputs(noise, facts, str(device), KnownValues())
    made = []
    for stage in method.stages():
        if isinstance(stage, FitStage):
            stage.to(device).eval()
            memory = MemoryTracker(block)
            with memory if tracked else nullcontext():
                memory.name([*stage.parameters(), *stage.buffers()], "weights")
                image, finish = _passes(stage, noise, inputs, device, count)
            account = memory_account(stage, [], 0, None)
            account["peak_bytes"] -= account["gradients_bytes"]
            made.append(
                FittedStage(stage.name, account | {"gradients_bytes": 0}, memory.peak(), image, finish)
            )
    return made


@torch.no_grad()
def _passes(
    stage: FitStage, recipe: Recipe, inputs: NoisyInputs, device: torch.device, count: int
) -> tuple[float, float]:
    """Seconds of an image in all passes, and of what follows them."""
    settings = recipe.training_of(stage.name)
    stored = inputs.of(stage, count)
    stored["row"] = torch.arange(count)
    seen = finished = 0.0
    number, again = 0, True
    while again:
        began = time.perf_counter()
        seed_globals("pass", recipe.seed, stage.name, number)
        stage.on_pass_start(number)
        for first in range(0, count, settings.batch_size):
            part = {name: tensor[first : first + settings.batch_size] for name, tensor in stored.items()}
            with autocast(settings.precision, device):
                stage.see(as_network_input(part, inputs.kinds))
        middle = time.perf_counter()
        again = bool(stage.finish())
        seen, finished = seen + middle - began, finished + time.perf_counter() - middle
        number += 1
    return seen / count, finished
