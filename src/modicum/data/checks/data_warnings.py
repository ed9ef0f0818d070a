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


def data_warnings(fingerprint: Mapping[str, Any]) -> list[DataWarning]:
    """The warnings that a fingerprint (as :func:`modicum.data.checks.fingerprint.fingerprint` makes it) gives cause for.

    Those that stop training come first.
    """
    every = [
        *_file_warnings(fingerprint),
        *_repeat_warnings(fingerprint),
        *_label_warnings(fingerprint),
        *_finding_warnings(fingerprint),
        *_report_warnings(fingerprint),
        *_box_warnings(fingerprint),
    ]
    return sorted(every, key=lambda warning: not warning.stops)


def _file_warnings(fingerprint: Mapping[str, Any]) -> Iterator[DataWarning]:
    if fingerprint["broken"]:
        yield DataWarning(
            f"{count_of(fingerprint['broken'], 'image')} cannot be read",
            "repair or remove them, or pass --skip-broken to fit",
            stops=True,
            examples=_first(f"{item['image']}: {item['reason']}" for item in fingerprint["broken_files"]),
        )
    if fingerprint["mislabelled"]:
        yield DataWarning(
            f"{count_of(fingerprint['mislabelled'], 'file')} of another format than the name says",
            "read all the same; rename them, other programs may refuse them",
            examples=_first(
                f"{item['image']} is {item['format'].upper()}" for item in fingerprint["mislabelled_files"]
            ),
        )


def _repeat_warnings(fingerprint: Mapping[str, Any]) -> Iterator[DataWarning]:
    if fingerprint["leaks"]:
        yield DataWarning(
            f"{count_of(fingerprint['leaks'], 'leak')} between splits",
            "correct the split, or pass --leaks drop to fit, which takes the training side out",
            stops=True,
            examples=_first(leak["text"] for leak in fingerprint["leak_pairs"]),
        )
    if fingerprint.get("contradictions"):
        yield DataWarning(
            f"{count_of(fingerprint['contradictions'], 'picture')} in the data under labels that contradict each other",
            "correct the labels, or take these images out: nothing can be learned from them, and no score is right",
            examples=_first(" = ".join(group[:3]) for group in fingerprint["contradiction_groups"]),
        )
    if fingerprint["duplicates"]:
        yield DataWarning(
            f"{count_of(fingerprint['duplicates'], 'image')} identical to another",
            "remove the copies: what is there twice counts double",
            examples=_first(" = ".join(group[:3]) for group in fingerprint["duplicate_groups"]),
        )
    within = fingerprint["near_duplicates"] - fingerprint["leaks_by_kind"].get("near-duplicate", 0)
    if within > 0:
        leaked = {frozenset((leak["first"], leak["second"])) for leak in fingerprint["leak_pairs"]}
        pairs = [(pair["first"], pair["second"]) for pair in fingerprint["near_duplicate_pairs"]]
        number = fingerprint.get("near_contradictions", 0)
        contrary = f"; {count_of(number, 'pair')} under different labels" if number else ""
        where = "under different patients" if fingerprint["patients"] else "in the data"
        yield DataWarning(
            f"{count_of(within, 'pair')} of nearly identical images {where}",
            "see whether they are one photograph; give them one patient, or remove one" + contrary,
            examples=_first(
                f"{one} ≈ {other}" for one, other in pairs if frozenset((one, other)) not in leaked
            ),
        )


def _label_warnings(fingerprint: Mapping[str, Any]) -> Iterator[DataWarning]:
    if fingerprint["classes"] is None:
        return
    counts = fingerprint["classes"]["all"]
    if len(counts) == 1:
        yield DataWarning(
            f"all labelled images are of one class, '{next(iter(counts))}'",
            "give images of two classes or more",
            stops=True,
        )
    if fingerprint["unlabelled"]:
        yield DataWarning(
            f"{count_of(fingerprint['unlabelled'], 'image')} without a label",
            "label them, or leave them out of the table",
        )
    if (fingerprint["imbalance"] or 0) > STRONG_IMBALANCE:
        large, small = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        yield DataWarning(
            f"class '{large}' has {fingerprint['imbalance']:.0f} times the images of class '{small}' "
            f"({counts[large]:,} to {counts[small]:,})",
            "try --set sampling=balanced or --set class_weights=balanced; judge by balanced accuracy or AUROC",
        )
    unlearned = {n: c for n, c in counts.items() if c and not fingerprint["classes"].get("train", counts)[n]}
    if unlearned:
        names = listed((f"'{name}' ({n} elsewhere)" for name, n in unlearned.items()), _LONGEST)
        yield DataWarning(
            f"no training image of class {names}",
            "it cannot be learned, and its images count as mistakes: add training images, split anew, or leave it out",
        )
    for split, of_split in fingerprint["classes"].items():
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


def _finding_warnings(fingerprint: Mapping[str, Any]) -> Iterator[DataWarning]:
    findings = fingerprint["findings"] or {}
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


def _report_warnings(fingerprint: Mapping[str, Any]) -> Iterator[DataWarning]:
    remedies = {
        "set aside": "mend them, or go on: their images are learned from without a report",
        "changed": "see that they are read as they were meant",
    }
    for item in fingerprint["reports"]["unusual"] if fingerprint["reports"] else ():
        yield DataWarning(
            f"{count_of(item['count'], 'report')} {item['what']}: {item['reason']}",
            remedies[item["what"]],
            examples=_first(item["places"]),
        )


def _box_warnings(fingerprint: Mapping[str, Any]) -> Iterator[DataWarning]:
    boxes = fingerprint.get("boxes")
    if boxes and boxes["problem"]:
        yield DataWarning(boxes["problem"], boxes["remedy"], stops=True)


def _first(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(islice(texts, _SHOWN))
