"""Settings of classification, and what they ask of operating points."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, PositiveFloat, field_validator

from modicum.errors import InputError
from modicum.tasks.base import TaskOptions
from modicum.tasks.classification.operating_points import PointChoice


class ClassificationOptions(TaskOptions):
    """Settings of classification."""

    specificity: float = Field(0.95, gt=0, lt=1, description="Where sensitivity is reported.")
    thresholds: Literal["midpoints", "validation"] | list[float] = Field(
        "midpoints",
        description="Where a severity score (losses mse, mae, smooth_l1) goes over to the next grade: halfway, where "
        "quadratic kappa is highest on the validation images, or the values in a list.",
    )
    positive: str | None = Field(
        None,
        description="Which of two classes is the positive one; by default the one that does not read as an absence "
        "(no, normal, healthy, 0, ...), else the second in order.",
    )
    operating_point: Literal["balanced", "specificity", "half"] | list[float] = Field(
        "balanced",
        description="From which probability on a finding, or the positive one of two classes, is said: where balanced "
        "accuracy, or sensitivity at 'specificity', is highest on the validation images; one half; or values in a list.",
    )
    temperature: Literal["validation"] | PositiveFloat = Field(
        "validation",
        description="What logits are divided by before they become probabilities: chosen on the validation images, or a "
        "number (1: as the network gives them).",
    )

    head_above: int | None = Field(
        None,
        ge=0,
        description="Of long tails: classes with more training images are the head, whose mean accuracy is reported.",
    )
    tail_below: int | None = Field(
        None,
        ge=0,
        description="Of long tails: classes with fewer training images are the tail; those between are the medium ones.",
    )

    @field_validator("positive", mode="before")
    @classmethod
    def _name(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def point_choice_of(options: Mapping[str, Any]) -> PointChoice:
    """What the options ask for; a task made without them decides at one half."""
    at, temperature = options.get("operating_point") or "half", options.get("temperature") or 1.0
    return PointChoice(at if isinstance(at, str) else tuple(map(float, at)), temperature)


def no_positive(positive: str, what: str) -> InputError:
    """The error of a positive class among ``what``."""
    return InputError(
        f"positive class '{positive}': there are {what}, and one of two can be it", "leave it out"
    )
