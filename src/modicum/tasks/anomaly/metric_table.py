"""The metrics of anomaly detection in words and numbers."""

from collections.abc import Sequence

from modicum.tasks.classification.metric_table import METRICS as OF_CLASSES
from modicum.tasks.metric import Metric

PIXEL_AUROC, PRO = "pixel_auroc", "pro"
_BY_NAME = {metric.name: metric for metric in OF_CLASSES}
_OF_IMAGES = (
    "auroc",
    "average_precision",
    "sensitivity_at_{percent}_specificity",
    "sensitivity",
    "specificity",
)
_OF_GROUPS = ("auroc", "sensitivity_at_{percent}_specificity", "sensitivity")
OF_PIXELS = (
    Metric(
        PIXEL_AUROC,
        "Pixel AUROC",
        "of pixels inside the true masks against all others, by the map",
        "How well the map ranks pixels inside the true masks above those outside: 0.5 is guessing, 1 is perfect.",
        chance=0.5,
        in_training=False,
    ),
    Metric(
        PRO,
        "Per-region overlap",
        "mean share of each region that is found, up to 30 % false pixels",
        "The share of each connected region of the masks that the map finds, mean over regions and over false positive "
        "rates of pixels up to 30 %: a small region counts as much as a large one.",
        in_training=False,
    ),
)
METRICS: tuple[Metric, ...] = (*(_BY_NAME[name] for name in _OF_IMAGES), *OF_PIXELS)


def metrics_of(groups: Sequence[str], specificity: float, pixels: bool) -> dict[str, Metric]:
    """The metrics by name: those of all images, of pixels, then ``<metric>/<group>`` group by group.

    Args:
        groups: names of the abnormal classes; of a single one there is nothing to add.
        specificity: where sensitivity is read.
        pixels: whether there are masks to measure maps by.
    """
    table = [_BY_NAME[name].at(100 * specificity) for name in _OF_IMAGES]
    of_groups = [_BY_NAME[name].at(100 * specificity) for name in _OF_GROUPS] if len(groups) > 1 else []
    each = [metric.of_class(group) for metric in of_groups for group in groups]
    return {metric.name: metric for metric in (*table, *(OF_PIXELS if pixels else ()), *each)}
