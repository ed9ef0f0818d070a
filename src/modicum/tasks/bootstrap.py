"""Confidence intervals by resampling patients.

A metric is written as a :class:`Statistic`: what each image *adds* to a handful of sums, and how the metric
is computed from the sums. A resample of the patients is then a column of whole-number weights, and thousands of
resamples are one sparse matrix product, so intervals cost seconds where a loop over resampled arrays costs
minutes. The plain value of the metric is the same calculation with every weight 1: there is no second
implementation that could disagree.

Two images of one patient are not independent. Where patients are known, patients are drawn (with
all their images), and the width of the interval reflects the number of patients.

A resample on which a metric is not defined is left out, and the estimate says how many were. Below :data:`FEWEST`
patients of a kind that the metric needs there is no interval: those resamples that happen to hold some say little.

Percentile intervals have two limits. A metric at its bound (AUROC 1 on 20 images)
gets an interval of no width: no resample can be worse than the data. A metric that sums absolute gaps, such as
the calibration error, grows with noise; resamples are noisier than the data, so its interval lies too high.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13 (percentile interval); Field
and Welsh, Bootstrapping clustered data, J. R. Statist. Soc. B 69 (2007) (drawing whole clusters).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from modicum.errors import InputError
from modicum.progress import Bar, bar

Sums = Float[np.ndarray, "sums resamples"]
Values = dict[str, Float[np.ndarray, "resamples"]]

FEWEST = 5
"""Patients (images, where patients are not known) with a condition, and as many without it, below which a metric that
needs both gets no interval: with 4, 2 % of the resamples hold none of them, with 1, 37 %."""
FEWEST_ALIKE = 10
"""Patients below which an interval without width is none."""

# 32 resamples a block: the weights of 10,000 images (2.5 MB) stay in the processor's cache.
_BLOCK = 32
_BLOCK_ELEMENTS = 4_000_000
# Term products that take longer than a few seconds get a progress bar.
_SLOW = 2_000_000_000


@dataclass(frozen=True)
class Estimate:
    """A metric with its confidence interval.

    Args:
        value: value on the original data; NaN where the metric is not defined.
        low: lower end of the interval; NaN if there is none (a single patient, no resamples).
        high: upper end.
        undefined: number of resamples that were left out because the metric is not defined on them.
        reason: why the value is NaN, or what it leaves out; empty otherwise.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    undefined: int = 0
    reason: str = ""

    def as_dict(self) -> dict[str, float | int | str | None]:
        """For JSON: ``value``, ``low``, ``high`` (null for NaN); ``undefined`` and ``reason`` only if any."""
        ends = {"value": self.value, "low": self.low, "high": self.high}
        entry: dict[str, float | int | str | None] = {
            k: None if math.isnan(v) else v for k, v in ends.items()
        }
        if self.undefined:
            entry["undefined"] = self.undefined
        if self.reason:
            entry["reason"] = self.reason
        return entry


