"""Formats numbers and names of metrics for readers."""

from collections.abc import Mapping
from typing import Any

from modicum.report.files import number
from modicum.tasks.metric_tables import metric_named

METHODS = {
    "full": "full fine-tuning",
    "linear": "linear probe on a frozen backbone",
    "segment": "learned from masks",
    "aadg": "learned from masks, with augmentations searched across domains",
}


def metric_title(name: str) -> str:
    """``sensitivity_at_95_specificity`` to ``Sensitivity at 95 % specificity``, ``dice/cup`` to ``Dice of “cup”``."""
    return metric_named(name).title


def metric_meaning(name: str, task: str = "") -> str:
    """One line on how to read a metric; empty if there is none.

    Args:
        name: name of a metric, or of a class's metric.
        task: name of the task, as the meaning may differ (pixels instead of images).
    """
    return metric_named(name, task).meaning


def long_meaning(name: str, task: str = "") -> str:
    """A sentence on how to read a metric; empty where there is none. As :func:`metric_meaning`."""
    return metric_named(name, task).explanation


def metric_unit(name: str) -> str:
    """``dB`` for peak signal-to-noise ratios; nothing for shares and for what has no fixed unit."""
    return metric_named(name).unit


def is_share(name: str) -> bool:
    """Whether a metric lies between 0 and 1 (or a little below, as agreement does), so that one axis shows several."""
    return metric_named(name).is_share


def lower_is_better(name: str) -> bool:
    """Whether less of a metric, or of one class's, is better. What says nothing of quality is no such metric."""
    return metric_named(name).higher_is_better is False


def metric_text(name: str, value: Any) -> str:
    """Formats a metric's value: ``0.891``, ``24.31 dB``."""
    numeric = number(value)
    return score(value) if numeric is None else f"{_digits(name, numeric)} {metric_unit(name)}".rstrip()


def metric_spread(name: str, spread: float) -> str:
    """Formats a deviation of a metric, with the digits of its value and without the unit."""
    return _digits(name, spread)


def metric_interval(name: str, entry: Mapping[str, Any]) -> str:
    """Formats the interval of a metric, with the digits of its value; empty if an end is missing."""
    low, high = number(entry.get("low")), number(entry.get("high"))
    if low is None or high is None:
        return ""
    return f"{_digits(name, low)}{'–' if low >= 0 else ' to '}{_digits(name, high)}"


def _digits(name: str, value: float) -> str:
    return f"{value:.{metric_named(name).decimals}f}".replace("-", "−")


def score(value: Any) -> str:
    """Formats a score with three decimals, or a dash if it is not a number."""
    numeric = number(value)
    return "–" if numeric is None else f"{numeric:.3f}".replace("-", "−")


def interval(entry: Mapping[str, Any]) -> str:
    """Formats an interval, ``0.873–0.945``; empty if an end is missing."""
    low, high = number(entry.get("low")), number(entry.get("high"))
    if low is None or high is None:
        return ""
    between = "–" if low >= 0 else " to "
    return f"{score(low)}{between}{score(high)}"


def of_hundred(value: float) -> int:
    """A share in whole percent, 0 or 100 only if it is exactly that."""
    rounded = round(100 * value)
    if rounded == 100 and value < 1:
        return 99
    return 1 if rounded == 0 and value > 0 else rounded


def count(value: Any) -> str:
    """Formats a whole number with thin spaces between thousands: 12 800."""
    numeric = number(value)
    return "–" if numeric is None else f"{round(numeric):,}".replace(",", "\u202f")


def short_count(value: Any) -> str:
    """Formats a large count in three digits: 4.93 M."""
    numeric = number(value)
    if numeric is None:
        return "–"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if numeric >= size:
            return f"{numeric / (1e3 if unit == 'k' else size):.3g} {unit}"
    return count(numeric)


def bytes_text(value: Any) -> str:
    """Formats a number of bytes in powers of 1024: 1.2 GiB."""
    numeric = number(value)
    if numeric is None:
        return "–"
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if numeric >= 1024**power:
            share = numeric / 1024**power
            return f"{share:.0f} {unit}" if share >= 100 else f"{share:.3g} {unit}"
    return f"{numeric:.0f} B"


def duration(value: Any) -> str:
    """Formats seconds: 2 min 11 s."""
    seconds_total = number(value)
    if seconds_total is None:
        return "–"
    if seconds_total < 10:
        return f"{seconds_total:.1f} s"
    seconds = round(seconds_total)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def percent(value: Any) -> str:
    """Formats a percentage (already times a hundred) with as many digits as needed: 100, 12.3, 0.052."""
    numeric = number(value)
    if numeric is None:
        return "–"
    if numeric >= 99.95:
        return "100"
    return f"{numeric:.1f}" if numeric >= 10 else f"{numeric:.2g}"


def plural(amount: int, one: str, many: str = "") -> str:
    """``1 image``, ``12 images``."""
    return f"{count(amount)} {one if amount == 1 else many or one + 's'}"


def sentence_list(names: list[str], limit: int = 6) -> str:
    """``a, b and c``; long lists end in the number of remaining items."""
    if len(names) > limit:
        return f"{', '.join(names[: limit - 1])} and {len(names) - limit + 1} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
