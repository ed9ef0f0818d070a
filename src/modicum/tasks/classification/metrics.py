"""Metrics of classifiers: their definitions.

Each is a :class:`~modicum.tasks.bootstrap.Statistic`, a function of weighted sums over images, in one of three
families: *ranking* (how scores order images), *decisions* (the predicted class) and *calibration* (what the
probabilities are worth). The plain functions below take weights, so that they also serve alone::

    from modicum.tasks.classification.metrics import quadratic_kappa

    quadratic_kappa(np.array([0, 1, 2]), np.array([0, 2, 2]), num_classes=3)

Conventions, where the field has more than one:

- Undefined is NaN, never 0 and never an exception.
- AUROC counts a tie between a positive and a negative image as one half (the Mann-Whitney statistic).
- Average precision is the step sum of precision over the rises of recall, without interpolation.
- Sensitivity at a specificity is the highest sensitivity among all thresholds whose specificity is at least
  that.
- The predicted class is the most probable one, the first on a tie; a finding is predicted from 0.5 on. Where there are
  operating points (:mod:`modicum.tasks.classification.operating_points`), the positive one of two classes and each
  finding are predicted from their thresholds on.
- F1 is 0 for a class that occurs and is never predicted; a class that neither occurs nor is predicted has
  none and is left out of the macro mean (scikit-learn with ``zero_division=np.nan``).
- The multi-class Brier score is Brier's own: the sum over classes of squared differences (0 best, 2 worst),
  the mean over images; for two classes the usual ``(p - y)**2`` of the positive class, half of that.
- The calibration error has 15 bins of equal width, open below and closed above, of the *top-label*
  confidence, also for two classes and for findings, where that confidence is ``max(p, 1 - p)`` and thus at
  least one half.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from scipy import sparse

from modicum.tasks.bootstrap import Statistic, Sums, Values

CALIBRATION_BINS = 15
MAJORITY = "majority_accuracy"


def sensitivity_name(specificity: float) -> str:
    """``sensitivity_at_95_specificity`` for 0.95."""
    return f"sensitivity_at_{100 * specificity:g}_specificity"


def predicted_classes(
    probabilities: Float[np.ndarray, "n classes"],
    kind: str,
    thresholds: Sequence[float] | np.ndarray = (),
) -> Int[np.ndarray, "n"] | Bool[np.ndarray, "n classes"]:
    """The most probable class (the first on a tie), or for ``multi-label`` the findings with ``p >= 0.5``.

    With thresholds, the second of two classes is predicted from the one of them on, and each finding from its own. They
    may be a row an image, ``[n, thresholds]``.
    """
    if kind == "multi-label":
        return probabilities >= (np.asarray(thresholds) if len(thresholds) else 0.5)
    if len(thresholds):
        return (probabilities[:, 1] >= np.asarray(thresholds)[..., 0]).astype(np.int64)
    return probabilities.argmax(axis=1)


def confidence_bin(confidence: Float[np.ndarray, "n"], bins: int = CALIBRATION_BINS) -> Int[np.ndarray, "n"]:
    """The bin of each confidence, of equal widths over [0, 1], each ``(low, high]``; 0 is in the first."""
    return np.clip(np.searchsorted(np.linspace(0, 1, bins + 1), confidence, side="left") - 1, 0, bins - 1)


def ranking(
    scores: Num[np.ndarray, "n"],
    positive: Bool[np.ndarray, "n"],
    *,
    specificity: float = 0.95,
    finding: str = "the positive class",
) -> Statistic:
    """``auroc``, ``average_precision`` and ``sensitivity_at_specificity`` of scores.

    All three depend on the curve only at the scores that positive images have (the *levels*, highest first):
    the sums are the positives at each level, the negatives between one level and the next, and, for the
    halves of AUROC, the negatives that tie with a level. No sorting per resample, and no work for thresholds
    in between.

    Args:
        scores: higher means more likely positive.
        positive: the true labels.
        specificity: where sensitivity is read.
        finding: name of what is positive, for the reasons.
    """
    levels = np.unique(scores[positive])
    count = len(levels)
    # Level of a positive image; for a negative one, how many levels lie strictly above it.
    above = count - np.searchsorted(levels, scores, side="right")
    ties = np.flatnonzero(~positive & np.isin(scores, levels))
    tied_levels, tie_of = np.unique(above[ties], return_inverse=True)
    terms = _terms(
        [
            (np.where(positive, above, count + above), np.arange(len(scores)), 1.0),
            (2 * count + 1 + tie_of, ties, 1.0),
        ],
        sums=2 * count + 1 + len(tied_levels),
        images=len(scores),
    )

    def finish(sums: Sums) -> Values:
        positives_at_level = sums[:count]
        false_alarms = np.cumsum(sums[count : 2 * count + 1], axis=0)
        negatives, false_alarms = false_alarms[-1], false_alarms[:-1]
        hits = np.cumsum(positives_at_level, axis=0)
        positives = positives_at_level.sum(axis=0)
        tied = np.einsum("lr,lr->r", positives_at_level[tied_levels], sums[2 * count + 1 :])
        inverted = np.einsum("lr,lr->r", positives_at_level, false_alarms) - tied / 2
        alarms = hits + false_alarms
        precision = np.divide(hits, alarms, out=np.zeros_like(hits), where=alarms > 0)
        kept = (negatives - false_alarms) / negatives >= specificity
        # An empty curve (no positive image) still needs a maximum; 0/0 then says that it is undefined.
        best = np.where(kept, hits, 0.0).max(axis=0, initial=0.0)
        return {
            "auroc": 1 - inverted / (positives * negatives),
            "average_precision": np.einsum("lr,lr->r", positives_at_level, precision) / positives,
            "sensitivity_at_specificity": np.where(negatives > 0, best / positives, np.nan),
        }

    here = int(positive.sum())
    both = f"needs images with and without {finding}: {here} with, {len(scores) - here} without"
    reasons = {
        "auroc": both,
        "sensitivity_at_specificity": both,
        "average_precision": f"no image with {finding}",
    }
    sides = np.stack([positive, ~positive])
    needs = {"auroc": sides, "sensitivity_at_specificity": sides, "average_precision": sides[:1]}
    return Statistic(terms, finish, reasons, needs)


def decisions(truth: Int[np.ndarray, "n"], predicted: Int[np.ndarray, "n"], num_classes: int) -> Statistic:
    """Metrics of the predicted class.

    ``accuracy``, ``balanced_accuracy`` (NaN where a class does not occur), ``kappa`` (Cohen's), ``quadratic_kappa`` and
    for each class number ``sensitivity/0``, ``specificity/0``, ``f1/0``.
    """
    images = np.arange(len(truth))
    right = np.flatnonzero(truth == predicted)
    terms = _terms(
        [
            (truth, images, 1.0),
            (num_classes + predicted, images, 1.0),
            (2 * num_classes + truth[right], right, 1.0),
            (np.full(len(truth), 3 * num_classes), images, (truth - predicted).astype(np.float64) ** 2),
        ],
        sums=3 * num_classes + 1,
        images=len(truth),
    )
    grades = np.arange(num_classes)
    disagreement = np.subtract.outer(grades, grades).astype(np.float64) ** 2

    def finish(sums: Sums) -> Values:
        occurs, says, hits = sums[: 3 * num_classes].reshape(3, num_classes, -1)
        total = occurs.sum(axis=0)
        by_chance = np.einsum("cr,cr->r", occurs, disagreement @ says) / total
        sensitivity = hits / occurs
        specificity = (total - occurs - says + hits) / (total - occurs)
        f1 = 2 * hits / (occurs + says)
        values = {
            "accuracy": hits.sum(axis=0) / total,
            "balanced_accuracy": sensitivity.mean(axis=0),
            "quadratic_kappa": 1 - sums[3 * num_classes] / by_chance,
            "kappa": 1 - (total - hits.sum(axis=0)) / (total - (occurs * says).sum(axis=0) / total),
        }
        for index in range(num_classes):
            values[f"sensitivity/{index}"] = sensitivity[index]
            values[f"specificity/{index}"] = specificity[index]
            values[f"f1/{index}"] = f1[index]
        return values

    present = len(np.unique(truth))
    reasons = {
        "accuracy": "no images",
        "balanced_accuracy": f"needs images of all {num_classes} classes: there are images of {present}",
        "quadratic_kappa": "truth and prediction are the same single class for all images",
        "kappa": "truth and prediction are the same single class for all images",
    }
    for index in range(num_classes):
        reasons[f"sensitivity/{index}"] = "no image of this class"
        reasons[f"specificity/{index}"] = "no image of another class"
        reasons[f"f1/{index}"] = "no image of this class, and none predicted"
    of_class = np.equal.outer(grades, truth)
    needs = {"balanced_accuracy": of_class}
    for index in range(num_classes):
        needs[f"sensitivity/{index}"] = of_class[index : index + 1]
        needs[f"specificity/{index}"] = ~of_class[index : index + 1]
        needs[f"f1/{index}"] = of_class[index : index + 1]
    return Statistic(terms, finish, reasons, needs)


def majority(truth: Int[np.ndarray, "n"], num_classes: int) -> Statistic:
    """``majority_accuracy``: the accuracy of saying the most common class of these images for each of them."""
    images = np.arange(len(truth))
    terms = _terms([(truth, images, 1.0)], sums=num_classes, images=len(truth))

    def finish(sums: Sums) -> Values:
        return {MAJORITY: sums.max(axis=0) / sums.sum(axis=0)}

    return Statistic(terms, finish, {MAJORITY: "no images"})


def calibration(
    confidence: Float[np.ndarray, "n"],
    correct: Bool[np.ndarray, "n"],
    squared: Float[np.ndarray, "n"],
    surprise: Float[np.ndarray, "n"],
) -> Statistic:
    """``brier``, ``ece`` and ``log_loss`` from what each image contributes.

    Args:
        confidence: probability of the predicted class.
        correct: whether the prediction is right.
        squared: Brier score of each image.
        surprise: minus the logarithm of the probability of the truth, see :func:`surprise_of`.
    """
    images = np.arange(len(confidence))
    last = CALIBRATION_BINS
    # One sum a bin is enough: the gap of a bin is |sum of (correct - confidence)|, weighted by its images.
    terms = _terms(
        [
            (confidence_bin(confidence), images, correct - confidence),
            (np.full(len(images), last), images, squared),
            (np.full(len(images), last + 1), images, surprise),
            (np.full(len(images), last + 2), images, 1.0),
        ],
        sums=last + 3,
        images=len(images),
    )

    def finish(sums: Sums) -> Values:
        total = sums[last + 2]
        return {
            "brier": sums[last] / total,
            "ece": np.abs(sums[:last]).sum(axis=0) / total,
            "log_loss": sums[last + 1] / total,
        }

    return Statistic(terms, finish, dict.fromkeys(("brier", "ece", "log_loss"), "no images"))


def surprise_of(probability: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Minus the logarithm of the truth's probability, kept off infinity by 2.2e-16 as in scikit-learn."""
    epsilon = float(np.finfo(np.float64).eps)
    return -np.log(np.clip(probability, epsilon, 1 - epsilon))


def auroc(
    scores: Num[np.ndarray, "n"],
    positive: Bool[np.ndarray, "n"] | Int[np.ndarray, "n"],
    weights: Num[np.ndarray, "n"] | None = None,
) -> float:
    """The chance that a positive image scores above a negative one, ties one half: the area under ROC."""
    return _value(ranking(scores, positive.astype(bool)), "auroc", weights, len(scores))


def average_precision(
    scores: Num[np.ndarray, "n"],
    positive: Bool[np.ndarray, "n"] | Int[np.ndarray, "n"],
    weights: Num[np.ndarray, "n"] | None = None,
) -> float:
    """Mean of the precision at each rise of recall."""
    return _value(ranking(scores, positive.astype(bool)), "average_precision", weights, len(scores))


def sensitivity_at_specificity(
    scores: Num[np.ndarray, "n"],
    positive: Bool[np.ndarray, "n"] | Int[np.ndarray, "n"],
    specificity: float = 0.95,
    weights: Num[np.ndarray, "n"] | None = None,
) -> float:
    """The highest sensitivity among thresholds with at least this specificity."""
    statistic = ranking(scores, positive.astype(bool), specificity=specificity)
    return _value(statistic, "sensitivity_at_specificity", weights, len(scores))


def quadratic_kappa(
    truth: Int[np.ndarray, "n"],
    predicted: Int[np.ndarray, "n"],
    num_classes: int,
    weights: Num[np.ndarray, "n"] | None = None,
) -> float:
    """Cohen's kappa with quadratic weights: 1 perfect, 0 as by chance, -1 reversed.

    Source: Cohen, Psychological Bulletin 70 (1968). 0/0, where truth and prediction are one class, is NaN.
    """
    return _value(decisions(truth, predicted, num_classes), "quadratic_kappa", weights, len(truth))


def _value(statistic: Statistic, name: str, weights: np.ndarray | None, images: int) -> float:
    column = np.ones(images) if weights is None else weights.astype(np.float64)
    return float(statistic.values(column[:, None])[name][0])


def _terms(
    parts: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray | float]], sums: int, images: int
) -> sparse.csr_array:
    """The sparse matrix with each part's ``amount`` added at (``sum``, ``image``)."""
    rows, columns, amounts = zip(*((r, c, np.broadcast_to(a, r.shape)) for r, c, a in parts), strict=True)
    entries = (np.concatenate(amounts), (np.concatenate(rows), np.concatenate(columns)))
    return sparse.csr_array(entries, shape=(sums, images), dtype=np.float64)
