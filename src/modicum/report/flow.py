"""Where every image went: found, set aside and why, splits, evaluated. The numbers add up."""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modicum.report.files import Evaluation, RunFiles, as_mapping, number

if TYPE_CHECKING:
    import pandas as pd

_SPLITS = (("train", "Training"), ("val", "Validation"), ("test", "Test"))
_REASONS = {
    "broken": "could not be read",
    "quality": "of low quality, by another run",
    "leaks": "leaked between splits",
    "beside": "a file beside them (a mask, say) could not be read",
}
UNUSED = "Left out of all splits"


@dataclass(frozen=True)
class Part:
    """A split, or other data that were evaluated.

    Attributes:
        name: as a title.
        images: in it.
        patients: of these; None where none is known.
        evaluated: images that were predicted and scored; None where the part was not evaluated.
        set_aside: of other data, images that could not be read, beside ``images``.
    """

    name: str
    images: int
    patients: int | None
    evaluated: int | None = None
    set_aside: int = 0

    @property
    def not_evaluated(self) -> int:
        """Images of an evaluated part that were not scored, for want of a truth to compare with."""
        return 0 if self.evaluated is None else self.images - self.evaluated


@dataclass(frozen=True)
class Flow:
    """The way of the images of a run.

    Attributes:
        found: images that the data list, without those that their reader left out.
        set_aside: reasons and numbers of images; with ``kept`` they add up to ``found``.
        kept: images that were used, or could have been.
        parts: splits, and images in none; they add up to ``kept``.
        others: data sets that were evaluated besides.
        details: reasons of broken images as they were noted, with numbers.
    """

    found: int
    set_aside: tuple[tuple[str, int], ...]
    kept: int
    parts: tuple[Part, ...]
    others: tuple[Part, ...]
    details: tuple[tuple[str, int], ...] = ()

    @property
    def adds_up(self) -> bool:
        """Whether all sums are right."""
        aside = sum(amount for _, amount in self.set_aside)
        parts = sum(part.images for part in self.parts)
        return self.found == aside + self.kept and self.kept == parts


def flow_of(run: RunFiles) -> Flow | None:
    """Counts the images of a run from its files; None without a manifest."""
    table = run.manifest
    if table is None or not len(table):
        return None
    noted = as_mapping(run.fingerprint.get("flow"))
    details = _broken_reasons(run)
    kept = len(table)
    if noted:
        counts = {key: int(number(noted.get(key)) or 0) for key in ("broken", "quality", "leaks")}
        listed = int(number(noted.get("listed")) or 0)
        counts["beside"] = max(0, listed - kept - sum(counts.values()))
    else:  # a run of an earlier version, which noted broken images alone
        counts = {"broken": run.broken}
    aside = tuple((_REASONS[key], amount) for key, amount in counts.items() if amount)
    parts = _parts(run)
    of_run = {name for name, _ in _SPLITS}
    others = tuple(_other(evaluation) for evaluation in run.evaluations if evaluation.name not in of_run)
    found = kept + sum(amount for _, amount in aside)
    return Flow(found, aside, kept, tuple(parts), others, details)


def _parts(run: RunFiles) -> list[Part]:
    table = run.manifest
    assert table is not None
    splits = table["split"] if "split" in table else table["image"].map(lambda _: "")
    scored = {evaluation.name: _predicted(evaluation) for evaluation in run.evaluations}
    names = [*_SPLITS, *((name, name) for name in sorted(set(splits) - {"", *(key for key, _ in _SPLITS)}))]
    parts = []
    for key, title in [*names, ("", UNUSED)]:
        rows = table[splits == key]
        if len(rows):
            parts.append(Part(title, len(rows), _patients(rows), scored.get(key)))
    return parts


def _patients(rows: "pd.DataFrame") -> int | None:
    if "patient" not in rows or not (rows["patient"] != "").any():
        return None
    return int(rows["patient"].where(rows["patient"] != "", "image:" + rows["image"]).nunique())


def _predicted(evaluation: Evaluation) -> int | None:
    if evaluation.predictions is not None:
        return len(evaluation.predictions)
    images = number(evaluation.info.get("images"))
    return None if images is None else int(images)


def _other(evaluation: Evaluation) -> Part:
    images, patients = _predicted(evaluation) or 0, number(evaluation.info.get("patients"))
    path = evaluation.folder / "broken.csv"
    broken = sum(amount for _, amount in _reasons_in(path)) if path.is_file() else 0
    return Part(evaluation.title, images, None if patients is None else int(patients), images, broken)


def _broken_reasons(run: RunFiles) -> tuple[tuple[str, int], ...]:
    path = run.path / "broken.csv"
    return _reasons_in(path) if path.is_file() else ()


def _reasons_in(path: Path) -> tuple[tuple[str, int], ...]:
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, csv.Error):
        return ()
    counts = Counter(str(row.get("reason") or "no reason noted") for row in rows)
    return tuple(counts.most_common())
