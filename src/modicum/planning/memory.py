"""Predicts the peak memory of a training before it runs.

The method is built with shapes and no values, and does two training steps on fake tensors, which takes a second or
so on a CPU and needs neither a GPU nor memory. Where sizes depend on values, a few images of noise are learned from in
earnest. See ``docs/memory.md`` for what is counted and what is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from modicum.engine.randomness import undisturbed_generators
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.recipe.settings import Recipe
from modicum.errors import InputError
from modicum.planning.data_facts import DataFacts, assumed_facts
from modicum.planning.dry_run import DryRun, FakeCPU
from modicum.planning.dry_run_failure import depends_on_values, failing_as_input_error
from modicum.planning.fake_method import fake_method, replace_tensors
from modicum.planning.fitted_stages import fitted_stages
from modicum.planning.memory_tracker import OTHER
from modicum.planning.real_steps import RealCPU, measured_steps
from modicum.planning.simulated_gpu import SimulatedGPU
from modicum.planning.stage_steps import Trained, steps_of_stages

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
            gradients, optimiser state and saved activations, in the stage where that is most.
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
    num_classes: int | None = None,
    device: Device = "cuda",
    precision: str = "auto",
    settings: Mapping[str, Any] | None = None,
) -> MemoryPrediction:
    """Predicts the peak memory of a method's training on data that nobody has seen.

    Args:
        method: name of the method.
        backbone: timm's name, for the methods that have one.
        image_size: height and width, or the side of a square.
        batch: images in a batch.
        num_classes: outputs of the network: classes (2 by default), channels of masks (1) or of target images (1).
        device: what trains.
        precision: ``32``, ``bf16``, or ``auto``.
        settings: further settings, as ``modicum fit --set`` takes them (the task's among them).

    Raises:
        InputError: an unknown method or setting, or a network that cannot be dry-run; it says what to do.
    """
    given = {"backbone": backbone, "image_size": image_size, "batch_size": batch, "precision": precision}
    recipe = make_recipe("data", method, {**(settings or {}), **given})
    return predicted(recipe, assumed_facts(recipe, num_classes), device)


def predicted(recipe: Recipe, facts: DataFacts, device: Device) -> MemoryPrediction:
    """The prediction for a whole recipe and what is known of its data; see :func:`predict`."""
    cuda = device == "cuda"
    run = DryRun(recipe, facts, SimulatedGPU() if cuda else FakeCPU())
    with undisturbed_generators():
        try:
            trained, extraction = _without_values(run)
        except InputError as error:
            if not depends_on_values(error):
                raise
            try:
                trained, extraction = measured_steps(recipe, facts, RealCPU(run.device.block, cuda))
            except InputError:
                raise error from error.__cause__
        if not trained:
            fitted = fitted_stages(recipe, facts, torch.device("cpu"), run.device.block, tracked=True)
            trained = [(stage.name, stage.account, stage.peak) for stage in fitted]
    name, _, peak = max(trained, key=lambda entry: entry[2].bytes)
    account = max((entry[1] for entry in trained), key=lambda account: account["peak_bytes"])
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


def _without_values(run: DryRun) -> tuple[Trained, int]:
    """Steps on fake tensors, or on meta."""
    with failing_as_input_error(run, "the networks"):
        method = fake_method(run.recipe, run.facts)
    with run.device:
        replace_tensors(method, run.device.place, run.values)
        return steps_of_stages(run, method)
