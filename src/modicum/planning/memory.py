"""Predicts the peak memory of a training before it runs.

The method is built with shapes and no values, and does two training steps on fake tensors, which takes a second or
so on a CPU and needs neither a GPU nor memory. See ``docs/memory.md`` for what is counted and what is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from modicum.engine.devices import uses_bf16
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.recipe.settings import Recipe
from modicum.errors import InputError
from modicum.methods import ExtractStage, Method, TrainStage
from modicum.planning.dry_run import DryRun, FakeCPU
from modicum.planning.fake_method import fake_method, replace_tensors
from modicum.planning.memory_tracker import OTHER, Peak
from modicum.planning.simulated_gpu import SimulatedGPU
from modicum.tasks.base import Batch

Device = Literal["cuda", "cpu"]

CUBLAS_WORKSPACES = 2 * 8 * 4096 * 1024
"""Bytes that matrix products take on a GPU: the forward and the backward pass have a cuBLAS workspace each, of eight
buffers of 4096 KiB (``CUBLAS_WORKSPACE_CONFIG=:4096:8``, which deterministic training asks for)."""


@dataclass(frozen=True)
class MemoryPrediction:
    """Bytes that a training takes on its device.

    Attributes:
        device: ``cuda`` or ``cpu``.
        batch: images in a batch.
        stage: the training stage that takes most.
        peak_bytes: most that is alive at one time in that stage, with all temporaries; on a GPU in the allocator's
            blocks and with cuBLAS's workspaces. The parts that follow are those of that moment, and sum to it.
        weights_bytes: parameters and buffers.
        gradients_bytes: of what learns.
        optimizer_bytes: the optimisers' state and averaged weights.
        activations_bytes: what the forward pass keeps for the backward pass, and temporaries of both.
        features_bytes: the input batch: stored features, images as they are stored and as the network gets them.
        workspaces_bytes: of cuBLAS.
        saved_bytes: activations that are kept for the backward pass, as the engine's meter counts them.
        accounted_bytes: what the engine accounts on a CPU (``memory.peak_bytes`` in ``metrics.json``): weights,
            gradients, optimiser state and saved activations.
        extraction_bytes: most that is alive in a stage without gradients, which makes the records that are stored;
            0 without one.
    """

    device: Device
    batch: int
    stage: str
    peak_bytes: int
    weights_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    features_bytes: int
    workspaces_bytes: int
    saved_bytes: int
    accounted_bytes: int
    extraction_bytes: int

    @property
    def needed_bytes(self) -> int:
        """Peak memory of the run, in extraction and training."""
        return max(self.peak_bytes, self.extraction_bytes)


def predict(
    method: str,
    backbone: str,
    image_size: int | tuple[int, int],
    batch: int,
    *,
    num_classes: int = 2,
    device: Device = "cuda",
    precision: str = "auto",
    settings: Mapping[str, Any] | None = None,
) -> MemoryPrediction:
    """Predicts the peak memory of a method's training.

    Args:
        method: ``modicum methods`` lists them.
        backbone: a timm model name.
        image_size: height and width in pixels, or one number for both.
        batch: images in a batch.
        num_classes: outputs of the classifier.
        device: ``cuda`` says what a GPU takes, whether there is one here or not.
        precision: of the forward pass; ``auto`` is bfloat16 on a GPU that has it.
        settings: further settings of the recipe, of the method too, by their names.

    Raises:
        InputError: an unknown method, backbone or setting, or values that do not go together.
    """
    given = {"backbone": backbone, "image_size": image_size, "batch_size": batch, "precision": precision}
    return predicted(make_recipe("data", method, {**(settings or {}), **given}), num_classes, device)


def predicted(recipe: Recipe, num_classes: int, device: Device) -> MemoryPrediction:
    """The prediction for a whole recipe; see :func:`predict`."""
    cuda = device == "cuda"
    method = fake_method(recipe, num_classes)
    run = DryRun(recipe, SimulatedGPU() if cuda else FakeCPU(), _in_bf16(recipe.training.precision, cuda))
    try:
        trained, extraction = _run(method, run)
    except (RuntimeError, ValueError) as error:
        raise _as_user_error(error, recipe) from error
    if not trained:
        raise InputError(f"method '{recipe.method}' has no stage that learns", "give --batch-size a number")
    name, account, peak = max(trained, key=lambda entry: entry[2].bytes)
    workspaces = CUBLAS_WORKSPACES if cuda else 0
    return MemoryPrediction(
        device=device,
        batch=recipe.training.batch_size,
        stage=name,
        peak_bytes=peak.bytes + workspaces,
        weights_bytes=peak.parts.get("weights", 0),
        gradients_bytes=peak.parts.get("gradients", 0),
        optimizer_bytes=peak.parts.get("optimizer", 0),
        activations_bytes=peak.parts.get(OTHER, 0),
        features_bytes=peak.parts.get("features", 0),
        workspaces_bytes=workspaces,
        saved_bytes=account["activations_bytes"],
        accounted_bytes=account["peak_bytes"],
        extraction_bytes=extraction + workspaces if extraction else 0,
    )


def _run(method: Method, run: DryRun) -> tuple[list[tuple[str, dict[str, Any], Peak]], int]:
    """Name, account and peak of each training stage, and the peak of the other stages."""
    count = run.recipe.training.batch_size
    extraction = 0
    trained: list[tuple[str, dict[str, Any], Peak]] = []
    with run.device:
        replace_tensors(method, run.device.place)
        inputs = run.inputs(count)
        for stage in method.stages():
            if isinstance(stage, ExtractStage):
                inputs[stage.output], most = run.extract(stage, count)
                extraction = max(extraction, most)
            else:
                trained.append((stage.name, *run.train(stage, _read_by(stage, inputs))))
    return trained, extraction


def _as_user_error(error: Exception, recipe: Recipe) -> InputError:
    if "more than 1 value per channel" in str(error):
        return InputError(
            "batch normalisation has nothing to normalise with one image in a batch",
            "raise --batch-size, or choose a backbone without batch normalisation",
        )
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(
        f"the memory of method '{recipe.method}' with backbone '{recipe.backbone.name}' cannot be predicted ({reason})",
        "give --batch-size a number and leave --memory out",
    )


def _read_by(stage: TrainStage, inputs: Batch) -> Batch:
    """A loaded batch of a stage: the inputs it reads, and the targets."""
    wanted = {*stage.reads, "label", "position"}
    return {name: tensor for name, tensor in inputs.items() if name in wanted}


def _in_bf16(precision: str, cuda: bool) -> bool:
    if precision == "auto" and cuda and not torch.cuda.is_available():
        return True  # a GPU elsewhere; all since 2020 have it
    return uses_bf16(precision, torch.device("cuda" if cuda else "cpu"))
