"""What methods for long tails check before they learn."""

from collections.abc import Mapping
from typing import Any

from modicum.errors import InputError
from modicum.methods.base import Context


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
