"""Writes the run folder of a translation as the engine does: made slices of patients, their scores and pictures."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from made_run import write_json
from PIL import Image

from modicum.tasks.image_to_image.pictures import comparison_pictures, displacement_grid
from modicum.tasks.image_to_image.scores import TranslationScores

LOSSES = ("adversarial", "correction", "smoothness", "real", "fake")


@dataclass(frozen=True)
class MadeTranslation:
    """What to make.

    Args:
        patients: of each evaluation, by its name.
        slices: of each patient.
        displaced: whether examples have a displacement field.
        empty: whether the last slice of each patient is background alone.
        options: of the task.
    """

    patients: tuple[tuple[str, int], ...] = (("val", 2), ("test", 6))
    slices: int = 8
    displaced: bool = True
    empty: bool = False
    kind: str = "paired"
    options: tuple[tuple[str, Any], ...] = ()
    known_patients: bool = True


def make_translation(folder: Path, run: MadeTranslation = MadeTranslation()) -> Path:
    """Writes a run folder and returns it."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    pairing = "rows" if run.kind == "paired" else "shuffled"
    options = {"pairing": pairing, **dict(run.options)}
    recipe = {
        "method": "reggan",
        "task": "image-to-image",
        "options": options,
        "data": {"source": "made.csv", "leaks": "error"},
        "image": {"size": [64, 64]},
        "backbone": {"name": "resnet50", "weights": "hub"},
    }
    write_json(folder / "recipe.yaml", recipe)
    write_json(
        folder / "model.json", {"task": {"name": "image-to-image", "kind": run.kind, "options": options}}
    )
    _write_history(folder, rng)
    evaluations, rows = {}, [_row("train", i, 0) for i in range(12)]
    for name, patients in run.patients:
        evaluations[name] = _write_evaluation(folder / "evaluations" / name, rng, run, name, patients)
        rows += [_row(name, i, j) for i in range(patients) for j in range(run.slices)]
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    write_json(folder / "status.json", {"state": "finished"})
    metrics = {
        "run": folder.name,
        "task": "image-to-image",
        "kind": run.kind,
        "classes": None,
        "method": "reggan",
        "backbone": None,
        "selection": {"metric": None, "epoch": 12, "step": 144},
        "parameters": {"total": 14_300_000, "learnable": 14_300_000, "learnable_percent": 100.0},
        "evaluations": evaluations,
    }
    write_json(folder / "metrics.json", metrics)
    return folder


def _row(split: str, patient: int, number: int) -> dict[str, str]:
    name = f"{split}-{patient:02d}"
    return {
        "image": f"{name}/t1_{number:03d}.png",
        "target": f"{name}/t2_{number:03d}.png",
        "patient": name,
        "split": split,
    }


def _write_history(folder: Path, rng: np.random.Generator) -> None:
    lines = []
    for epoch in range(12):
        for step in range(12 * epoch + 1, 12 * epoch + 13):
            losses = {name: _loss(name, step / 12) * float(1 + 0.2 * rng.normal()) for name in LOSSES}
            lines.append(
                {"kind": "step", "stage": "translate", "epoch": epoch, "step": step, "losses": losses}
            )
        train = {name: _loss(name, epoch + 0.5) for name in LOSSES}
        record = {"kind": "epoch", "stage": "translate", "epoch": epoch + 1, "step": 12 * epoch + 12}
        val = {"nmae": 0.06 + 0.2 * float(np.exp(-epoch / 4)), "psnr": 20.0 + epoch}
        lines.append(record | {"train": {"loss": sum(train.values()), **train}, "val": val})
    (folder / "history.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
    )


def _loss(name: str, epoch: float) -> float:
    start, end = {
        "adversarial": (0.4, 0.7),
        "correction": (16, 2.4),
        "smoothness": (0.001, 0.03),
        "real": (0.5, 0.2),
        "fake": (0.05, 0.22),
    }[name]
    return float(end + (start - end) * np.exp(-epoch / 3))


def _slice(rng: np.random.Generator, size: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """A disc with soft blobs in it, and the same with other grey levels; the background is 0."""
    rows, columns = np.indices((size, size)) - size / 2
    disc = (rows / 0.42) ** 2 + (columns / 0.36) ** 2 < size**2
    blobs = cv2.GaussianBlur(rng.normal(size=(size, size)).astype(np.float32), (0, 0), 5)
    blobs = np.clip(0.5 + 3 * blobs, 0.05, 1)
    image = (disc * blobs).astype(np.float32)[None]
    return image, (disc * (0.95 - 0.7 * blobs)).astype(np.float32)[None]


def _write_evaluation(
    place: Path, rng: np.random.Generator, run: MadeTranslation, name: str, patients: int
) -> dict[str, Any]:
    scores, kept = TranslationScores(), []
    for number in range(patients * run.slices):
        image, target = _slice(rng)
        if run.empty and number % run.slices == run.slices - 1:
            target = 0 * target
        noise = 0.04 * (1 + number // run.slices) / patients
        made = np.clip(target + noise * rng.normal(size=target.shape), 0, 1).astype(np.float32)
        scores.add(number, made, {"target": target}, None)
        kept.append((image, made, target))
    rows = [_row(name, number // run.slices, number % run.slices) for number in range(len(kept))]
    owners = [row["patient"] for row in rows] if run.known_patients else None
    place.mkdir(parents=True)
    table = scores.table()
    table.insert(0, "image", [row["image"] for row in rows])
    if owners is not None:
        table.insert(1, "patient", owners)
    table.to_csv(place / "predictions.csv", index=False)
    content = {
        "data": "made",
        "split": name,
        "images": len(kept),
        "patients": patients if owners else None,
        "resampling_unit": "patient" if owners else "image",
        "resamples": 50,
        "confidence": 0.95,
        "metrics": {key: found.as_dict() for key, found in scores.estimates(owners, 50, 0).items()},
    }
    write_json(place / "metrics.json", content)
    _write_examples(place / "examples", rng, run, rows, kept, scores)
    return content


def _write_examples(
    folder: Path,
    rng: np.random.Generator,
    run: MadeTranslation,
    rows: Sequence[dict[str, str]],
    kept: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    scores: TranslationScores,
) -> None:
    folder.mkdir()
    records = []
    for number, example in enumerate(scores.examples(6)):
        image, made, target = kept[example.row]
        pictures = comparison_pictures(image, made, target)
        record: dict[str, Any] = {"image": rows[example.row]["image"], "kind": example.kind, "truth": ""}
        record["prediction"] = example.prediction
        if run.displaced:
            field = [cv2.GaussianBlur(rng.normal(size=(96, 96)).astype(np.float32), (0, 0), 12) for _ in "rc"]
            pictures["field"] = displacement_grid(80 * np.stack(field), target)
            record["displacement"] = {"mean": 1.5 + number, "max": 4.0 + number, "folded": 0.001 * number}
        record["panels"] = []
        for name, picture in pictures.items():
            file = f"{number:03d}_{name}.png"
            Image.fromarray(picture).resize((320, 320)).save(folder / file)
            record["panels"].append({"name": name, "picture": file})
        records.append(record)
    write_json(folder / "examples.json", records)
