"""Numbers and names as a reader wants them."""

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
    """One line on how to read a metric; empty where there is none.

    Args:
        name: of the metric, or of one class's.
        task: pixels are not images, and the same name does not mean the same.
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
    """A metric's value as it is read: ``0.891``, ``24.31 dB``."""
    found = number(value)
    return score(value) if found is None else f"{_digits(name, found)} {metric_unit(name)}".rstrip()


def metric_spread(name: str, spread: float) -> str:
    """A deviation of a metric, in its value's digits and without its unit."""
    return _digits(name, spread)


def metric_interval(name: str, entry: Mapping[str, Any]) -> str:
    """The interval of a metric, in its unit's digits; nothing where an end is missing."""
    low, high = number(entry.get("low")), number(entry.get("high"))
    if low is None or high is None:
        return ""
    return f"{_digits(name, low)}{'–' if low >= 0 else ' to '}{_digits(name, high)}"


def _digits(name: str, value: float) -> str:
    return f"{value:.{metric_named(name).decimals}f}".replace("-", "−")


def sensitivity_at(name: str) -> str | None:
    """The percent in ``sensitivity_at_95_specificity``, else None."""
    if name.startswith("sensitivity_at_") and name.endswith("_specificity"):
        return name.removeprefix("sensitivity_at_").removesuffix("_specificity")
    return None


def score(value: Any) -> str:
    """Three decimals, or a dash where there is no number."""
    found = number(value)
    return "–" if found is None else f"{found:.3f}".replace("-", "−")


def interval(entry: Mapping[str, Any]) -> str:
    """``0.873–0.945``, or nothing where an end is missing."""
    low, high = number(entry.get("low")), number(entry.get("high"))
    if low is None or high is None:
        return ""
    between = "–" if low >= 0 else " to "
    return f"{score(low)}{between}{score(high)}"


def of_hundred(value: float) -> int:
    """A share as a whole number of a hundred, never 0 or 100 unless it is exactly that."""
    rounded = round(100 * value)
    if rounded == 100 and value < 1:
        return 99
    return 1 if rounded == 0 and value > 0 else rounded


def count(value: Any) -> str:
    """Whole numbers with thin thousands: 12 800."""
    found = number(value)
    return "–" if found is None else f"{round(found):,}".replace(",", "\u202f")


def short_count(value: Any) -> str:
    """Large counts in three digits: 4.93 M."""
    found = number(value)
    if found is None:
        return "–"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if found >= size:
            return f"{found / (1e3 if unit == 'k' else size):.3g} {unit}"
    return count(found)


def bytes_text(value: Any) -> str:
    """1.2 GiB: powers of 1024."""
    found = number(value)
    if found is None:
        return "–"
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if found >= 1024**power:
            share = found / 1024**power
            return f"{share:.0f} {unit}" if share >= 100 else f"{share:.3g} {unit}"
    return f"{found:.0f} B"


def duration(value: Any) -> str:
    """2 min 11 s."""
    found = number(value)
    if found is None:
        return "–"
    if found < 10:
        return f"{found:.1f} s"
    seconds = round(found)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def percent(value: Any) -> str:
    """A percentage (already times a hundred) with as many digits as it needs: 100, 12.3, 0.052."""
    found = number(value)
    if found is None:
        return "–"
    if found >= 99.95:
        return "100"
    return f"{found:.1f}" if found >= 10 else f"{found:.2g}"


def plural(amount: int, one: str, many: str = "") -> str:
    """``1 image``, ``12 images``."""
    return f"{count(amount)} {one if amount == 1 else many or one + 's'}"


def sentence_list(names: list[str], limit: int = 6) -> str:
    """``a, b and c``; long lists end in how many more there are."""
    if len(names) > limit:
        return f"{', '.join(names[: limit - 1])} and {len(names) - limit + 1} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
