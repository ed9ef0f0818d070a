"""What is kept of an image's pixels: counts at the decision, and histograms of probabilities.

AUROC and average precision of pixels need the order of all probabilities. A histogram keeps it up to what falls into
one bin, in memory that does not grow with the image. Bins have equal width on the scale of logits, so that they stay
fine near 0 and 1, where a good network's probabilities are.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64, Num
from scipy import special
from torch import Tensor

BINS = 4096
LARGEST_LOGIT = 16.0
"""Beyond it, at probabilities below 1.1e-7 and above its complement, all fall into the last bin."""

Probabilities = Float[Tensor, "b c h w"]
Regions = Bool[Tensor, "b c h w"]
Everywhere = Bool[Tensor, "b 1 h w"]
Histogram = Num[np.ndarray, "bins resamples"]


class PixelCounts(NamedTuple):
    """Counts of pixels inside the field of view, of each image and channel.

    Attributes:
        hits: true positives.
        false_alarms: false positives.
        misses: false negatives.
        rejections: true negatives.
        histogram: by truth (absent, present) and bin of the probability, from low to high.
    """

    hits: Int64[np.ndarray, "b c"]
    false_alarms: Int64[np.ndarray, "b c"]
    misses: Int64[np.ndarray, "b c"]
    rejections: Int64[np.ndarray, "b c"]
    histogram: Int64[np.ndarray, "b c 2 bins"]


class Bounds(NamedTuple):
    """Lower and upper bound of a metric of all pixels, given only their histogram."""

    low: float
    high: float


def decided(
    probabilities: Float[Tensor, "*b c h w"], exclusive: bool, threshold: float = 0.5
) -> Bool[Tensor, "*b c h w"]:
    """Predicted regions: the most probable channel (the first on a tie), or every channel from the threshold on."""
    if not exclusive:
        return probabilities >= threshold
    channels = torch.arange(probabilities.shape[-3], device=probabilities.device).view(-1, 1, 1)
    return probabilities.argmax(-3, keepdim=True) == channels


def probability_bin(probabilities: Float[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """The bin of each probability, from 0 to :data:`BINS` - 1; 0.5 is the first of the upper half."""
    logits = probabilities.to(torch.promote_types(probabilities.dtype, torch.float32)).logit()
    places = (logits + LARGEST_LOGIT) * (BINS / (2 * LARGEST_LOGIT))
    return places.clamp(0, BINS - 1).long()  # positive: rounds down


def pixel_counts(
    probabilities: Probabilities, truth: Regions, predicted: Regions, inside: Everywhere | None = None
) -> PixelCounts:
    """Counts of a batch, made on its device.

    Args:
        probabilities: in ``[0, 1]``, of the channels that are looked for.
        truth: where each is.
        predicted: the predicted region of each.
        inside: where pixels count; None for everywhere.
    """
    images, channels = probabilities.shape[:2]
    within = torch.ones_like(truth[:, :1]) if inside is None else inside

    def count(regions: Tensor) -> np.ndarray:
        return np.asarray((regions & within).sum((2, 3)).cpu())

    series = torch.arange(images * channels, device=truth.device).view(images, channels, 1, 1)
    places = (series * 2 + truth) * BINS + probability_bin(probabilities)
    size = images * channels * 2 * BINS
    # Pixels outside are counted in one more bin at the end, which is cut off.
    histogram = torch.bincount(places.where(within, size).flatten(), minlength=size + 1)[:size]
    return PixelCounts(
        hits=count(predicted & truth),
        false_alarms=count(predicted & ~truth),
        misses=count(~predicted & truth),
        rejections=count(~predicted & ~truth),
        histogram=np.asarray(histogram.view(images, channels, 2, BINS).cpu()),
    )


def ranking_of(absent: Histogram, present: Histogram) -> dict[str, Float[np.ndarray, "resamples"]]:
    """``auroc`` and ``auprc`` of histograms, as if the two kinds of pixels were evenly mixed in each bin.

    For AUROC that is the same as counting ties as one half; it is NaN without pixels of both kinds. AUPRC is average
    precision, the step sum without interpolation; it is NaN where the class is nowhere.

    Args:
        absent: pixels without the class, by bin of the probability from low to high, a column a resample.
        present: pixels with it.
    """
    absent, present = absent[::-1].astype(np.float64), present[::-1].astype(np.float64)
    hits, alarms = np.cumsum(present, axis=0), np.cumsum(absent, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "auroc": 1 - (present * (alarms - absent / 2)).sum(0) / (hits[-1] * alarms[-1]),
            "auprc": _precision(present, absent, hits - present, alarms - absent).sum(0) / hits[-1],
        }


def ranking_bounds(absent: Int[np.ndarray, "bins"], present: Int[np.ndarray, "bins"]) -> dict[str, Bounds]:
    """Bounds of ``auroc`` and ``auprc`` of the exact probabilities, for any order within each bin.

    AUROC: half the chance that a present and an absent pixel share a bin, to either side. AUPRC: with all absent pixels
    of a bin above its present ones, and with none above and its present ones tied.
    """
    auroc = float(ranking_of(absent[:, None], present[:, None])["auroc"][0])
    absent, present = absent[::-1].astype(np.float64), present[::-1].astype(np.float64)
    hits, alarms = np.cumsum(present), np.cumsum(absent)
    if not hits[-1] or not alarms[-1]:
        return dict.fromkeys(("auroc", "auprc"), Bounds(np.nan, np.nan))
    tied = float((present * absent).sum() / (2 * hits[-1] * alarms[-1]))
    before, fewest = hits - present, alarms - absent
    nothing = np.zeros_like(present)
    lowest = _precision(present, nothing, before, alarms)
    highest = np.divide(present * hits, hits + fewest, out=nothing, where=present > 0)
    return {
        "auroc": Bounds(auroc - tied, auroc + tied),
        "auprc": Bounds(float(lowest.sum() / hits[-1]), float(highest.sum() / hits[-1])),
    }


def _precision(present: np.ndarray, absent: np.ndarray, hits: np.ndarray, alarms: np.ndarray) -> np.ndarray:
    """Sum of the precision over the present pixels of each bin, absent ones evenly between them.

    The i-th of ``present`` pixels has precision ``(hits + i) / (hits + alarms + step i)`` with ``step = 1 + absent /
    present``; the sum over i is a difference of digamma functions.

    Args:
        present: in the bin, of any shape.
        absent: in the bin.
        hits: present in all bins above.
        alarms: absent in all bins above.
    """
    filled = present > 0
    present, absent, hits, alarms = (part[filled] for part in (present, absent, hits, alarms))
    step = 1 + absent / present
    start = (hits + alarms) / step
    harmonic = special.digamma(present + start + 1) - special.digamma(start + 1)
    sums = np.zeros(filled.shape)
    sums[filled] = (present + (hits - start) * harmonic) / step
    return sums


def averaged_logits(logits: Float[Tensor, "members n c h w"], exclusive: bool) -> Float[Tensor, "n c h w"]:
    """The logits of the mean of each pixel's probabilities over several networks.

    Args:
        logits: of all networks.
        exclusive: whether channels exclude each other.
    """
    if exclusive:
        return logits.float().log_softmax(2).logsumexp(0) - math.log(len(logits))
    return torch.logit(logits.double().sigmoid().mean(0)).float()
