"""What a plan knows of the data and the machine: the named facts that rules may ask for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Shaped

from modicum.data.manifest import LABELS_PREFIX, REFERENCE, SPLITS, Manifest
from modicum.errors import InputError, did_you_mean
from modicum.tasks.classification.positive_class import denies
from modicum.wording import listed

GOALS = ("classify", "segment", "translate", "enhance", "detect", "pretrain", "quality", "anomaly")
SIDE_UNIT, LARGEST_SIDE = 32, 1024
TEST_SHARE = 0.15
"""Of the patients, where the data give no split; a rule may choose otherwise."""


@dataclass(frozen=True)
class Fact:
    """A fact that rules can ask for.

    Attributes:
        kind: ``number``, ``yes or no`` or ``word``.
        words: what it is.
        values: of a word, all that it can be; empty for any.
    """

    kind: str
    words: str
    values: tuple[str, ...] = ()


_COLOUR = ("RGB", "YBR", "P", "CMYK", "YCBCR", "HSV")
"""Beginnings of the names of pixel types with colour: PIL's, and DICOM's photometric interpretations."""
_KINDS = ("binary", "multi-class", "multi-label", "one class")
FACTS: Mapping[str, Fact] = {
    "goal": Fact("word", "what is to be learned", GOALS),
    "method": Fact("word", "the method, once a rule has chosen it"),
    # --- the images
    "images": Fact("number", "images in all"),
    "broken": Fact("number", "images that cannot be read"),
    "side": Fact("number", "median of the shorter side, in pixels"),
    "smallest_side": Fact("number", "shortest side of any image, in pixels"),
    "window_side": Fact("number", f"the median side as a multiple of {SIDE_UNIT}, at most {LARGEST_SIDE}"),
    "wide": Fact("yes or no", "the median image is over 1.2 times as wide as high"),
    "colour": Fact("yes or no", "most images have colour channels"),
    "round_field": Fact("yes or no", "a bright colour field with dark corners, as in photographs of the retina"),
    # --- people, labels
    "patients": Fact("number", "patients; of images without, each counts as one"),
    "patients_known": Fact("yes or no", "the data say who the patients are"),
    "both_eyes": Fact("yes or no", "most patients have an image of each eye"),
    "kind": Fact("word", "what the labels are", _KINDS),
    "classes": Fact("number", "classes, or findings of several labels an image"),
    "ordered": Fact("yes or no", "the classes are grades 0, 1, 2, ..."),
    "labelled": Fact("number", "images with a label"),
    "labelled_share": Fact("number", "their share of all images"),
    "labelled_patients": Fact("number", "patients with a label"),
    "smallest_class": Fact("number", "images of the rarest class, or positives of the rarest finding"),
    "rarest": Fact("word", "its name"),
    "imbalance": Fact("number", "images of the most frequent class for each of the rarest"),
    "normal_class": Fact("yes or no", "one class reads as normal (0, normal, healthy, no ...)"),
    "abnormal": Fact("number", "images of the other classes"),
    "unread_columns": Fact("number", "columns of the table that have no role"),
    "unread": Fact("word", "their names"),
    "reference": Fact("yes or no", "an annotated abnormal image stands in split 'reference'"),
    # --- what lies beside the images
    "masks": Fact("number", "images with a mask"),
    "targets": Fact("number", "images with a target image"),
    "boxes": Fact("number", "images with boxes"),
    "reports": Fact("number", "images with a report that can be used"),
    "report_share": Fact("number", "their share of all images"),
    # --- splits and flaws
    "domains": Fact("number", "domains (scanners, sites, data sets); 0 where none are named"),
    "split_given": Fact("yes or no", "the data name training images"),
    "train": Fact("number", "training images, given or expected"),
    "test": Fact("number", "test images, given or expected"),
    "test_patients": Fact("number", "test patients, given or expected"),
    "absent_classes": Fact("number", "classes that a split lacks"),
    "absent": Fact("word", "which, and where"),
    "leaks": Fact("number", "pairs of images that are one, or of one patient, in two splits"),
    "duplicates": Fact("number", "images that are in the data again"),
    "near_duplicates": Fact("number", "pairs of images that look alike"),
    "contradictions": Fact("number", "copies with different labels"),
    # --- the machine, and what was asked for
    "gpu": Fact("yes or no", "a GPU trains"),
    "memory_gb": Fact("number", "memory that training may use, in GB"),
    "hours": Fact("number", "time that training may take, in hours"),
    "pretrained": Fact("yes or no", "weights to start from are at hand: a file, a run, or the model hub"),
    "transformer": Fact("yes or no", "the backbone that was asked for is a plain vision transformer"),
    "backbone_given": Fact("yes or no", "a backbone was asked for"),
}  # fmt: skip
"""All facts by name. Those that are not known of some data are None there, and meet no condition."""

Facts = dict[str, Any]


def facts_of_data(manifest: Manifest, fingerprint: Mapping[str, Any]) -> Facts:
    """The facts of a data set.

    Args:
        manifest: its images, also those without labels.
        fingerprint: as :func:`modicum.data.checks.fingerprint.fingerprint` makes it of them.
    """
    images = max(1, int(fingerprint["images"]))
    reports = (fingerprint.get("reports") or {}).get("count", 0)
    modes = fingerprint["modes"]
    colour = sum(count for mode, count in modes.items() if mode.upper().startswith(_COLOUR))
    facts: Facts = dict.fromkeys(FACTS)
    facts |= {
        "images": fingerprint["images"],
        "broken": fingerprint["broken"],
        "colour": 2 * colour > sum(modes.values()),
        "unread_columns": len(fingerprint["columns"]),
        "unread": listed(fingerprint["columns"], 6) or None,
        "patients": fingerprint["patients"] or fingerprint["images"],
        "patients_known": fingerprint["patients"] is not None,
        "both_eyes": 2 * (fingerprint["eye_pairs"] or 0) > (fingerprint["patients"] or 0),
        "kind": fingerprint["task"],
        "masks": _masks(manifest),
        "targets": fingerprint["targets"],
        "boxes": (fingerprint.get("boxes") or {}).get("images", 0),
        "reports": reports,
        "report_share": reports / images,
        "domains": len(fingerprint["domains"]),
        "reference": _has_reference(manifest),
        **{name: fingerprint[name] for name in ("leaks", "duplicates", "near_duplicates", "contradictions")},
        **_sides(fingerprint),
        **_labels(manifest, fingerprint),
        **_splits(manifest, fingerprint),
    }
    return facts


def round_field(pictures: Sequence[Shaped[np.ndarray, "channels height width"]]) -> bool:
    """Whether most pictures show a bright colour field with four dark corners.

    Args:
        pictures: some images, in ``[0, 1]``.
    """
    return bool(2 * sum(map(_is_round, pictures)) > len(pictures))


def _is_round(pixels: Shaped[np.ndarray, "channels height width"]) -> bool:
    if pixels.shape[0] != 3:
        return False
    grey = pixels.astype(np.float32).mean(axis=0)
    height, width = (max(1, side // 20) for side in grey.shape)
    corners = [grey[:height, :width], grey[:height, -width:], grey[-height:, :width], grey[-height:, -width:]]
    rows, columns = (slice(side // 3, max(side // 3 + 1, 2 * side // 3)) for side in grey.shape)
    return bool(max(corner.mean() for corner in corners) < 0.12 and grey[rows, columns].mean() > 0.15)


def _masks(manifest: Manifest) -> int:
    """Images with a mask that are not reference images."""
    table = manifest.table
    names = [name for name in table if name == "mask" or str(name).startswith("masks:")]
    if not names:
        return 0
    return int((table[names].notna().any(axis=1) & ~_reference_rows(manifest)).sum())


def _reference_rows(manifest: Manifest) -> Any:
    table = manifest.table
    return table["split"] == REFERENCE if "split" in table else np.zeros(len(table), dtype=bool)


def _has_reference(manifest: Manifest) -> bool:
    return bool(_reference_rows(manifest).any())


def _sides(fingerprint: Mapping[str, Any]) -> Facts:
    height, width = fingerprint["height"], fingerprint["width"]
    if not height or not width:
        return {}
    side = int(min(height["median"], width["median"]))
    rounded = SIDE_UNIT * round(side / SIDE_UNIT)
    return {
        "side": side,
        "smallest_side": min(height["min"], width["min"]),
        "window_side": min(LARGEST_SIDE, max(SIDE_UNIT, rounded)),
        "wide": width["median"] > 1.2 * height["median"],
    }


def _labels(manifest: Manifest, fingerprint: Mapping[str, Any]) -> Facts:
    table, images = manifest.table, max(1, len(manifest))
    if fingerprint["findings"]:
        counts = {name: parts["all"]["positive"] for name, parts in fingerprint["findings"].items()}
        names = [f"{LABELS_PREFIX}{name}" for name in counts]
        has = table[names].notna().any(axis=1)
    elif fingerprint["classes"]:
        counts = dict(fingerprint["classes"]["all"])
        has = table["label"].notna()
    else:
        return {"labelled": 0, "labelled_share": 0.0, "labelled_patients": 0, "classes": 0}
    labelled = table[has]
    people = labelled["patient"] if "patient" in table else None
    patients = len(labelled) if people is None else people.nunique() + int(people.isna().sum())
    rarest = min(counts, key=lambda name: (counts[name], name)) if counts else None
    normal = (
        []
        if fingerprint["findings"]
        else [name for name in counts if denies(name, [n for n in counts if n != name])]
    )
    values = list(counts.values())
    return {
        "classes": len(counts),
        "ordered": not fingerprint["findings"]
        and len(counts) > 2
        and sorted(counts) == [str(number) for number in range(len(counts))],
        "labelled": len(labelled),
        "labelled_share": len(labelled) / images,
        "labelled_patients": patients,
        "smallest_class": min(values, default=None),
        "rarest": rarest,
        "imbalance": max(values) / max(1, min(values)) if len(values) > 1 else None,
        "normal_class": bool(normal),
        "abnormal": sum(counts[name] for name in counts if name not in normal) if normal else None,
    }


def _splits(manifest: Manifest, fingerprint: Mapping[str, Any]) -> Facts:
    splits = fingerprint["splits"]
    given = splits.get("train", 0) > 0
    patients = fingerprint["patients"] or fingerprint["images"]
    if not given:
        return {
            "split_given": False,
            "train": math.floor((1 - 2 * TEST_SHARE) * fingerprint["images"]),
            "test": round(TEST_SHARE * fingerprint["images"]),
            "test_patients": round(TEST_SHARE * patients),
            "absent_classes": 0,
        }
    table = manifest.table
    test = table[table["split"] == "test"]
    people = test["patient"] if "patient" in table else None
    absent = [
        f"{name} in {split}"
        for split in SPLITS
        if split in (fingerprint["classes"] or {})
        for name, count in fingerprint["classes"][split].items()
        if count == 0
    ]
    return {
        "split_given": True,
        "train": splits["train"],
        "test": splits.get("test", 0),
        "test_patients": len(test) if people is None else people.nunique() + int(people.isna().sum()),
        "absent_classes": len(absent),
        "absent": listed(absent) or None,
    }


def check_goal(goal: str | None) -> None:
    """Raises :class:`InputError` for a goal that no rule can have."""
    if goal is not None and goal not in GOALS:
        raise InputError(f"unknown goal '{goal}'", did_you_mean(goal, GOALS))