@dataclass(frozen=True)
class Statistic:
    """One or more metrics as a function of weighted sums over images.

    Args:
        terms: sparse ``[sums, images]``: what each image adds to each sum.
        finish: from sums ``[sums, resamples]`` to metrics by name, each ``[resamples]``, NaN where undefined.
        reasons: by metric name, why it is undefined where it is.
        needs: by metric name, groups of images ``[groups, images]`` of each of which it needs some, such as those with
            and those without a finding; metrics that are defined on any images are not there.
    """

    terms: sparse.csr_array
    finish: Callable[[Sums], Values]
    reasons: Mapping[str, str] = field(default_factory=dict)
    needs: Mapping[str, Bool[np.ndarray, "groups images"]] = field(default_factory=dict)

    def values(self, weights: Float[np.ndarray, "images resamples"]) -> Values:
        """The metrics for each column of ``weights``; a weight of 2 is the image counted twice."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.finish(self.terms @ weights)

    def among(self, rows: Int[np.ndarray, "some"], images: int) -> "Statistic":
        """A statistic of some images as one of all images: the others add nothing.

        Args:
            rows: which of all images this statistic is of, in its order.
            images: number of all images.
        """
        terms = self.terms.tocsr(copy=True)
        terms.indices = rows[terms.indices].astype(terms.indices.dtype)
        terms.resize((terms.shape[0], images))
        needs = {}
        for name, groups in self.needs.items():
            needs[name] = np.zeros((len(groups), images), dtype=bool)
            needs[name][:, rows] = groups
        return replace(self, terms=terms, needs=needs)

    def renamed(self, names: Mapping[str, str]) -> "Statistic":
        """The same metrics under other names; those without a new name are left out."""

        def finish(sums: Sums) -> Values:
            values = self.finish(sums)
            return {new: values[old] for old, new in names.items()}

        return replace(
            self,
            finish=finish,
            reasons={names[k]: v for k, v in self.reasons.items() if k in names},
            needs={names[k]: v for k, v in self.needs.items() if k in names},
        )


def point_values(
    statistics: Sequence[Statistic], images: int, means: Mapping[str, Sequence[str]] | None = None
) -> tuple[dict[str, float], dict[str, list[str]]]:
    """The metrics of the original data, and the means over those members that are defined on them.

    Args:
        statistics: the metrics.
        images: number of images.
        means: by name, the metrics it is the mean of, for instance a macro average over classes.

    Returns:
        Values by name (NaN where undefined), and for each mean the members that are defined.
    """
    values: dict[str, float] = {}
    for statistic in statistics:
        values.update(
            {name: float(value[0]) for name, value in statistic.values(np.ones((images, 1))).items()}
        )
    defined = {
        name: [member for member in members if not math.isnan(values[member])]
        for name, members in (means or {}).items()
    }
    for name, members in defined.items():
        values[name] = float(np.mean([values[member] for member in members])) if members else math.nan
    return values, defined


def bootstrap(
    statistics: Sequence[Statistic],
    images: int,
    *,
    means: Mapping[str, Sequence[str]] | None = None,
    groups: Sequence[object] | np.ndarray | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Percentile intervals of many metrics from the same resamples.

    A mean is taken over the members that are defined on the data as they are. A resample on which one of
    those is not defined (it happens to hold no image of a rare class) would be a mean of something else: it
    is left out and counted in :attr:`Estimate.undefined`. The same ``groups`` and ``seed`` give the same
    resamples, so that two models evaluated on one test set can be compared resample by resample.

    Args:
        statistics: the metrics.
        images: number of images.
        means: by name, the metrics it is the mean of.
        groups: the patient of each image; blank (empty, None or NaN) is a separate patient. None: each image
            is one.
        resamples: number of resamples; 0 for no intervals.
        confidence: coverage of the interval, for instance 0.95.
        seed: random seed of the resampling.

    Raises:
        InputError: ``confidence`` or ``resamples`` out of range, or not one group an image.
    """
    _check(resamples, confidence)
    unit = group_numbers(groups, images)
    units = int(unit.max()) + 1 if images else 0
    point, defined = point_values(statistics, images, means)
    reasons = _reasons(statistics, point, means or {}, defined)
    if units < 2 or resamples == 0:
        if resamples:
            reasons = {name: reasons.get(name) or "no interval: fewer than two patients" for name in point}
        return {name: Estimate(value, reason=reasons.get(name, "")) for name, value in point.items()}
    membership = sparse.csr_array((np.ones(images), (np.arange(images), unit)), shape=(images, units))
    by_unit = [
        replace(statistic, terms=sparse.csr_array(statistic.terms @ membership)) for statistic in statistics
    ]
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in point}
    with _progress(by_unit, resamples) as progress:
        for counts in resampled_counts(units, resamples, seed):
            for name, values in _means(by_unit, counts, defined).items():
                drawn[name].append(values)
            progress.advance(counts.shape[1])
    few = _too_few(statistics, unit, defined)
    return {
        name: _estimate(
            value, np.concatenate(drawn[name]), units, confidence, reasons.get(name, ""), few.get(name)
        )
        for name, value in point.items()
    }


def _too_few(
    statistics: Sequence[Statistic], unit: Int[np.ndarray, "images"], defined: Mapping[str, Sequence[str]]
) -> dict[str, int]:
    """For each metric that rests on fewer than :data:`FEWEST` patients of a kind, how many; of a mean, the least."""
    few: dict[str, int] = {}
    for statistic in statistics:
        for name, groups in statistic.needs.items():
            least = min(len(np.unique(unit[group])) for group in groups)
            if 0 < least < FEWEST:
                few[name] = least
    for mean, members in defined.items():
        if of_members := [few[member] for member in members if member in few]:
            few[mean] = min(of_members)
    return few


