"""What a user should know of a data set before training on it, each with what to do about it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from modicum.wording import count_of, listed

STRONG_IMBALANCE = 10
FEW_OF_A_CLASS = 5
_SHOWN = 3
_LONGEST = 8  # list of classes in one line


@dataclass(frozen=True)
class DataWarning:
    """One thing to know.

    Attributes:
        text: the thing and the value.
        remedy: what to do.
        stops: training refuses such data until something is done.
        examples: the first images or pairs that it is about.
    """

    text: str
    remedy: str
    stops: bool = False
    examples: tuple[str, ...] = ()


def data_warnings(found: Mapping[str, Any]) -> list[DataWarning]:
    """The warnings that a fingerprint (as :func:`modicum.data.checks.fingerprint.fingerprint` makes it) gives cause for.

    Those that stop training come first.
    """
    every = [
        *_file_warnings(found),
        *_repeat_warnings(found),
        *_label_warnings(found),
        *_finding_warnings(found),
        *_report_warnings(found),
        *_box_warnings(found),
    ]
    return sorted(every, key=lambda warning: not warning.stops)


def _file_warnings(found: Mapping[str, Any]) -> Iterator[DataWarning]:
    if found["broken"]:
        yield DataWarning(
            f"{count_of(found['broken'], 'image')} cannot be read",
            "repair or remove them, or pass --skip-broken to fit",
            stops=True,
            examples=_first(f"{item['image']}: {item['reason']}" for item in found["broken_files"]),
        )
    if found["mislabelled"]:
        yield DataWarning(
            f"{count_of(found['mislabelled'], 'file')} of another format than the name says",
            "read all the same; rename them, other programs may refuse them",
            examples=_first(
                f"{item['image']} is {item['format'].upper()}" for item in found["mislabelled_files"]
            ),
        )


def _repeat_warnings(found: Mapping[str, Any]) -> Iterator[DataWarning]:
    if found["leaks"]:
        yield DataWarning(
            f"{count_of(found['leaks'], 'leak')} between splits",
            "correct the split, or pass --leaks drop to fit, which takes the training side out",
            stops=True,
            examples=_first(leak["text"] for leak in found["leak_pairs"]),
        )
    if found.get("contradictions"):
        yield DataWarning(
            f"{count_of(found['contradictions'], 'picture')} in the data under labels that contradict each other",
            "correct the labels, or take these images out: nothing can be learned from them, and no score is right",
            examples=_first(" = ".join(group[:3]) for group in found["contradiction_groups"]),
        )
    if found["duplicates"]:
        yield DataWarning(
            f"{count_of(found['duplicates'], 'image')} identical to another",
            "remove the copies: what is there twice counts double",
            examples=_first(" = ".join(group[:3]) for group in found["duplicate_groups"]),
        )
    within = found["near_duplicates"] - found["leaks_by_kind"].get("near-duplicate", 0)
    if within > 0:
        leaked = {frozenset((leak["first"], leak["second"])) for leak in found["leak_pairs"]}
        pairs = [(pair["first"], pair["second"]) for pair in found["near_duplicate_pairs"]]
        number = found.get("near_contradictions", 0)
        contrary = f"; {count_of(number, 'pair')} under different labels" if number else ""
        where = "under different patients" if found["patients"] else "in the data"
        yield DataWarning(
            f"{count_of(within, 'pair')} of nearly identical images {where}",
            "see whether they are one photograph; give them one patient, or remove one" + contrary,
            examples=_first(
                f"{one} ≈ {other}" for one, other in pairs if frozenset((one, other)) not in leaked
            ),
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
            f"{count_of(found['unlabelled'], 'image')} without a label",
            "label them, or leave them out of the table",
        )
    if (found["imbalance"] or 0) > STRONG_IMBALANCE:
        large, small = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        yield DataWarning(
            f"class '{large}' has {found['imbalance']:.0f} times the images of class '{small}' "
            f"({counts[large]:,} to {counts[small]:,})",
            "try --set sampling=balanced or --set class_weights=balanced; judge by balanced accuracy or AUROC",
        )
    unlearned = {n: c for n, c in counts.items() if c and not found["classes"].get("train", counts)[n]}
    if unlearned:
        names = listed((f"'{name}' ({n} elsewhere)" for name, n in unlearned.items()), _LONGEST)
        yield DataWarning(
            f"no training image of class {names}",
            "it cannot be learned, and its images count as mistakes: add training images, split anew, or leave it out",
        )
    for split, of_split in found["classes"].items():
        few = {name: n for name, n in of_split.items() if n < FEW_OF_A_CLASS}
        if split == "train":
            few = {name: n for name, n in few.items() if name not in unlearned}
        if few and split != "all" and len(counts) > 1:
            names = listed((f"'{name}': {n}" for name, n in few.items()), _LONGEST)
            effect = "hardly to be learned" if split == "train" else "their scores say little"
            yield DataWarning(
                f"fewer than {FEW_OF_A_CLASS} images of a class in {split} ({names})",
                f"{effect}: add images, merge classes, or split anew",
            )


def _finding_warnings(found: Mapping[str, Any]) -> Iterator[DataWarning]:
    findings = found["findings"] or {}
    splits = dict.fromkeys(split for parts in findings.values() for split in parts)
    learned = "train" if "train" in splits else "all"
    unknown = [f"'{n}'" for n, p in findings.items() if not p[learned]["positive"] + p[learned]["negative"]]
    if unknown:
        every = len(unknown) == len(findings)
        yield DataWarning(
            f"no known label of finding {listed(unknown, _LONGEST)}"
            + (" in training" if learned == "train" else ""),
            "fill in its column (1 or 0)" if every else "nothing is learned of it: leave its column out",
            stops=every,
        )
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
                f"fewer than {FEW_OF_A_CLASS} images of a kind{where} ({listed(few, _LONGEST)})",
                "add images, leave the finding out, or split anew",
            )


def _report_warnings(found: Mapping[str, Any]) -> Iterator[DataWarning]:
    remedies = {
        "set aside": "mend them, or go on: their images are learned from without a report",
        "changed": "see that they are read as they were meant",
    }
    for item in found["reports"]["unusual"] if found["reports"] else ():
        yield DataWarning(
            f"{count_of(item['count'], 'report')} {item['what']}: {item['reason']}",
            remedies[item["what"]],
            examples=_first(item["places"]),
        )


def _box_warnings(found: Mapping[str, Any]) -> Iterator[DataWarning]:
    boxes = found.get("boxes")
    if boxes and boxes["problem"]:
        yield DataWarning(boxes["problem"], boxes["remedy"], stops=True)


def _first(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(islice(texts, _SHOWN))
