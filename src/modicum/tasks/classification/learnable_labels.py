"""What is taken from the labels without having been said, and what of them cannot be learned: told before training."""

from collections.abc import Sequence

from modicum.data.manifest import LABELS_PREFIX, SPLITS, Manifest, name_classes
from modicum.errors import InputError
from modicum.wording import count_of, listed

_MOST = 5


def order_note(classes: Sequence[str]) -> str:
    """That classes are taken as grades because of their names, and how to choose."""
    return (
        f"classes {name_classes(classes)} are taken as grades because they are consecutive numbers: quadratic kappa "
        "selects the weights unless --set monitor=METRIC names another; pass --set ordered=false if they are names "
        "without an order (AUROC then selects), or --set ordered=true to confirm"
    )


def class_cautions(manifest: Manifest, classes: Sequence[str]) -> list[str]:
    """Classes without training images, and with some elsewhere.

    Args:
        manifest: with a column ``split``.
        classes: names.
    """
    in_train = set(manifest.part("train").table["label"].dropna())
    if len(in_train) == 1:
        return []  # such a split is refused unless nothing, or one class, is learned of labels: no other is missed
    elsewhere = {
        split: manifest.part(split).table["label"].value_counts() for split in SPLITS if split != "train"
    }
    cautions = []
    for name in classes:
        counts = [f"{counts[name]} in {split}" for split, counts in elsewhere.items() if name in counts]
        if name not in in_train and counts:
            cautions.append(f"'{name}' ({' and '.join(counts)})")
    if not cautions:
        return []
    return [
        f"caution: no training image of class {listed(cautions, _MOST)}: it cannot be learned, and its images count as "
        "mistakes; add training images of it, split anew, or take its images out"
    ]


def finding_cautions(manifest: Manifest, findings: Sequence[str]) -> list[str]:
    """Findings of which the training images say nothing, or always the same.

    Args:
        manifest: with a column ``split`` and the findings' columns.
        findings: names.

    Raises:
        InputError: no training image has a known label of any finding.
    """
    train = manifest.part("train").table
    values = {name: set(train[LABELS_PREFIX + name].dropna()) for name in findings}
    if len(train) and not any(values.values()):
        raise InputError(
            f"{manifest.source}: no finding of the {count_of(len(train), 'training image')} is known (1 or 0)",
            "fill in the columns of the findings, or name the right ones with --labels",
        )
    unknown = [f"'{name}'" for name, seen in values.items() if not seen]
    constant = [
        f"'{name}' (always {'present' if 1 in seen else 'absent'})"
        for name, seen in values.items()
        if len(seen) == 1
    ]
    cautions = []
    if unknown:
        cautions.append(
            f"caution: no training image has a known label of finding {listed(unknown, _MOST)}: nothing is learned of it "
            "and its predictions mean nothing; leave its column out"
        )
    if constant:
        cautions.append(
            f"caution: all known labels of finding {listed(constant, _MOST)} in training are the same: it cannot be "
            "learned; add images of the other kind, split anew, or leave its column out"
        )
    return cautions
