"""Rows that show one picture stay in one split, as those of one patient do.

A split that is given is checked for pictures on both sides; one that is made has none there by construction. Which rows
belong together is known once the images are decoded, and is carried in a column of its own
(:data:`KEPT_TOGETHER`) until the split is made.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from modicum.data.manifest import Manifest
from modicum.wording import count_of

KEPT_TOGETHER = "modicum:kept_together"
"""The column: the patient in whose name a row's group is split, blank where no other patient is in the group."""


def keep_together(manifest: Manifest, groups: Iterable[Sequence[int]]) -> Manifest:
    """Marks rows that must stay in one split: those of each group, and with them all rows of their patients.

    Args:
        manifest: the images.
        groups: of rows that show one picture; groups that share a row or a patient become one.
    """
    patients = manifest.patients()
    parent: dict[str, str] = {}

    def root(patient: str) -> str:
        while (above := parent.get(patient, patient)) != patient:
            parent[patient] = parent.get(above, above)
            patient = above
        return patient

    for rows in groups:
        members = sorted({root(patients[row]) for row in rows})
        for member in members[1:]:
            parent[member] = members[0]
    names = [root(patient) for patient in patients]
    joined = {name for name, patient in zip(names, patients, strict=True) if name != patient}
    table = manifest.table.copy()
    table[KEPT_TOGETHER] = [name if name in joined else None for name in names]
    return replace(manifest, table=table)


def with_copies_together(
    manifest: Manifest, identical: Sequence[Sequence[int]], nearly: Sequence[Sequence[int]]
) -> Manifest:
    """:func:`keep_together` for copies, as far as a split can still be made.

    Where copies would join most of the images into one group (a blank page that every patient has, say), no split could
    be balanced: near-duplicates are then divided, and at last identical files too, and a note says so.

    Args:
        manifest: the images.
        identical: groups of rows with the same content.
        nearly: groups of rows that are nearly identical.
    """
    for groups, divided in (([*identical, *nearly], ""), (identical, "nearly identical images")):
        made = keep_together(manifest, groups)
        units = Counter(made.table[KEPT_TOGETHER].dropna())
        if not units or max(units.values()) <= len(manifest) / 2:
            return replace(made, notes=[*made.notes, *_divided(divided)] if divided else made.notes)
    return replace(manifest, notes=[*manifest.notes, *_divided("identical files")])


def _divided(what: str) -> list[str]:
    return [
        f"caution: {what} link more than half of the images to each other: they are not kept in one split, and scores "
        "may be optimistic; take the copies out"
    ]


def split_units(manifest: Manifest) -> list[str]:
    """For each row the name of what is never divided: its patient, or the group of patients with a picture in common."""
    patients = manifest.patients()
    if KEPT_TOGETHER not in manifest.table:
        return patients
    groups = manifest.table[KEPT_TOGETHER]
    return [
        group if isinstance(group, str) else patient for group, patient in zip(groups, patients, strict=True)
    ]


def number_joined(manifest: Manifest) -> int:
    """Number of images that stay with a picture of another patient."""
    return int(manifest.table[KEPT_TOGETHER].notna().sum()) if KEPT_TOGETHER in manifest.table else 0


def joined_note(manifest: Manifest) -> str:
    """What a note on a split says of them; empty without any."""
    joined = number_joined(manifest)
    return f"; {count_of(joined, 'image')} with copies under another name are kept together" if joined else ""


def forget_groups(manifest: Manifest) -> Manifest:
    """The manifest without the column of this module."""
    return replace(manifest, table=manifest.table.drop(columns=KEPT_TOGETHER, errors="ignore"))
