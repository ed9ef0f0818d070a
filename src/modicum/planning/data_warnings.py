"""What a user should know of a data set before training on it, each with what to do about it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

STRONG_IMBALANCE = 10
FEW_OF_A_CLASS = 5
_SHOWN = 3


@dataclass(frozen=True)
class DataWarning:
    """One thing to know.

    Attributes:
        text: the thing and the value.
        remedy: what to do.
        stops: training refuses such data until something is done.
    """

    text: str
    remedy: str
    stops: bool = False


def data_warnings(found: Mapping[str, Any]) -> list[DataWarning]:
    """The warnings that a fingerprint (as :func:`modicum.planning.fingerprint.fingerprint` makes it) gives cause for.

    Those that stop training come first.
    """
    every = [
        *_file_warnings(found),
        *_repeat_warnings(found),
        *_label_warnings(found),
        *_finding_warnings(found),
    ]
    return sorted(every, key=lambda warning: not warning.stops)


def _file_warnings(found: Mapping[str, Any]) -> Iterator[DataWarning]:
    if found["broken"]:
        first = found["broken_files"][0]
        yield DataWarning(
            f"{_count(found['broken'], 'image')} cannot be read (the first: {first['image']}: {first['reason']})",
            "repair or remove them, or pass --skip-broken to fit",
            stops=True,
        )
    if found["mislabelled"]:
        names = [f"{item['image']} is {item['format'].upper()}" for item in found["mislabelled_files"]]
        yield DataWarning(
            f"{_count(found['mislabelled'], 'file')} of another format than the name says ({_some(names)})",
            "read all the same; rename them, other programs may refuse them",
        )


def _repeat_warnings(found: Mapping[str, Any]) -> Iterator[DataWarning]:
    if found["leaks"]:
        texts = [leak["text"] for leak in found["leak_pairs"]]
        yield DataWarning(
            f"{_count(found['leaks'], 'leak')} between splits ({_some(texts, found['leaks'], '; ')})",
            "correct the split, or pass --leaks drop to fit, which takes the training side out",
            stops=True,
        )
    if found["duplicates"]:
        groups = [" = ".join(group[:2]) for group in found["duplicate_groups"]]
        yield DataWarning(
            f"{_count(found['duplicates'], 'image')} there more than once ({_some(groups)})",
            "remove the copies: what is there twice counts double",
        )
    within = found["near_duplicates"] - found["leaks_by_kind"].get("near-duplicate", 0)
    if within > 0:
        leaked = {(leak["first"], leak["second"]) for leak in found["leak_pairs"]}
        pairs = [
            f"{pair['first']} ≈ {pair['second']}"
            for pair in found["near_duplicate_pairs"]
            if not {(pair["first"], pair["second"]), (pair["second"], pair["first"])} & leaked
        ]
        where = "under different patients" if found["patients"] else "in the data"
        yield DataWarning(
            f"{_count(within, 'pair')} of nearly identical images {where} ({_some(pairs, within)})",
            "look whether they are one photograph, and give them one patient or remove one",
        )


def _label_warnings(found: Mapping[str, Any]) -> Iterator[DataWarning]:
    if found["classes"] is None:
        return
    counts = found["classes"]["all"]
    if len(counts) == 1:
        yield DataWarning(
            f"all labelled images are of one class, '{next(iter(counts))}'",
            "give images of two classes or more",
            stops=True,
        )
    if found["unlabelled"]:
        yield DataWarning(
            f"{_count(found['unlabelled'], 'image')} without a label",
            "label them, or leave them out of the table",
        )
    if (found["imbalance"] or 0) > STRONG_IMBALANCE:
        large, small = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        yield DataWarning(
            f"class '{large}' has {found['imbalance']:.0f} times the images of class '{small}' "
            f"({counts[large]:,} to {counts[small]:,})",
            "try --set sampling=balanced or --set class_weights=balanced; judge by balanced accuracy or AUROC",
        )
    for split, of_split in found["classes"].items():
        few = {name: n for name, n in of_split.items() if n < FEW_OF_A_CLASS}
        if few and split != "all" and len(counts) > 1:
            names = ", ".join(f"'{name}': {n}" for name, n in few.items())
            effect = "hardly to be learned" if split == "train" else "their scores say little"
            yield DataWarning(
                f"fewer than {FEW_OF_A_CLASS} images of a class in {split} ({names})",
                f"{effect}: add images, merge classes, or split anew",
            )


def _finding_warnings(found: Mapping[str, Any]) -> Iterator[DataWarning]:
    findings = found["findings"] or {}
    splits = dict.fromkeys(split for parts in findings.values() for split in parts)
    for split in splits:
        few = [
            f"'{name}': {parts[split][side]} {side}"
            for name, parts in findings.items()
            for side in ("positive", "negative")
            if parts[split][side] < FEW_OF_A_CLASS
        ]
        if few and (split != "all" or len(splits) == 1):
            where = "" if split == "all" else f" in {split}"
            yield DataWarning(
                f"fewer than {FEW_OF_A_CLASS} images of a kind{where} ({_some(few)})",
                "add images, leave the finding out, or split anew",
            )


def _some(names: list[str], total: int | None = None, between: str = ", ") -> str:
    shown = between.join(names[:_SHOWN])
    left = (len(names) if total is None else total) - min(len(names), _SHOWN)
    return f"{shown} and {left:,} more" if left > 0 else shown


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
