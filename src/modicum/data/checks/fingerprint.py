"""What a data set is like, as plain values that fit in a JSON file: the base of ``inspect``, plans and reports.

Schema 1. Counts are whole numbers; a value that cannot be known is null. Quantiles are a mapping of ``min``, ``p5``,
``p25``, ``median``, ``p75``, ``p95``, ``max``. Lists of images and places are cut off after 100, their counts are not.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modicum.atomic_files import write_text
from modicum.data.boxes import BoxOptions, checked_boxes
from modicum.data.checks.copies import duplicate_groups, facts_by_row, search_copies
from modicum.data.checks.data_warnings import data_warnings
from modicum.data.checks.duplicates import contradictions, leaks
from modicum.data.checks.near_duplicates import NearPair, NearSearch
from modicum.data.checks.scan import ScanResult
from modicum.data.image_facts import ImageFacts
from modicum.data.manifest import COLUMNS, LABELS_PREFIX, SPLITS, Manifest, split_reference
from modicum.data.slice_notes import slice_notes
from modicum.errors import InputError

SCHEMA = 1
LISTED = 100
_QUANTILES = {"min": 0.0, "p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}


def fingerprint(
    manifest: Manifest,
    scanned: ScanResult,
    task: str | None = None,
    stores: Path | None = None,
    box_options: BoxOptions | Mapping[str, Any] | None = None,
    near: Sequence[NearPair] | None = None,
) -> dict[str, Any]:
    """Describes a data set.

    Args:
        manifest: the images and what is known of them.
        scanned: what was found in the files; facts are matched to rows by their ``ref``.
        task: ``multi-class``, ``multi-label``, ...; read off the labels where it is not given.
        stores: folder where the near-duplicates that were found are remembered.
        box_options: how boxes are read.
        near: the near-duplicates, where they are known.
    """
    by_row = facts_by_row(manifest, scanned.facts)
    facts = [fact for fact in by_row if fact is not None]
    copies = search_copies(manifest, by_row, stores=stores) if near is None else NearSearch(list(near), [])
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "name": manifest.name,
        "source": manifest.source,
        "task": task or _task(manifest),
        "images": len(manifest),
        "readable": len(facts),
        **_files(facts),
        **_people(manifest),
        "domains": _counts(manifest, "domain"),
        "splits": _splits(manifest),
        **_labels(manifest),
        **_other_columns(manifest),
        "boxes": _boxes(manifest, by_row, BoxOptions.of(box_options)),
        **_repeats(manifest, by_row, copies.pairs),
        "broken": len(scanned.broken),
        "broken_files": [{"image": b.image, "reason": b.reason} for b in scanned.broken[:LISTED]],
        "notes": [*manifest.notes, *slice_notes(manifest, by_row), *copies.limits],
    }
    content["warnings"] = [{**vars(w), "examples": list(w.examples)} for w in data_warnings(content)]
    return content


def write_fingerprint(facts: dict[str, Any], path: Path) -> None:
    """Writes ``fingerprint.json`` in one step.

    Raises:
        ResourceError: the disk is full.
    """
    write_text(Path(path), json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def quantiles(values: Iterable[int | float]) -> dict[str, int | float] | None:
    """Least, largest, median and four more quantiles; None of nothing."""
    array = np.asarray(list(values), np.float64)
    if not array.size:
        return None
    return {name: _rounded(np.quantile(array, at)) for name, at in _QUANTILES.items()}


def _rounded(value: float) -> int | float:
    """Whole numbers as such, others to six figures."""
    value = float(f"{value:.6g}") if not float(value).is_integer() else float(value)
    return int(value) if value.is_integer() else value


def _files(facts: Sequence[ImageFacts]) -> dict[str, Any]:
    wrong = [fact for fact in facts if fact.mislabelled]
    spacings = [fact.spacing for fact in facts if fact.spacing is not None]
    return {
        "formats": _counted(fact.format for fact in facts),
        "bits": _counted(str(fact.bits) for fact in facts),
        "modes": _counted(fact.mode for fact in facts),
        "height": quantiles(fact.height for fact in facts),
        "width": quantiles(fact.width for fact in facts),
        "bytes": sum({split_reference(fact.ref)[0]: fact.bytes for fact in facts}.values()),
        "spacing": {
            "known": len(spacings),
            "row": quantiles(row for row, _ in spacings),
            "column": quantiles(column for _, column in spacings),
        },
        "intensity": _intensity(facts),
        "mislabelled": len(wrong),
        "mislabelled_files": [{"image": fact.ref, "format": fact.format} for fact in wrong[:LISTED]],
    }


def _intensity(facts: Sequence[ImageFacts]) -> dict[str, Any] | None:
    """Grey levels in [0, 1]; overall, every image weighs the same (law of total variance)."""
    if not facts:
        return None
    means, stds = np.array([fact.mean for fact in facts]), np.array([fact.std for fact in facts])
    overall = {"mean": means.mean(), "std": np.sqrt((stds**2).mean() + means.var())}
    return {
        "mean": quantiles(means),
        "std": quantiles(stds),
        "low": quantiles(fact.low for fact in facts),
        "high": quantiles(fact.high for fact in facts),
        "overall": {name: _rounded(value) for name, value in overall.items()},
    }


def _people(manifest: Manifest) -> dict[str, Any]:
    table = manifest.table
    eyes = _counts(manifest, "eye")
    if "patient" not in table or not table["patient"].notna().any():
        return {"patients": None, "images_per_patient": None, "eyes": eyes, "eye_pairs": None}
    images = table["patient"].value_counts()
    pairs = None
    if eyes:
        complete = table.dropna(subset=["patient", "eye"])
        sides = complete[complete["eye"].isin(["L", "R"])].groupby("patient")["eye"].nunique()
        pairs = int((sides == 2).sum())
    return {
        "patients": len(images),
        "images_per_patient": quantiles(images),
        "images_without_patient": int(table["patient"].isna().sum()),
        "eyes": eyes,
        "eye_pairs": pairs,
    }


def _task(manifest: Manifest) -> str | None:
    if manifest.findings:
        return "multi-label"
    return {0: None, 1: "one class", 2: "binary"}.get(len(manifest.classes()), "multi-class")


def _splits(manifest: Manifest) -> dict[str, int]:
    counts = _counts(manifest, "split")
    ordered = {split: counts[split] for split in SPLITS if split in counts}
    rest = len(manifest) - sum(ordered.values())
    return {**ordered, "none": rest} if ordered and rest else ordered


def _parts(manifest: Manifest) -> dict[str, pd.DataFrame]:
    """All rows, and those of each split."""
    parts = {"all": manifest.table}
    for split in SPLITS:
        if len(part := manifest.part(split)):
            parts[split] = part.table
    return parts


def _labels(manifest: Manifest) -> dict[str, Any]:
    parts = _parts(manifest)
    if manifest.findings:
        findings = {
            name: {part: _finding(t, name) for part, t in parts.items()} for name in manifest.findings
        }
        return {"classes": None, "unlabelled": 0, "imbalance": None, "findings": findings}
    if "label" not in manifest.table:
        return {"classes": None, "unlabelled": None, "imbalance": None, "findings": None}
    names = manifest.classes()
    classes = {part: {name: int((t["label"] == name).sum()) for name in names} for part, t in parts.items()}
    counts = list(classes["all"].values())
    return {
        "classes": classes,
        "unlabelled": int(manifest.table["label"].isna().sum()),
        "imbalance": _rounded(max(counts) / min(counts)) if len(counts) > 1 else None,
        "findings": None,
    }


def _finding(table: pd.DataFrame, name: str) -> dict[str, Any]:
    """Counts, and the share of positives among the known."""
    values = table[LABELS_PREFIX + name]
    positive, negative = int((values == 1).sum()), int((values == 0).sum())
    labelled = positive + negative
    return {
        "positive": positive,
        "negative": negative,
        "unknown": len(values) - labelled,
        "prevalence": _rounded(positive / labelled) if labelled else None,
    }


def _other_columns(manifest: Manifest) -> dict[str, Any]:
    table = manifest.table
    return {
        "reports": _reports(manifest),
        "columns": [str(c) for c in table if c not in COLUMNS and not str(c).startswith(LABELS_PREFIX)],
        "masks": int(table["mask"].notna().sum()) if "mask" in table else 0,
        "targets": int(table["target"].notna().sum()) if "target" in table else 0,
    }


def _reports(manifest: Manifest) -> dict[str, Any] | None:
    """Words of the reports that can be used; places and reasons of the others, and nothing of their content."""
    if "report" not in manifest.table or not manifest.table["report"].notna().any():
        return None
    # Imports torch, for which a look at images does not wait.
    from modicum.data.reports import read_reports

    reports = read_reports(manifest)
    texts = reports.present()
    return {
        "count": len(texts),
        "words": quantiles(len(text.split()) for text in texts),
        "set_aside": len(reports.set_aside),
        "changed": len(reports.changed),
        "unusual": [
            {"what": what, "reason": reason, "count": len(places), "places": places[:LISTED]}
            for (what, reason), places in reports.by_reason().items()
        ],
    }


def _boxes(
    manifest: Manifest, facts: Sequence[ImageFacts | None], options: BoxOptions
) -> dict[str, Any] | None:
    """Counts of the boxes that can be used and what was decided of them; or what training would refuse."""
    if "boxes" not in manifest.table:
        return None
    try:
        boxes = checked_boxes(manifest, facts, options)
    except InputError as error:
        given = int(manifest.table["boxes"].notna().sum())
        return {"images": given, "problem": error.problem, "remedy": error.remedy}
    return {
        "images": boxes.images,
        "count": boxes.count,
        "classes": boxes.classes(),
        "notes": boxes.notes,
        "problem": None,
    }


def _repeats(
    manifest: Manifest, facts: Sequence[ImageFacts | None], near: Sequence[NearPair]
) -> dict[str, Any]:
    images = list(manifest.table["image"])
    groups = duplicate_groups(manifest, facts)
    repeats = leaks(manifest, facts, near)
    contrary = contradictions(manifest, groups)
    return {
        "duplicates": sum(len(rows) - 1 for rows in groups),
        "duplicate_groups": [[images[row] for row in rows] for rows in groups[:LISTED]],
        "contradictions": len(contrary),
        "contradiction_groups": [_with_labels(manifest, rows) for rows in contrary[:LISTED]],
        "near_duplicates": len(near),
        "near_contradictions": len(contradictions(manifest, [[p.first, p.second] for p in near])),
        "near_duplicate_pairs": [
            {"first": images[p.first], "second": images[p.second], "similarity": round(p.similarity, 4)}
            for p in near[:LISTED]
        ],
        "leaks": len(repeats),
        "leaks_by_kind": _counted(leak.kind for leak in repeats),
        "leak_pairs": [
            {**vars(leak), "splits": list(leak.splits), "text": str(leak)} for leak in repeats[:LISTED]
        ],
    }


def _with_labels(manifest: Manifest, rows: Sequence[int]) -> list[str]:
    """Images with what is said of them."""
    table = manifest.table
    if manifest.findings:
        findings = {name: table[LABELS_PREFIX + name].to_numpy() for name in manifest.findings}
        labels = [", ".join(name for name, cells in findings.items() if cells[row] == 1) for row in rows]
    else:
        labels = [str(table["label"].iloc[row]) for row in rows]
    return [
        f"{table['image'].iloc[row]} ({label or 'no finding'})"
        for row, label in zip(rows, labels, strict=True)
    ]


def _counts(manifest: Manifest, column: str) -> dict[str, int]:
    return _counted(manifest.table[column].dropna()) if column in manifest.table else {}


def _counted(values: Iterable[str]) -> dict[str, int]:
    """Names and counts, the most frequent first."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