def group_numbers(groups: Sequence[object] | np.ndarray | None, images: int) -> Int[np.ndarray, "images"]:
    """Each image's group as a number from 0; a blank group (empty, None, NaN) is a separate group.

    Raises:
        InputError: not one group an image.
    """
    if groups is None:
        return np.arange(images)
    if len(groups) != images:
        raise InputError(
            f"{len(groups)} groups for {images} images",
            "give one patient for each image, blank where unknown",
        )
    # `value != value` is true for NaN; for pandas' NA it is neither true nor false, so that is found by its type's name.
    texts = [
        "" if value is None or type(value).__name__ == "NAType" or value != value else str(value).strip()
        for value in groups
    ]
    has_group = np.array([text != "" for text in texts], dtype=bool)
    numbers = np.empty(images, dtype=np.int64)
    names, numbers[has_group] = np.unique(np.array(texts, dtype=str)[has_group], return_inverse=True)
    numbers[~has_group] = len(names) + np.arange(int((~has_group).sum()))
    return numbers


def resampled_counts(units: int, resamples: int, seed: int) -> Iterator[Float[np.ndarray, "units block"]]:
    """How often each unit was drawn, a column a resample: multinomial, ``units`` draws with replacement."""
    generator = np.random.default_rng(seed)
    block = max(1, min(_BLOCK, _BLOCK_ELEMENTS // units))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        cell = generator.integers(units, size=(size, units))
        cell *= size
        cell += np.arange(size)[:, None]
        yield np.bincount(cell.ravel(), minlength=units * size).reshape(units, size).astype(np.float64)


def _means(
    statistics: Sequence[Statistic], weights: np.ndarray, means: Mapping[str, Sequence[str]]
) -> Values:
    values: Values = {}
    for statistic in statistics:
        values.update(statistic.values(weights))
    for name, members in means.items():
        stack = [values[member] for member in members]
        values[name] = np.mean(stack, axis=0) if members else np.full(weights.shape[1], np.nan)
    return values


def _estimate(
    value: float,
    drawn: Float[np.ndarray, "resamples"],
    units: int,
    confidence: float,
    reason: str,
    few: int | None,
) -> Estimate:
    usable = drawn[~np.isnan(drawn)]
    undefined = len(drawn) - len(usable)
    if math.isnan(value) or not len(usable):
        return Estimate(value, undefined=undefined, reason=reason)
    if few is not None:
        why = f"no interval: it rests on {few} of a kind, {FEWEST} patients (or images) are the fewest"
        return Estimate(value, undefined=undefined, reason=_joined(reason, why))
    low, high = np.quantile(usable, [(1 - confidence) / 2, (1 + confidence) / 2])
    if low == high and units < FEWEST_ALIKE:
        why = f"no interval: {units} patients (or images) that all say the same cannot show how it varies"
        return Estimate(value, undefined=undefined, reason=_joined(reason, why))
    if undefined:
        reason = _joined(
            reason, f"interval of the {len(usable):,} of {len(drawn):,} resamples where it is defined"
        )
    return Estimate(value, float(low), float(high), undefined, reason)


def _joined(*reasons: str) -> str:
    return "; ".join(reason for reason in reasons if reason)


def _reasons(
    statistics: Sequence[Statistic],
    point: Mapping[str, float],
    means: Mapping[str, Sequence[str]],
    defined: Mapping[str, Sequence[str]],
) -> dict[str, str]:
    undefined = {name for name, value in point.items() if math.isnan(value)}
    reasons = {n: why for statistic in statistics for n, why in statistic.reasons.items() if n in undefined}
    for name, members in means.items():
        missing = [member.partition("/")[2] or member for member in members if member not in defined[name]]
        if not members:
            reasons[name] = "not defined: there is no class in this group"
        elif missing:
            share = f"mean over {len(defined[name])} of {len(members)}"
            reasons[name] = (
                f"{share if defined[name] else 'not defined'}: not defined for {', '.join(missing)}"
            )
    return reasons


def _check(resamples: int, confidence: float) -> None:
    if resamples < 0:
        raise InputError(f"resamples is {resamples}", "give 0 (no intervals) or more, for instance 2000")
    if not 0 < confidence < 1:
        raise InputError(
            f"confidence is {confidence:g}", "give a probability between 0 and 1, for instance 0.95"
        )


def _progress(statistics: Sequence[Statistic], resamples: int) -> AbstractContextManager[Bar]:
    work = resamples * sum(statistic.terms.nnz for statistic in statistics)
    return bar("confidence intervals", resamples) if work > _SLOW else nullcontext(Bar())
