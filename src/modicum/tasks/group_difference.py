"""A metric in a group of images, in the others, and the difference, all from the same resamples of patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from scipy import sparse

from modicum.tasks.bootstrap import Statistic, Sums, Values, point_values

GROUP, REST, DIFFERENCE = "group:", "others:", "difference:"
"""What the names of a metric in the group, in the others and of the difference begin with."""


@dataclass(frozen=True)
class Measured:
    """Metrics of some of the images.

    Attributes:
        rows: which images, of all.
        statistics: of these images alone, in the order of ``rows``.
        means: by name, the metrics it is the mean of.
    """

    rows: Int[np.ndarray, "some"]
    statistics: Sequence[Statistic]
    means: Mapping[str, Sequence[str]]

    def defined(self) -> dict[str, list[str]]:
        """Of each mean, the members that are defined on these images."""
        return point_values(self.statistics, len(self.rows), self.means)[1]


def as_one(
    measured: Measured, names: Sequence[str], images: int, members: Mapping[str, Sequence[str]]
) -> Statistic:
    """Some metrics as one statistic of all images, to which those outside the group add nothing.

    Args:
        measured: of the group.
        names: which metrics.
        images: number of all images.
        members: of each mean, the metrics that it is taken over.
    """
    ends = np.cumsum([0, *(statistic.terms.shape[0] for statistic in measured.statistics)])
    terms = sparse.csr_array(sparse.vstack([statistic.terms for statistic in measured.statistics]))

    def finish(sums: Sums) -> Values:
        values: Values = {}
        for number, statistic in enumerate(measured.statistics):
            values.update(statistic.finish(sums[ends[number] : ends[number + 1]]))
        for name, of in members.items():
            values[name] = (
                np.mean([values[member] for member in of], axis=0) if of else np.full(sums.shape[1], np.nan)
            )
        return {name: values[name] for name in names}

    single = {k: v for statistic in measured.statistics for k, v in statistic.needs.items()}
    reasons = {k: v for statistic in measured.statistics for k, v in statistic.reasons.items() if k in names}
    reasons |= {
        name: "no class is in this group and in the others"
        for name in names
        if name in members and not members[name]
    }
    needs: dict[str, np.ndarray] = {}
    for name in names:
        groups = [single[member] for member in members.get(name, [name]) if member in single]
        if groups:
            needs[name] = np.concatenate(groups)
    return Statistic(terms, finish, reasons, needs).among(measured.rows, images)


def group_and_others(group: Measured, others: Measured, names: Sequence[str], images: int) -> Statistic:
    """Metrics under names that begin with :data:`GROUP`, :data:`REST` and :data:`DIFFERENCE` (group minus others).

    A mean over classes is taken over those that are defined in both, so that a difference compares the same classes.

    Args:
        group: metrics of the group's images.
        others: the same of all other images.
        names: which metrics to compare.
        images: number of all images.
    """
    here, there = group.defined(), others.defined()
    members = {name: [one for one in here[name] if one in there[name]] for name in here}
    first, second = as_one(group, names, images, members), as_one(others, names, images, members)
    end = first.terms.shape[0]

    def finish(sums: Sums) -> Values:
        ours, theirs = first.finish(sums[:end]), second.finish(sums[end:])
        values = {GROUP + name: ours[name] for name in names}
        values |= {REST + name: theirs[name] for name in names}
        return values | {DIFFERENCE + name: ours[name] - theirs[name] for name in names}

    needs: dict[str, np.ndarray] = {}
    reasons: dict[str, str] = {}
    for name in names:
        parts = [statistic.needs[name] for statistic in (first, second) if name in statistic.needs]
        for prefix, statistic in ((GROUP, first), (REST, second)):
            if name in statistic.needs:
                needs[prefix + name] = statistic.needs[name]
            if name in statistic.reasons:
                reasons[prefix + name] = statistic.reasons[name]
                reasons.setdefault(DIFFERENCE + name, statistic.reasons[name])
        if parts:
            needs[DIFFERENCE + name] = np.concatenate(parts)
    terms = sparse.csr_array(sparse.vstack([first.terms, second.terms]))
    return Statistic(terms, finish, reasons, needs)
