"""The steps of a training on tensors without values: every operation is done, none computes or allocates anything."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import Optimizer

from modicum.batch import for_each_relative
from modicum.engine.devices import uses_bf16
from modicum.engine.inputs.batches import as_network_input, in_channels_last
from modicum.engine.randomness import generator_at, seed_globals
from modicum.engine.recipe.settings import Recipe, TrainingSettings
from modicum.engine.training.averaging import AveragedParameters
from modicum.engine.training.meters import memory_account, saved_tensors
from modicum.engine.training.optimizers import make_optimizer, parameters_of
from modicum.engine.training.step import BatchInStep, Part, StepHooks, TrainingStep
from modicum.methods import ExtractStage, TrainStage, Update
from modicum.planning.data_facts import DataFacts
from modicum.planning.example_inputs import ExampleInputs
from modicum.planning.known_values import KnownValues
from modicum.planning.memory_tracker import MemoryTracker, Peak
from modicum.planning.simulated_gpu import SimulatedGPU
from modicum.tasks.base import Batch
from modicum.transforms import Augmentation


class FakeCPU:
    """Inside ``with``, tensors are fake and operations choose a CPU's kernels. Attributes as :class:`SimulatedGPU`'s."""

    place = "cpu"
    block = 1

    def __init__(self) -> None:
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)

    def __enter__(self) -> None:
        self._mode.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._mode.__exit__(*error)

    def autocast(self) -> AbstractContextManager[Any]:
        """bfloat16 where a CPU's autocast has it."""
        return torch.autocast("cpu", torch.bfloat16)


@dataclass(frozen=True)
class DryRun:
    """Steps of a recipe's method without values.

    Attributes:
        recipe: settings of the run.
        facts: of the data.
        device: what is counted. Tensors are made, and steps done, inside ``with device``.
        values: of what is small and known all the same.
    """

    recipe: Recipe
    facts: DataFacts
    device: FakeCPU | SimulatedGPU
    values: KnownValues = field(default_factory=KnownValues)

    @property
    def cuda(self) -> bool:
        """Whether the memory is that of a GPU."""
        return isinstance(self.device, SimulatedGPU)

    @cached_property
    def inputs(self) -> ExampleInputs:
        """What stages read."""
        return ExampleInputs(self.recipe, self.facts, self.device.place, self.values)

    def extract(self, stage: ExtractStage) -> int:
        """Makes the stage's records; returns the most memory that it takes to make them in batches of the run's size.

        Done for one image and for two, and carried on from there: some code goes image by image on a CPU.
        """
        self.inputs.records[stage.output], first = self._extract(stage, 1)
        second = self._extract(stage, 2)[1]
        return first + (self.recipe.training.batch_size - 1) * (second - first)

    def _extract(self, stage: ExtractStage, count: int) -> tuple[Tensor, int]:
        stage.eval()
        batch = self.inputs.images(count)
        with self._following() as memory:
            memory.name([*stage.parameters(), *stage.buffers()], "weights")
            memory.name(batch.values(), "features")
            with torch.no_grad(), self.autocast(self.recipe.training):
                records = stage({"image": as_network_input(batch)["image"]})
        return records, memory.peak().bytes

    def train(self, stage: TrainStage) -> tuple[dict[str, Any], Peak]:
        """The account of the first training step, and the most that one takes once optimisers have their state."""
        settings = self.recipe.training_of(stage.name)
        batch = self.inputs.of(stage, settings.batch_size)
        with self._following() as memory:
            steps = _Steps(self, stage, batch, settings, memory)
            steps.step(BatchInStep())
            account = steps.account()
            if self.inputs.has_reports():
                steps.read(self.inputs.of(stage, settings.batch_size, longest=True))
            warm = memory.moment()
            count = settings.accumulate
            if count > 1:  # the next forward pass begins with gradients
                steps.step(BatchInStep(count, first=True, last=False))
            steps.step(BatchInStep(count, first=count == 1, last=True))
        return account, memory.peak(warm)

    @contextmanager
    def _following(self) -> Iterator[MemoryTracker]:
        memory = MemoryTracker(self.device.block)
        with memory, self.values:
            yield memory

    def autocast(self, settings: TrainingSettings) -> AbstractContextManager[Any]:
        """The precision of a forward pass."""
        if settings.precision == "auto" and self.cuda and not torch.cuda.is_available():
            return self.device.autocast()  # a GPU elsewhere; all since 2020 have bfloat16
        bf16 = uses_bf16(settings.precision, torch.device("cuda" if self.cuda else "cpu"))
        return self.device.autocast() if bf16 else nullcontext()


