"""Whether the regions that a sentence reads are those of the finding that it names, on made radiographs.

For each test image with a finding and the sentence of its own report that names it: the AUROC, over the image's regions,
of how much the sentence reads of a region against whether a quarter of the region or more is inside the finding. 0.5 is
chance.
"""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from modicum.data.layouts import load_manifest
from modicum.data.phantoms.chest import chest
from modicum.data.phantoms.dataset import patient_seed
from modicum.data.reports import split_sentences
from modicum.engine.inference.image_text import ImageTextRun

INSIDE = 0.25
WORDS = {
    "consolidation": "consolidation",
    "nodule": "nodule",
    "pneumothorax": "pneumothorax",
    "effusion_left": "left.*effusion|effusion.*left",
    "effusion_right": "right.*effusion|effusion.*right",
}
"""Findings in one place, and how their sentences are known."""


def sentence_of(report: str, finding: str) -> str | None:
    """The sentence of the findings that says that one is there."""
    for sentence in split_sentences(report):
        text = sentence.lower().removeprefix("findings:").strip()
        if not re.match(r"no |there is no|impression", text) and re.search(WORDS[finding], text):
            return text
    return None


def masks_of(data: Path, table: Any, seed: int, side: int) -> dict[str, np.ndarray]:
    """Masks of the findings of test patients, by patient and finding; made once."""
    path = data.parent / "masks.npz"
    if not path.is_file():
        made = {}
        for name in table.loc[table["split"] == "test", "patient"]:
            phantom = chest(patient_seed(seed, int(name[1:])), side)
            made |= {f"{name} {finding}": mask for finding, mask in phantom.masks.items() if finding in WORDS}
        np.savez_compressed(path, **made)
    with np.load(path) as kept:
        return {key: kept[key] for key in kept.files}


def cases(data: Path, seed: int, side: int) -> list[tuple[Any, str, str, np.ndarray]]:
    """Image, finding, sentence and mask of each finding of each test image."""
    manifest = load_manifest(data)
    table, refs = manifest.table, manifest.refs()
    masks = masks_of(data, table, seed, side)
    found = []
    for row in np.flatnonzero(table["split"] == "test"):
        for finding in WORDS:
            mask = masks.get(f"{table['patient'].iloc[row]} {finding}")
            sentence = sentence_of(str(table["report"].iloc[row]), finding)
            if mask is not None and mask.any() and sentence is not None:
                found.append((refs[row], finding, sentence, mask))
    return found


@torch.no_grad()
def readings(run: ImageTextRun, refs: list[Any], sentences: list[str]) -> np.ndarray:
    """How much each sentence reads of its image's regions ``[n, rows, columns]``."""
    texts = list(run.texts(sentences))
    made = []
    for (indices, encoded, _), part in zip(run.images(refs), texts, strict=True):
        assert encoded is not None
        assert len(indices) == len(part.whole)
        for place in range(len(indices)):
            image, text = (
                type(one)(*(tensor[place : place + 1] for tensor in one)) for one in (encoded, part)
            )
            reading = run.model.reading(image, text)
            assert reading is not None
            made.append(reading[0, 0][text.present[0]].mean(0).unflatten(0, run.model.grid).numpy())
    return np.stack(made)


def measured(run: Any, data: Path, seed: int, side: int) -> dict[str, float] | None:
    """The mean over cases, and their number; None for a run whose regions are no places."""
    opened = ImageTextRun.open(run.folder, None, "cpu", 64)  # as many as texts at a time
    if opened.model.grid is None:
        return None
    every = cases(data, seed, side)
    maps = readings(opened, [case[0] for case in every], [case[2] for case in every])
    scores = []
    for (_, _, _, mask), reading in zip(every, maps, strict=True):
        rows, columns = reading.shape
        inside = cv2.resize(mask.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA) >= INSIDE
        if inside.any() and not inside.all():
            scores.append(roc_auc_score(inside.ravel(), reading.ravel()))
    return {"value": float(np.mean(scores)), "cases": len(scores)}
