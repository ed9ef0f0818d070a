"""Numbers and names as a reader wants them."""

from collections.abc import Mapping
from typing import Any

from modicum.report.files import number

METRIC_TITLES = {
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro F1",
    "quadratic_kappa": "Quadratic kappa",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "brier": "Brier score",
    "ece": "Calibration error",
    "log_loss": "Log loss",
    "mae": "Mean absolute error",
    "nmae": "NMAE",
    "psnr_foreground": "PSNR of the foreground",
    "psnr_release": "PSNR as published",
    "psnr": "PSNR of the whole image",
    "ssim_release": "SSIM as published",
    "ssim_foreground": "SSIM of the foreground",
    "dice": "Dice",
    "iou": "IoU",
    "auprc": "AUPRC",
    "dice_positives": "Dice where present",
    "empty": "Images without the class",
    "hausdorff95": "Hausdorff distance, 95 %",
    "surface_distance": "Surface distance",
}
METRIC_MEANINGS = {
    "auroc": "0.5 is guessing, 1 is perfect",
    "average_precision": "area under precision and recall",
    "accuracy": "right decisions",
    "balanced_accuracy": "every class counts alike",
    "macro_f1": "found and right, every class alike",
    "quadratic_kappa": "agreement on grades beyond chance",
    "sensitivity": "positives found at one half",
    "specificity": "negatives left alone at one half",
    "brier": "squared error; lower is better",
    "ece": "stated to observed; lower is better",
    "log_loss": "surprise; lower is better",
    "mae": "distance from the true grade, in grades; lower is better",
    "nmae": "mean error of the foreground, as a share of the scale; published and recommended; lower is better",
    "psnr_foreground": "errors of the foreground; recommended; higher is better",
    "psnr_release": "mixes other pixels in by mistake; only to compare with the paper's values",
    "psnr": "background included, as elsewhere; higher is better",
    "ssim_release": "background included; only to compare with the paper's values",
    "ssim_foreground": "1 is identical; recommended",
    "dice": "overlap; 1 is identical",
    "iou": "overlap, stricter; 1 is identical",
    "auprc": "area under precision and recall, of pixels",
    "dice_positives": "overlap, in images that have the class",
    "hausdorff95": "how far outlines are apart at most, but for 5 %; lower is better",
    "surface_distance": "how far outlines are apart on average; lower is better",
}
LONG_MEANINGS = {
    "auroc": "How well it ranks images with a condition above those without: 0.5 is guessing, 1 is perfect.",
    "average_precision": "Precision averaged over all it finds. Guessing gives the share of positive images.",
    "accuracy": "The share of images that it named rightly.",
    "balanced_accuracy": "The share found of each class, averaged, so that rare classes count as much as common ones.",
    "macro_f1": "The balance between finding and being right, averaged over classes.",
    "quadratic_kappa": "Agreement with the true grades beyond chance: 0 is chance, 1 is perfect. "
    "Two grades off weigh four times as much as one.",
    "mae": "How many grades it is off on average: 0 is perfect. Lower is better.",
    "nmae": "How far a pixel of the foreground is off on average, as a share of the scale from black to white: "
    "0 is perfect. Lower is better.",
    "psnr_foreground": "The scale against the error of the foreground, in decibels: 6 more is half the error.",
    "psnr": "The scale against the error, in decibels: 6 more is half the error. Background counts, too.",
    "ssim_foreground": "How alike small windows of the foreground look: 1 is identical.",
    "dice": "How much of what is marked and what should be lies on each other: 0 is nothing, 1 is all.",
}
LOWER_IS_BETTER = ("brier", "ece", "log_loss", "loss", "mae", "nmae", "hausdorff95", "surface_distance")
DISTANCES = ("hausdorff95", "surface_distance")
"""In millimetres, or in pixels where no spacing is known."""
_OPEN_ENDED = ("log_loss", "loss", "mae", *DISTANCES)
_OF_TASKS = {
    "segmentation": {
        "auroc": "of all pixels together: 0.5 is guessing, 1 is perfect",
        "sensitivity": "pixels of the class that are marked, of all images together",
        "specificity": "other pixels that are left alone, of all images together",
        "accuracy": "pixels that are right, of all images together; high wherever little is to be marked",
        "empty": "share of images with nothing to mark; says nothing of the model",
    }
}
"""Meanings that a name has in one task alone."""
_LONG_OF_TASKS = {
    "segmentation": {
        "auroc": "How well it ranks pixels of the class above the others, of all images together: 0.5 is guessing, 1 is "
        "perfect. Where few pixels are of the class it is high soon.",
        "accuracy": "The share of pixels that are right, of all images together. Where little is to be marked, marking "
        "nothing has a high one, too.",
    }
}
METHODS = {
    "full": "full fine-tuning",
    "linear": "linear probe on a frozen backbone",
    "segment": "learned from masks",
    "aadg": "learned from masks, with augmentations searched across domains",
}


def metric_title(name: str) -> str:
    """``sensitivity_at_95_specificity`` to ``Sensitivity at 95 % specificity``, ``dice/cup`` to ``Dice of “cup”``."""
    base, of_a_class, class_name = name.partition("/")
    if of_a_class and class_name.startswith(">="):
        return f"{metric_title(base)} of “{class_name[2:]}” or more"
    if of_a_class:
        return f"{metric_title(base)} of “{class_name}”"
    if name in METRIC_TITLES:
        return METRIC_TITLES[name]
    at = sensitivity_at(name)
    if at is not None:
        return f"Sensitivity at {at} % specificity"
    return name.replace("_", " ").capitalize()


def metric_meaning(name: str, task: str = "") -> str:
    """One line on how to read a metric; empty where there is none.

    Args:
        name: of the metric, or of one class's.
        task: pixels are not images, and the same name does not mean the same.
    """
    base = name.partition("/")[0]
    at = sensitivity_at(base)
    if at is not None:
        return f"found, with {_complement(at)} false alarms in 100"
    return {**METRIC_MEANINGS, **_OF_TASKS.get(task, {})}.get(base, "")


def long_meaning(name: str, task: str = "") -> str:
    """A sentence on how to read a metric; empty where there is none. As :func:`metric_meaning`."""
    return {**LONG_MEANINGS, **_LONG_OF_TASKS.get(task, {})}.get(name.partition("/")[0], "")


def metric_unit(name: str) -> str:
    """``dB`` for peak signal-to-noise ratios; nothing for shares and for what has no fixed unit."""
    return "dB" if name.partition("_")[0] == "psnr" else ""


def is_share(name: str) -> bool:
    """Whether a metric lies between 0 and 1 (or a little below, as agreement does), so that one axis shows several."""
    return name.partition("/")[0] not in _OPEN_ENDED and not metric_unit(name)


def lower_is_better(name: str) -> bool:
    """Whether less of a metric, or of one class's, is better. What says nothing of quality is no such metric."""
    return name.partition("/")[0] in LOWER_IS_BETTER


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
    two = metric_unit(name) or name.partition("/")[0] in DISTANCES
    return f"{value:.{2 if two else 3}f}".replace("-", "−")


def sensitivity_at(name: str) -> str | None:
    """The percent in ``sensitivity_at_95_specificity``, else None."""
    if name.startswith("sensitivity_at_") and name.endswith("_specificity"):
        return name.removeprefix("sensitivity_at_").removesuffix("_specificity")
    return None


def _complement(percent: str) -> str:
    try:
        return f"{100 - float(percent):g}"
    except ValueError:
        return "few"


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
