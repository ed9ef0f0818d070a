"""Writes the run folder of a segmentation as the engine does: made masks, their scores and pictures."""

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

from modicum.tasks.segmentation.pictures import differences, overlay, shown
from modicum.tasks.segmentation.scores import SegmentationScores

OPERATIONS = ("autocontrast", "invert", "equalize", "solarize", "posterize", "contrast", "color", "cutout")


@dataclass(frozen=True)
class MadeSegmentation:
    """What to make.

    Args:
        images: of each evaluation, by its name.
        classes: foreground classes; several overlap.
        domains: of the images in turn; those of training in ``learned``.
        empty: whether every fourth image has nothing of the last class.
        fov: whether every image has a field of view.
        spacing: millimetres of a pixel.
        policies: whether a search for augmentations is among the findings.
    """

    images: tuple[tuple[str, int], ...] = (("val", 6), ("test", 12))
    classes: tuple[str, ...] = ("vessel",)
    domains: tuple[str, ...] = ()
    learned: tuple[str, ...] = ()
    empty: bool = False
    fov: bool = True
    spacing: tuple[float, float] | None = None
    known_patients: bool = True
    policies: bool = False


def make_segmentation(folder: Path, run: MadeSegmentation = MadeSegmentation()) -> Path:
    """Writes a run folder and returns it."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    method = "aadg" if run.policies else "segment"
    recipe = {
        "method": method,
        "task": "segmentation",
        "data": {"source": "made.csv", "leaks": "error"},
        "image": {"size": [96, 96]},
        "backbone": {"name": "resnet18", "weights": "hub"},
    }
    write_json(folder / "recipe.yaml", recipe)
    kind = "multi-label" if len(run.classes) > 1 else "binary"
    task = {"name": "segmentation", "kind": kind, "classes": list(run.classes)}
    write_json(folder / "model.json", {"task": task})
    _write_history(folder, rng)
    evaluations = {}
    rows = [_row("train", i, run, run.learned or run.domains) for i in range(20)]
    for name, amount in run.images:
        own = [_row(name, i, run, run.domains) for i in range(amount)]
        evaluations[name] = _write_evaluation(folder / "evaluations" / name, rng, run, name, own)
        rows += own
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    write_json(folder / "status.json", {"state": "finished"})
    metrics: dict[str, Any] = {
        "run": folder.name,
        "task": "segmentation",
        "kind": kind,
        "classes": list(run.classes),
        "method": method,
        "backbone": "resnet18",
        "selection": {"metric": "dice", "epoch": 9, "step": 120},
        "parameters": {"total": 14_300_000, "learnable": 14_300_000, "learnable_percent": 100.0},
        "evaluations": evaluations,
    }
    if run.policies:
        metrics["findings"] = {"search": made_findings(rng)}
    write_json(folder / "metrics.json", metrics)
    return folder


def made_findings(rng: np.random.Generator, epochs: int = 30, policies: int = 6) -> dict[str, Any]:
    """What a search leaves: contrast becomes likelier, solarize rarer."""
    history = []
    for epoch in range(10, 10 + epochs):
        logits = rng.normal(0, 0.03, len(OPERATIONS))
        logits[5] += 0.05 * (epoch - 10)
        logits[3] -= 0.04 * (epoch - 10)
        shares = np.exp(logits) / np.exp(logits).sum()
        drawn = [
            [[[str(rng.choice(OPERATIONS)), int(rng.integers(10))] for _ in range(2)] for _ in range(5)]
            for _ in range(policies)
        ]
        record = {"epoch": epoch, "operations": dict(zip(OPERATIONS, shares.tolist(), strict=True))}
        history.append(record | {"rewards": rng.uniform(1, 4, policies).tolist(), "policies": drawn})
    policy = {"magnitudes": 10, "cutout_labels": "keep", "policies": history[-1]["policies"]}
    return {"policy": policy, "history": history}


def _row(split: str, number: int, run: MadeSegmentation, domains: Sequence[str]) -> dict[str, str]:
    name = f"{split}-{number:02d}"
    row = {"image": f"{name}.png", "mask": f"{name}_mask.png", "split": split}
    if run.fov:
        row["fov"] = f"{name}_fov.png"
    if run.known_patients:
        row["patient"] = f"{split}-p{number // 2:02d}"
    if domains:
        row["domain"] = domains[number % len(domains)]
    return row


def _write_history(folder: Path, rng: np.random.Generator) -> None:
    lines = []
    for epoch in range(10):
        val = {"loss": 0.3 + 0.5 * float(np.exp(-epoch / 3)), "dice": 0.85 - 0.6 * float(np.exp(-epoch / 3))}
        record = {"kind": "epoch", "stage": "segment", "epoch": epoch, "step": 12 * epoch + 12}
        lines.append(record | {"train": {"loss": 0.25 + 0.6 * float(np.exp(-epoch / 3))}, "val": val})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "history.jsonl").write_text(text, encoding="utf-8")


def _picture(rng: np.random.Generator, classes: int, size: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Blurred noise, and where it is bright: nested regions, one a class."""
    noise = cv2.GaussianBlur(rng.normal(size=(size, size)).astype(np.float32), (0, 0), 6)
    noise = noise / noise.std()
    regions = np.stack([noise > 0.6 + 0.5 * place for place in range(classes)])
    return np.clip(0.5 + 0.2 * noise, 0, 1)[None].astype(np.float32), regions


def _write_evaluation(
    place: Path, rng: np.random.Generator, run: MadeSegmentation, name: str, rows: Sequence[dict[str, str]]
) -> dict[str, Any]:
    scores = SegmentationScores(run.classes, lambda logits: logits.sigmoid())
    kept = []
    for number in range(len(rows)):
        image, truth = _picture(rng, len(run.classes))
        if run.empty and number % 4 == 3:
            truth[-1] = False
        blur = cv2.GaussianBlur(rng.normal(size=truth.shape[1:]).astype(np.float32), (0, 0), 2)
        noise = (0.5 + number / len(rows)) * blur / blur.std()
        marked = 1 / (1 + np.exp(-(3 * (truth - 0.5) + noise))).astype(np.float32)
        scores.add(number, marked, {"mask": truth}, run.spacing)
        kept.append((image, marked >= 0.5, truth))
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
        "images": len(rows),
        "patients": len(set(owners)) if owners else None,
        "resampling_unit": "patient" if owners else "image",
        "resamples": 50,
        "confidence": 0.95,
        "metrics": {key: found.as_dict() for key, found in scores.estimates(owners, 50, 0).items()},
    }
    write_json(place / "metrics.json", content)
    folder = place / "examples"
    folder.mkdir()
    records = []
    for number, example in enumerate(scores.examples(4)):
        image, marked, truth = kept[example.row]
        under = shown(image)
        pictures = {"image": under, "prediction": overlay(under, marked), "truth": overlay(under, truth)}
        pictures["differences"] = differences(under, marked, truth)
        panels = []
        for panel, picture in pictures.items():
            file = f"{number:03d}_{panel}.png"
            Image.fromarray(picture).resize((288, 288), Image.Resampling.NEAREST).save(folder / file)
            panels.append({"name": panel, "picture": file})
        record = {"image": rows[example.row]["image"], "kind": example.kind, "truth": example.truth}
        records.append(record | {"prediction": example.prediction, "panels": panels})
    write_json(folder / "examples.json", records)
    return content
