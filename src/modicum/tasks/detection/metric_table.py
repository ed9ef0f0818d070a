"""The metrics of detection in words and numbers."""

from modicum.tasks.metric import Metric

RATES: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives an image at which sensitivity is measured, as in LUNA16 (Setio et al., Med. Image Anal. 2017)."""


def sensitivity_name(rate: float) -> str:
    """``sensitivity_at_0.125_fp``: the sensitivity at so many false positives an image."""
    return f"sensitivity_at_{rate:g}_fp"


def _sensitivity(rate: float) -> Metric:
    return Metric(
        sensitivity_name(rate),
        f"Sensitivity at {rate:g} FP an image",
        f"share of the true boxes that are found at {rate:g} false positives an image; higher is better",
        in_brief=rate == 1,
    )


METRICS: tuple[Metric, ...] = (
    Metric(
        "map",
        "Mean average precision",
        "average precision, mean over overlaps from 0.5 to 0.95 and classes; higher is better",
        "The area under precision against recall, as COCO measures it, for boxes that overlap a true one by 0.5, 0.55, "
        "... 0.95 (intersection over union). The mean of these, over classes.",
        per_class=True,
        in_brief=True,
    ),
    Metric(
        "map_50",
        "Mean average precision at 0.5",
        "average precision of boxes that overlap a true one by half; higher is better",
        per_class=True,
        in_brief=True,
    ),
    Metric(
        "map_75",
        "Mean average precision at 0.75",
        "average precision of boxes that overlap a true one by three quarters; higher is better",
        per_class=True,
    ),
    Metric(
        "froc",
        "FROC score",
        "mean sensitivity at 1/8 to 8 false positives an image; higher is better",
        "The mean of the sensitivities at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives an image, over all classes.",
        in_brief=True,
    ),
    *(_sensitivity(rate) for rate in RATES),
)
