"""One pass of a network over one split, without gradients."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modicum.data.manifest import Manifest
from modicum.engine.inputs.batches import as_network_input
from modicum.engine.known_rows import rows_known
from modicum.errors import InputError
from modicum.methods import Method
from modicum.methods.decision import Decision, Rows
from modicum.tasks.base import Batch, Scores

PredictFn = Callable[[Batch], tuple[Tensor | None, dict[str, Tensor]]]
"""From a batch to outputs (None where there are none to score) and named losses."""
DecideFn = Callable[[Tensor, np.ndarray], Decision]
"""From the outputs of a set of rows, and the rows, to answers."""


@torch.no_grad()
def score(
    predict_fn: PredictFn,
    batches: Iterable[Batch],
    take: Callable[[Tensor, Batch], None],
    device: torch.device,
    forward_context: Callable[[], AbstractContextManager[object]],
    advance: Callable[[], None] = lambda: None,
    on_device: Callable[[Batch], Batch] = as_network_input,
    before_batch: Callable[[int], None] = lambda number: None,
) -> dict[str, float]:
    """Feeds every batch through ``predict_fn``; returns the mean of each named loss.

    Args:
        predict_fn: the network must be in evaluation mode.
        batches: as they are loaded.
        take: given the outputs and the batch, where there are outputs: ``Scores.update``, for instance.
        device: where to compute.
        forward_context: for the precision of forward passes.
        advance: called after each batch.
        on_device: makes a network's input of a loaded batch.
        before_batch: called with the number of each batch (seeding).
    """
    sums: dict[str, Tensor] = {}
    images = 0
    for number, stored in enumerate(batches):
        batch = on_device({name: tensor.to(device, non_blocking=True) for name, tensor in stored.items()})
        before_batch(number)
        with forward_context():
            outputs, losses = predict_fn(batch)
        if outputs is not None:
            take(outputs.float(), batch)
        count = len(batch["row"])
        images += count
        for name, value in losses.items():
            sums[name] = sums.get(name, torch.zeros((), device=device)) + value.float() * count
        advance()
    return {name: float(value) / max(1, images) for name, value in sums.items()}


@dataclass
class CollectedOutputs:
    """Outputs of a set of rows that are decided together, with the rows' targets; on the CPU."""

    outputs: list[Tensor] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)

    def take(self, outputs: Tensor, batch: Batch) -> None:
        """Adds the outputs of one batch and what scores need of it."""
        kept = {name: tensor.cpu() for name, tensor in batch.items() if tensor.ndim <= 2}
        self.outputs.append(outputs.cpu())
        self.batches.append(kept)

    def merge(self, others: Sequence["CollectedOutputs"]) -> None:
        """Adds what other processes collected."""
        for other in others:
            self.outputs += other.outputs
            self.batches += other.batches

    def decided(self, decide: DecideFn, scores: Scores) -> tuple[np.ndarray, Decision]:
        """Decides over all rows, once each and in the order of the data, and scores the answers.

        Returns:
            The rows in the order of the answers, and the decision.
        """
        batch: dict[str, Any] = {
            name: torch.cat([part[name] for part in self.batches]) for name in self.batches[0]
        }
        rows, first = np.unique(batch["row"].numpy(), return_index=True)
        order = torch.from_numpy(first)
        decision = decide(torch.cat(self.outputs)[order], rows)
        scores.update(decision.outputs, {name: tensor[order] for name, tensor in batch.items()})
        return rows, decision


def decide_fn(method: Method, manifest: Manifest) -> DecideFn | None:
    """Makes answers of the outputs of rows of a manifest; None where each output is an answer."""
    if method.decides_over == "image":
        return None
    rows_of = rows_known(manifest)
    return lambda outputs, rows: decided(method, outputs, rows_of.take(rows))


@torch.no_grad()
def decided(method: Method, outputs: Tensor, rows: Rows) -> Decision:
    """What a method decides of a set of images, by its networks in evaluation mode; answers come to the CPU.

    Raises:
        InputError: it does not give one answer an image.
    """
    modes = [(module, module.training) for stage in method.stages() for module in stage.modules()]
    for stage in method.stages():
        stage.eval()
    decision = method.decide(outputs, rows)
    for module, training in modes:
        module.training = training
    answers = decision.outputs.float().cpu()
    lengths = {"outputs": len(answers), **{name: len(values) for name, values in decision.columns.items()}}
    if odd := [f"{name} {length}" for name, length in lengths.items() if length != len(rows)]:
        raise InputError(
            f"method '{method.name}' decided over {len(rows)} images and gave another number of values ({odd[0]})",
            "Method.decide must give one of each for every row, in their order",
        )
    return replace(decision, outputs=answers)
