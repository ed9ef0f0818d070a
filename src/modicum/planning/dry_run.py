"""The steps of a training on tensors without values: every operation is done, none computes or allocates anything."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from modicum.engine.inputs.batches import as_network_input
from modicum.engine.recipe.settings import Recipe
from modicum.engine.training.averaging import AveragedParameters
from modicum.engine.training.meters import memory_account, saved_tensors
from modicum.engine.training.optimizers import make_optimizer, parameters_of
from modicum.engine.training.step import BatchInStep, Part, StepHooks, TrainingStep
from modicum.methods import ExtractStage, TrainStage, Update
from modicum.planning.memory_tracker import MemoryTracker, Peak
from modicum.planning.simulated_gpu import SimulatedGPU
from modicum.tasks.base import Batch
from modicum.transforms import resize

CHANNELS = 3


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
        device: what is counted. Tensors are made, and steps done, inside ``with device``.
        bf16: whether forward passes run in bfloat16.
    """

    recipe: Recipe
    device: FakeCPU | SimulatedGPU
    bf16: bool

    @property
    def cuda(self) -> bool:
        """Whether the memory is that of a GPU."""
        return isinstance(self.device, SimulatedGPU)

    def inputs(self, count: int) -> Batch:
        """A batch as the loader gives it: stored images uint8 ``[b, h, w, c]`` and labels."""
        shapes = {
            "image": (count, *self.recipe.image.size, CHANNELS),
            "label": (count,),
            "position": (count,),
        }
        return {
            name: torch.zeros(
                shape, dtype=torch.uint8 if name == "image" else torch.int64, device=self.device.place
            )
            for name, shape in shapes.items()
        }

    def extract(self, stage: ExtractStage, count: int) -> tuple[Tensor, int]:
        """The records of so many images, and the most memory that it takes to make them.

        Done for one image and for two, and carried on from there: some code goes image by image on a CPU.
        """
        records, first = self._extract(stage, 1)
        second = self._extract(stage, 2)[1]
        return records.expand(count, *records.shape[1:]).contiguous(), first + (count - 1) * (second - first)

    def _extract(self, stage: ExtractStage, count: int) -> tuple[Tensor, int]:
        stage.eval()
        batch = self.inputs(count)
        with self._following() as memory:
            memory.name([*stage.parameters(), *stage.buffers()], "weights")
            memory.name(batch.values(), "features")
            with torch.no_grad(), self.autocast():
                records = stage({"image": as_network_input(batch)["image"]})
        return records, memory.peak().bytes

    def train(self, stage: TrainStage, batch: Batch) -> tuple[dict[str, Any], Peak]:
        """The engine's account of a training step, and the memory it takes once the optimisers have their state."""
        with self._following() as memory:
            steps = _Steps(self, stage, batch, memory)
            steps.step(BatchInStep())
            account = steps.account()
            warm = memory.moment()
            count = self.recipe.training.accumulate
            if count > 1:  # the next forward pass begins with gradients
                steps.step(BatchInStep(count, first=True, last=False))
            steps.step(BatchInStep(count, first=count == 1, last=True))
        return account, memory.peak(warm)

    @contextmanager
    def _following(self) -> Iterator[MemoryTracker]:
        memory = MemoryTracker(self.device.block)
        with memory, _ZeroWhereAsked():
            yield memory

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of a forward pass."""
        return self.device.autocast() if self.bf16 else nullcontext()


class _ZeroWhereAsked(TorchDispatchMode):
    """Code that looks at a value (a check for overflow, say) sees a zero; a fake tensor alone would refuse."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            dtype = args[0].dtype
            return False if dtype == torch.bool else 0.0 if dtype.is_floating_point else 0
        return func(*args, **(kwargs or {}))


class _Steps:
    """Training steps of one stage, with a name for every tensor that they create."""

    def __init__(self, run: DryRun, stage: TrainStage, batch: Batch, memory: MemoryTracker) -> None:
        self.run = run
        self.stage = stage.train()
        self.batch = batch
        self.memory = memory
        self.settings = run.recipe.training
        updates = list(stage.updates())
        self.training_step = TrainingStep(
            updates,
            [_optimizer(update, run) for update in updates],
            clip_norm=self.settings.clip_norm,
            release_gradients=run.cuda,
            hooks=StepHooks(around_forward=self._first_step_meter, after=self._name),
        )
        self.average: AveragedParameters | None = None
        self.activations = 0
        self.warm = False
        self._own = [*stage.parameters(), *stage.buffers()]
        memory.name(self._own, "weights")
        memory.name(batch.values(), "features")
        if self.settings.ema_decay:
            learnable = {name: p for name, p in stage.named_parameters() if p.requires_grad}
            self.average = AveragedParameters(learnable, self.settings.ema_decay)
            memory.name(self.average.average.values(), "optimizer")

    def step(self, place: BatchInStep) -> None:
        """One batch."""
        batch = self._as_on_device()
        with self.run.autocast():  # backward pass and optimiser too, as in the engine
            self.training_step(batch, place)
        if place.last:
            self.warm = True
            if self.average is not None:
                self.average.update()

    def _as_on_device(self) -> Batch:
        batch = as_network_input(self.batch)
        size = self.stage.image_size
        if "image" in batch and size is not None:
            batch = {**batch, "image": resize(batch["image"], size)}  # as augmentation does
        if self.run.cuda and self.settings.channels_last and "image" in batch:
            batch = {**batch, "image": batch["image"].contiguous(memory_format=torch.channels_last)}
        self.memory.name([tensor for name, tensor in batch.items() if name == "image"], "features")
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


def _optimizer(update: Update, run: DryRun) -> Optimizer:
    made = make_optimizer(update, run.recipe.training)
    if run.cuda:  # where nothing is said, a GPU's optimisers take all parameters in one operation
        for group in made.param_groups:
            if group["foreach"] is None:
                group["foreach"] = not (group["fused"] or group["differentiable"])
    return made


def _state(optimizer: Optimizer) -> Iterable[Tensor]:
    values = (value for state in optimizer.state.values() for value in state.values())
    return (value for value in values if isinstance(value, Tensor))
