"""How long a training will take: a few real steps of its network, on noise, timed on this machine.

Weights are random (other values cost the same), batches have the names and shapes that the loader gives, and augmentation
is the recipe's own. What waits for data is not in it, nor what other work on the machine does later.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped

from modicum.batch import for_each_relative
from modicum.data.manifest import Manifest
from modicum.data.prepared import prepared
from modicum.data.processes import usable_cores
from modicum.data.sampling import epoch_draws
from modicum.engine.devices import autocast
from modicum.engine.inference.guards.keeping import MOST_TRAIN
from modicum.engine.inputs.batches import as_network_input, in_channels_last
from modicum.engine.inputs.preparation import store_settings
from modicum.engine.model import make_method
from modicum.engine.randomness import generator_at, undisturbed_generators
from modicum.engine.recipe.settings import Recipe
from modicum.engine.training.optimizers import make_optimizer
from modicum.engine.training.run_stages import learned_elsewhere
from modicum.engine.training.step import TrainingStep
from modicum.errors import InputError, ModicumError
from modicum.methods import ExtractStage, Method, TrainStage
from modicum.planning.data_facts import DataFacts
from modicum.planning.example_inputs import ExampleInputs
from modicum.planning.fitted_stages import fitted_stages
from modicum.planning.known_values import KnownValues
from modicum.planning.noisy_inputs import NoisyInputs
from modicum.planning.scoring_time import scoring_seconds
from modicum.planning.stage_steps import no_gradients_for
from modicum.tasks import DenseTask, Task
from modicum.tasks.base import Batch
from modicum.transforms import Augmentation

SECONDS = 2.0
"""Of steps that are timed for each stage, after the first, which is slower."""
MOST_STEPS = 20
EVALUATED = 2
"""Passes over validation and test images at the end of a run: scores, and pictures of the report."""
START = 4.0
"""Seconds that a run takes besides: libraries, files, intervals, the report."""


@dataclass(frozen=True)
class StageTime:
    """Seconds of one stage.

    Attributes:
        step: of a step with its batch.
        image: of a forward pass of one image without gradients.
        steps: in all epochs.
        validated: images that are validated, in all epochs.
        finish: what follows the steps of a stage that is fitted.
    """

    step: float
    image: float
    steps: int
    validated: int
    finish: float = 0.0

    @property
    def train_seconds(self) -> float:
        """As ``time.train_seconds`` in ``metrics.json`` counts: steps alone."""
        return self.step * self.steps + self.finish

    @property
    def seconds(self) -> float:
        """With validation."""
        return self.train_seconds + self.image * self.validated


@dataclass(frozen=True)
class TimePrediction:
    """Predicted seconds of a run.

    Attributes:
        stages: of each stage that learns, by name.
        decode_seconds: reading all images once.
        extract_seconds: making all stored features.
        evaluate_seconds: predicting validation and test images at the end.
    """

    stages: Mapping[str, StageTime] = field(default_factory=dict)
    decode_seconds: float = 0.0
    extract_seconds: float = 0.0
    evaluate_seconds: float = 0.0

    @property
    def train_seconds(self) -> float:
        """Of all steps."""
        return sum(stage.train_seconds for stage in self.stages.values())

    @property
    def fixed_seconds(self) -> float:
        """What does not depend on the epochs."""
        return START + self.decode_seconds + self.extract_seconds + self.evaluate_seconds

    @property
    def total_seconds(self) -> float:
        """Of the whole run."""
        return self.fixed_seconds + sum(stage.seconds for stage in self.stages.values())


@dataclass(frozen=True)
class Decoding:
    """Some images, and how long reading them took.

    Attributes:
        pictures: ``[channels, height, width]`` each.
        seconds: an image, on one core.
    """

    pictures: Sequence[Shaped[np.ndarray, "channels height width"]] = ()
    seconds: float = 0.0


@dataclass
class Stopwatch:
    """Times recipes on one data set.

    Attributes:
        device: where.
        rows: images by split.
        decoding: of some images.
        manifest: of the masks or targets that predictions are scored by; without it scoring costs nothing.
        seconds: that are spent on each stage.
    """

    device: torch.device
    rows: Mapping[str, int]
    decoding: Decoding = field(default_factory=Decoding)
    manifest: Manifest | None = None
    seconds: float = field(default_factory=lambda: SECONDS)
    _known: dict[str, Any] = field(default_factory=dict)

    def predicted(self, recipe: Recipe, facts: DataFacts) -> TimePrediction:
        """How long a recipe's run will take.

        Raises:
            InputError: its steps cannot be done on noise.
        """
        costs = self._costs(recipe, facts)
        stages: dict[str, StageTime] = {}
        extract = image = 0.0
        for name, (kind, step, forward, rows) in costs.items():
            if kind == "extract":
                extract += forward * sum(self.rows.values())
                image = forward
                continue
            if kind == "fit":  # an image at a time, then what follows; asking takes about as long as seeing
                stages[name] = StageTime(step, step, rows, 0, finish=forward)
                image = max(image, step)
                continue
            settings = recipe.training_of(name)
            validations = max(1, settings.epochs // settings.validate_every)
            per_epoch = max(1, settings.repeats_per_epoch * rows // settings.batch_size)
            stages[name] = StageTime(
                step, forward, settings.epochs * per_epoch, validations * self.rows.get("val", 0)
            )
            image = max(image, forward)
        evaluated = self.rows.get("val", 0) + self.rows.get("test", 0)
        shown = EVALUATED * evaluated
        if not isinstance(
            facts.task, DenseTask
        ):  # what training images look like to the backbone, for the guards
            shown += min(self.rows.get("train", 0), MOST_TRAIN) + evaluated
        scored = evaluated * self._scoring_seconds(facts.task)
        return TimePrediction(stages, self._decode_seconds(recipe), extract, shown * image + scored)

    def _scoring_seconds(self, task: Task) -> float:
        if self.manifest is None:
            return 0.0
        key = f"scores of {task.name}"
        if key not in self._known:
            self._known[key] = scoring_seconds(task, self.manifest)
        seconds: float = self._known[key]
        return seconds

    def _decode_seconds(self, recipe: Recipe) -> float:
        if not self.decoding.pictures:
            return 0.0
        settings = store_settings(recipe.image, recipe.task, recipe.options)
        began = time.perf_counter()
        for pixels in self.decoding.pictures:
            prepared(pixels, settings)
        each = self.decoding.seconds + (time.perf_counter() - began) / len(self.decoding.pictures)
        return each * sum(self.rows.values()) / usable_cores()

    def _costs(self, recipe: Recipe, facts: DataFacts) -> dict[str, tuple[str, float, float, int]]:
        """By stage its kind, seconds of a step and of a forward pass of an image, and its rows; for any epochs.

        Of a stage that is fitted, of seeing an image and of what follows.
        """
        training = {**recipe.training.model_dump(mode="json"), "epochs": 0}
        stages = {name: {**values, "epochs": 0} for name, values in recipe.stages.items()}
        key = str({**recipe.model_dump(mode="json"), "training": training, "stages": stages})
        if key not in self._known:
            try:
                with undisturbed_generators():
                    self._known[key] = _timed(recipe, facts, self.device, self.seconds)
            except ModicumError:
                raise
            except Exception as error:
                raise InputError(
                    f"the time of method '{recipe.method}' cannot be predicted ({type(error).__name__} on noise)",
                    "leave --time out",
                ) from error
        known: dict[str, tuple[str, float, float, int]] = self._known[key]
        return known


def _timed(
    recipe: Recipe, facts: DataFacts, device: torch.device, seconds: float
) -> dict[str, tuple[str, float, float, int]]:
    noise = recipe.model_copy(update={"backbone": recipe.backbone.model_copy(update={"weights": "random"})})
    method = make_method(noise, facts.task, facts.targets, has_data=False)
    inputs = NoisyInputs(noise, facts, str(device), KnownValues())
    costs: dict[str, tuple[str, float, float, int]] = {}
    for stage in method.stages():
        stage.to(device)
        if isinstance(stage, ExtractStage):
            costs[stage.name] = ("extract", 0.0, _extracted(stage, noise, inputs, device, seconds), 0)
        elif isinstance(stage, TrainStage) and noise.earlier_run(stage.name) is None:
            costs[stage.name] = ("train", *_trained(stage, method, noise, facts, inputs, device, seconds))
    if not any(kind == "train" for kind, *_ in costs.values()):
        for fitted in fitted_stages(recipe, facts, device, tracked=False):
            costs[fitted.name] = ("fit", fitted.image, fitted.finish, facts.rows)
    return costs


def _extracted(
    stage: ExtractStage, recipe: Recipe, inputs: ExampleInputs, device: torch.device, seconds: float
) -> float:
    count = min(16, recipe.training.batch_size)
    batch = inputs.images(count)
    stage.eval()

    def once() -> None:
        with torch.no_grad(), autocast(recipe.training.precision, device):
            inputs.records[stage.output] = stage({"image": as_network_input(batch)["image"]})[:1]

    return _seconds_of(once, device, seconds) / count


def _trained(
    stage: TrainStage,
    method: Method,
    recipe: Recipe,
    facts: DataFacts,
    inputs: ExampleInputs,
    device: torch.device,
    seconds: float,
) -> tuple[float, float, int]:
    settings = recipe.training_of(stage.name)
    stored = inputs.of(stage, settings.batch_size)
    stored["row"] = torch.arange(settings.batch_size)
    size = stage.image_size or recipe.image.size
    augment = Augmentation(settings.augment, size, stage.patch, inputs.kinds)
    generator = generator_at("calibration", recipe.seed)

    def batch() -> Batch:
        made = as_network_input(stored, inputs.kinds)
        made = for_each_relative(made, lambda part, _: facts.task.assemble(part), inputs.kinds)
        if augment.operations or stage.image_size or stage.patch:
            made = augment(made, generator)
        return (
            in_channels_last(made, inputs.kinds) if device.type == "cuda" and settings.channels_last else made
        )

    with no_gradients_for(learned_elsewhere(method, stage)):
        updates = list(stage.train().updates())
        optimizers = [make_optimizer(update, settings) for update in updates]
        step = TrainingStep(updates, optimizers, clip_norm=settings.clip_norm)

        def once() -> None:
            with autocast(settings.precision, device):
                step(batch())

        stage.on_epoch_start(0)
        each = _seconds_of(once, device, seconds)
    forward = _forward_seconds(stage, batch(), settings.batch_size, each, settings.precision, device)
    mask = stage.learns_from(facts.targets) if facts.targets else None
    rows = len(facts.sampling_labels) if mask is None else int(np.asarray(mask).sum())
    if mask is None:
        rows = epoch_draws(facts.sampling_labels, settings.sampling)
    return each, forward, rows


def _forward_seconds(
    stage: TrainStage, batch: Batch, count: int, step: float, precision: str, device: torch.device
) -> float:
    """Of one image in validation; a third of a step's share where that cannot be done on noise."""

    def once() -> None:
        with torch.no_grad(), autocast(precision, device):
            stage.validate(batch)

    stage.eval()
    try:
        return _seconds_of(once, device, 0.2) / count
    except Exception:
        return step / count / 3
    finally:
        stage.train()


def _seconds_of(once: Callable[[], None], device: torch.device, seconds: float) -> float:
    """The median time of a call, after a first one."""

    def timed() -> float:
        began = time.perf_counter()
        once()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    timed()
    times = [timed()]
    while sum(times) < seconds and len(times) < MOST_STEPS:
        times.append(timed())
    return float(np.median(times))
