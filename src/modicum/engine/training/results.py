"""Results of stages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StageResult:
    """Result of a stage, JSON-ready. The stage itself holds the selected weights.

    Attributes:
        selection: which weights were selected, and by which metric.
        memory: its memory by parts, in bytes.
        time: seconds, images per second, epochs, steps.
    """

    selection: dict[str, Any]
    memory: dict[str, Any]
    time: dict[str, float]


def total_time(results: Sequence[StageResult]) -> dict[str, float]:
    """Seconds, epochs and steps of all stages together; speed and share of waiting are averages over the seconds."""
    times = [result.time for result in results] or [NOTHING_LEARNED.time]
    seconds = sum(time["train_seconds"] for time in times)
    mean = {
        name: sum(time[name] * time["train_seconds"] for time in times) / seconds if seconds else 0.0
        for name in ("images_per_second", "data_wait_share")
    }
    return {
        "train_seconds": seconds,
        **mean,
        **{name: sum(time[name] for time in times) for name in ("epochs", "steps")},
    }


NOTHING_LEARNED = StageResult(
    {"metric": None, "epoch": 0, "step": 0},
    {"device": "cpu", "kind": "accounted", "peak_bytes": 0},
    {"train_seconds": 0.0, "images_per_second": 0.0, "data_wait_share": 0.0, "epochs": 0, "steps": 0},
)
"""Result of a run whose stages all come from earlier runs, or of a method that only extracts."""