class _Steps:
    """Training steps of one stage, with a name for every tensor that they create."""

    def __init__(
        self, run: DryRun, stage: TrainStage, batch: Batch, settings: TrainingSettings, memory: MemoryTracker
    ) -> None:
        self.run = run
        self.stage = stage.train()
        self.settings = settings
        self.memory = memory
        updates = list(stage.updates())
        self.training_step = TrainingStep(
            updates,
            [_optimizer(update, settings, run.cuda) for update in updates],
            clip_norm=settings.clip_norm,
            release_gradients=run.cuda,
            hooks=StepHooks(around_forward=self._first_step_meter, after=self._name),
        )
        self.average: AveragedParameters | None = None
        self.activations = 0
        self.done = 0
        self.warm = False
        self._own = [*stage.parameters(), *stage.buffers()]
        memory.name(self._own, "weights")
        self.read(batch)
        if settings.ema_decay:
            learnable = {name: p for name, p in stage.named_parameters() if p.requires_grad}
            self.average = AveragedParameters(learnable, settings.ema_decay, settings.ema_power)
            memory.name(self.average.average.values(), "optimizer")

    def read(self, batch: Batch) -> None:
        """Takes the batch of the steps that follow."""
        self.batch = batch
        self.memory.name(batch.values(), "features")

    def step(self, place: BatchInStep) -> None:
        """One batch, with the draws of the training's first epoch."""
        seed_key = (self.run.recipe.seed, self.stage.name, 0, self.done, 0)
        self.run.values.begin_step()
        seed_globals("step", *seed_key)
        batch = self._as_on_device(generator_at("augment", *seed_key))
        with self.run.autocast(self.settings):  # backward pass and optimiser too, as in the engine
            self.training_step(batch, place)
        self.done += 1
        if place.last:
            self.warm = True
            if self.average is not None:
                self.average.update()

    def _as_on_device(self, generator: torch.Generator) -> Batch:
        kinds, size = self.run.inputs.kinds, self.stage.image_size
        batch = as_network_input(self.batch, kinds)
        batch = for_each_relative(batch, lambda part, _: self.run.facts.task.assemble(part), kinds)
        if "image" in batch and (size or self.stage.patch):  # all of augmentation that decides sizes
            batch = Augmentation([], size or self.run.recipe.image.size, self.stage.patch, kinds)(
                batch, generator
            )
        if self.run.cuda and self.settings.channels_last:
            batch = in_channels_last(batch, kinds)
        self.memory.name(batch.values(), "features")
        return batch

    @contextmanager
    def _first_step_meter(self) -> Iterator[None]:
        """Context of the first step only: the meter keeps the tensors it counts, which would raise later steps' peak."""
        if self.warm:
            yield
            return
        with saved_tensors(self._own) as account:
            yield
        self.activations = max(self.activations, account.bytes)

    def _name(self, part: Part, optimizer: Optimizer) -> None:
        if part == "backward":
            grads = (parameter.grad for parameter in parameters_of(optimizer))
            self.memory.name((grad for grad in grads if grad is not None), "gradients")
        else:
            self.memory.name(_state(optimizer), "optimizer")

    def account(self) -> dict[str, Any]:
        """The account that the engine writes to ``metrics.json`` for the same step on a CPU."""
        average: Mapping[str, Tensor] | None = self.average.average if self.average else None
        return memory_account(self.stage, self.training_step.optimizers, self.activations, average)


def _optimizer(update: Update, settings: TrainingSettings, cuda: bool) -> Optimizer:
    made = make_optimizer(update, settings)
    if cuda:  # where nothing is said, a GPU's optimisers take all parameters in one operation
        for group in made.param_groups:
            if group["foreach"] is None:
                group["foreach"] = not (group["fused"] or group["differentiable"])
    return made


def _state(optimizer: Optimizer) -> Iterable[Tensor]:
    values = (value for state in optimizer.state.values() for value in state.values())
    return (value for value in values if isinstance(value, Tensor))
