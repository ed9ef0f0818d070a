"""Which of the images that are evaluated a run has learned from, also where they were saved anew since."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from modicum.data.checks.copies import near_hashes, resembling
from modicum.data.manifest import Manifest
from modicum.engine.inputs.preparation import PreparedData
from modicum.engine.run_folder import RunFolder
from modicum.wording import count_of

Counts = dict[str, int]


def seen_before(folder: RunFolder, prepared: PreparedData) -> dict[str, Counts | None]:
    """How many of the images the run learned from (``train``) or chose its weights by (``val``).

    Args:
        folder: of the run.
        prepared: the images that are evaluated.

    Returns:
        ``seen``: by the SHA-256 of their files. ``resembling``: of the others, those whose hash of appearance is nearly
        that of one that the run has seen: the same picture saved anew, or another of the same place; None where there are
        too many to compare.
    """
    table = Manifest.read_saved(folder.manifest, Path()).table
    if not {"sha256", "split"} <= set(table):  # a run of an older version
        return {"seen": {}, "resembling": {}}
    used = table[table["split"].isin(["train", "val"])]
    facts = [prepared.store.facts[position] for position in prepared.positions]
    splits = dict(zip(used["sha256"], used["split"], strict=True))
    seen = Counter(splits[fact.sha256] for fact in facts if fact.sha256 in splits)
    others = [fact for fact in facts if fact.sha256 not in splits]
    return {"seen": dict(seen), "resembling": _resembling(near_hashes(others), used)}


def _resembling(hashes: Iterable[str], used: pd.DataFrame) -> Counts | None:
    if "near_hash" not in used:
        return {}
    nearest = resembling(list(hashes), [str(text) for text in used["near_hash"]])
    if nearest is None:
        return None
    return dict(Counter(used["split"].iloc[index] for index in nearest if index >= 0))


def seen_notes(content: Mapping[str, Any]) -> list[str]:
    """What a user should know of the scores of an evaluation, from its ``seen`` and ``resembling``."""
    images, notes = content["images"], []
    if seen := sum(content["seen"].values()):
        notes.append(
            f"these scores are optimistic: {seen} of {images} images were in the training data; "
            "evaluate images that the run has not seen"
        )
    if content["resembling"] is None:
        notes.append("too many images to look for near-duplicates of the training images among them")
    elif alike := sum(content["resembling"].values()):
        notes.append(
            f"these scores are likely optimistic: {count_of(alike, 'image')} of {images} look nearly the same as "
            "training images (saved anew, or of the same patient); evaluate images that the run has not seen"
        )
    return notes
