"""What methods for long tails check before they learn, and what they know of the labels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from modicum.data.sampling import label_shares
from modicum.errors import InputError
from modicum.methods.base import Context
from modicum.progress import say


def check_one_class(method: str, context: Context, own_loss: str | None, stage: str = "tune") -> None:
    """Checks that there is one class an image, and that no loss is set which would have no effect.

    Args:
        method: its name.
        context: what it is made for.
        own_loss: what it learns by, in words; None where the task's loss is used.
        stage: whose settings count.

    Raises:
        InputError: findings, a severity score, or a loss of the user's beside the method's own.
    """
    task = context.task
    if task.kind == "multi-label":
        raise InputError(
            f"method '{method}' learns one class an image, and these are findings",
            "use full, with --set sampling=balanced or --set class_weights=balanced",
        )
    if task.num_outputs < 2:
        raise InputError(
            f"method '{method}' learns a logit a class, and this loss asks for one score an image",
            "leave the loss out",
        )
    training: Mapping[str, Any] = {**context.training, **context.stage_training.get(stage, {})}
    for key, usual in (("loss", "auto"), ("class_weights", "none")):
        value = training.get(key, usual)
        if own_loss is not None and value != usual:
            raise InputError(f"{key}={value!r} has no effect: {method} learns by {own_loss}", "leave it out")


def class_counts(context: Context) -> Int[Tensor, "classes"] | None:
    """Training images of each class; None where nothing will be learned."""
    if "label" not in context.targets:
        return None
    return torch.from_numpy(np.bincount(context.targets["label"], minlength=context.task.num_outputs))


def fed_prior(
    context: Context, counts: Int[Tensor, "classes"] | None, sampling: str, queue: int
) -> Float[Tensor, "classes"] | None:
    """Shares of the classes among the labels that a sampler feeds. Tells of a queue that holds images several times.

    Args:
        context: what the method is made for.
        counts: of :func:`class_counts`.
        sampling: the sampler whose labels are kept.
        queue: vectors of earlier batches.
    """
    if counts is None:
        return None
    if context.has_data and queue > int(counts.sum()):
        say(
            f"the queue of {queue} vectors is longer than the {int(counts.sum())} training images: each is in it several "
            "times, from earlier epochs"
        )
    return torch.from_numpy(label_shares(counts.numpy(), sampling)).float()
