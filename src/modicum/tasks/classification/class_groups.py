"""Head, medium and tail: classes by how many training images they have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modicum.data.manifest import Manifest
from modicum.errors import InputError
from modicum.tasks.stored_values import count_of_values

GROUPS = ("head", "medium", "tail")
"""From many training images to few; ``<group>_accuracy`` is the mean accuracy of a group's classes."""


@dataclass(frozen=True)
class ClassGroups:
    """Classes in three groups, by their number of training images.

    Attributes:
        head_above: classes with more training images are the head.
        tail_below: classes with fewer are the tail.
        counts: training images by class, in the order of the classes.
    """

    head_above: int
    tail_below: int
    counts: Mapping[str, int]

    def members(self) -> dict[str, list[str]]:
        """The classes of each of :data:`GROUPS`; perhaps none.

        >>> ClassGroups(100, 20, {"nv": 500, "mel": 60, "df": 5}).members()
        {'head': ['nv'], 'medium': ['mel'], 'tail': ['df']}
        """
        names: dict[str, list[str]] = {group: [] for group in GROUPS}
        for name, count in self.counts.items():
            group = "head" if count > self.head_above else "tail" if count < self.tail_below else "medium"
            names[group].append(name)
        return names

    def note(self) -> str:
        """The groups in a sentence."""
        words = {
            "head": f"more than {self.head_above} training images",
            "medium": "between",
            "tail": f"fewer than {self.tail_below}",
        }
        parts = [
            f"{group} ({words[group]}): {', '.join(f'{name} {self.counts[name]}' for name in names) or 'none'}"
            for group, names in self.members().items()
        ]
        return "; ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """For a run folder."""
        return {
            "head_above": self.head_above,
            "tail_below": self.tail_below,
            "counts": dict(self.counts),
            "members": self.members(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> "ClassGroups | None":
        """The inverse of :meth:`as_dict`; None of None."""
        if values is None:
            return None
        counts = {name: count_of_values(count, "counts") for name, count in values["counts"].items()}
        above, below = (count_of_values(values[limit], limit) for limit in ("head_above", "tail_below"))
        return cls(above, below, counts)


def groups_of(manifest: Manifest, classes: Sequence[str], options: Mapping[str, Any]) -> ClassGroups | None:
    """The groups that the options ask for; None where they ask for none, or there is no split yet.

    Args:
        manifest: rows with labels.
        classes: names in the order of the outputs.
        options: of the task: ``head_above`` and ``tail_below``.

    Raises:
        InputError: one of the two is missing, or they overlap.
    """
    above, below = options.get("head_above"), options.get("tail_below")
    if above is None and below is None:
        return None
    if above is None or below is None:
        given, other = ("tail_below", "head_above") if above is None else ("head_above", "tail_below")
        raise InputError(
            f"{given}={options[given]} states one of two limits",
            f"give {other} too, for instance --set head_above=1000 --set tail_below=200",
        )
    if below > above + 1:
        raise InputError(
            f"head_above={above} and tail_below={below}: a class could be in both",
            "give a tail_below that is at most head_above",
        )
    if "split" not in manifest.table:
        return None
    labels = manifest.table["label"][manifest.table["split"] == "train"].astype(str)
    counts = labels.value_counts()
    return ClassGroups(int(above), int(below), {name: int(counts.get(name, 0)) for name in classes})
