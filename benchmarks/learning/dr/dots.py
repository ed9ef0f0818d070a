"""Grades that are counts of dots: squared error against cross-entropy, and one eye against both.

    python benchmarks/learning/dr/dots.py --work DIR

Discs of 64 pixels with 0 to 4 bright dots. First, the grade is the number of dots (800 images to learn from, 266 to
test on). Then each eye has dots of its own, and the grade is that of both: two thirds of the own dots and one third of
the fellow's, rounded. Made pictures: they say that the machinery learns what it should, nothing about patients.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

import modicum
from modicum.engine.environment import environment

SIDE = 64
TRAINING = {
    "backbone": "test_resnet", "weights": "random", "image_size": SIDE, "crop": "none", "leaks": "allow",
    "resamples": 200, "precision": "bf16",
    "one_eye.epochs": 15, "one_eye.batch_size": 32, "one_eye.lr": 0.02, "one_eye.augment": "none",
    "both_eyes.epochs": 15, "both_eyes.batch_size": 32, "both_eyes.augment": "none",
}  # fmt: skip
"""The learning rate is the specification's for its own small network; nothing was tuned."""


def picture(dots: int, generator: np.random.Generator) -> np.ndarray:
    """A disc with bright dots that do not touch."""
    image = np.zeros((SIDE, SIDE), np.float32)
    cv2.circle(image, (SIDE // 2, SIDE // 2), 30, 0.4, -1)
    places: list[np.ndarray] = []
    while len(places) < dots:
        place = generator.uniform(12, SIDE - 12, 2)
        inside = np.hypot(*(place - SIDE / 2)) < 25
        if inside and all(np.hypot(*(place - other)) > 8 for other in places):
            places.append(place)
    for x, y in places:
        cv2.circle(image, (round(float(x)), round(float(y))), 2, 0.9, -1)
    noisy = image + generator.normal(0, 0.05, image.shape)
    return (noisy.clip(0, 1) * 255).astype(np.uint8)


def write(folder: Path, patients: dict[str, int], paired: bool, seed: int) -> Path:
    """Writes both eyes of a number of patients a split, and their table."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for split, count in patients.items():
        for number in range(count):
            dots = generator.integers(0, 5, 2)
            for own, eye in enumerate("LR"):
                name = f"{split}{number:05d}_{eye}.png"
                cv2.imwrite(str(folder / name), picture(int(dots[own]), generator))
                grade = round((2 * dots[own] + dots[1 - own]) / 3) if paired else dots[own]
                rows.append(
                    {
                        "image": name,
                        "label": int(grade),
                        "patient": f"{split}{number:05d}",
                        "eye": eye,
                        "split": split,
                    }
                )
    table = folder / "labels.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    return table


def run_cell(table: Path, name: str, seed: int, work: Path, **settings: Any) -> dict[str, Any]:
    """One training; resumes what was stopped."""
    began = time.monotonic()
    run = modicum.fit(
        table, "dr_grading", name=f"{name}-{seed}", runs=work / "runs", resume=True, seed=seed, write_report=False,
        **{**TRAINING, **settings},
    )  # fmt: skip
    found = run.metrics["evaluations"]["test"]["metrics"]
    values = {key: found[key]["value"] for key in ("quadratic_kappa", "accuracy")}
    return {"setting": name, "seed": seed, **values, "seconds": time.monotonic() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--patients", type=int, default=400, help="to learn from; a third as many are tested on"
    )
    options = parser.parse_args()
    sizes = {"train": options.patients, "val": options.patients // 5, "test": options.patients // 3}
    counted = write(options.work / "counted", sizes, False, 1)
    paired = write(options.work / "paired", sizes, True, 2)
    cells = []
    for seed in range(options.seeds):
        for name, loss in (("squared error", "mse"), ("cross-entropy", "cross_entropy")):
            cells.append(run_cell(counted, name, seed, options.work, fusion=False, loss=loss))
        cells.append(run_cell(paired, "one eye of two", seed, options.work, fusion=False))
        cells.append(run_cell(paired, "both eyes", seed, options.work))
    command = f"python benchmarks/learning/dr/dots.py --work DIR --seeds {options.seeds} --patients {options.patients}"
    content = {
        "command": command,
        "date": time.strftime("%Y-%m-%d"),
        "environment": environment(),
        "cells": cells,
    }
    results = Path(__file__).parents[2] / "results" / "dr_dots.json"
    results.write_text(json.dumps(content, indent=1) + "\n")
    for name in dict.fromkeys(cell["setting"] for cell in cells):
        values = [cell["quadratic_kappa"] for cell in cells if cell["setting"] == name]
        print(f"{name}: kappa {statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})")


if __name__ == "__main__":
    main()
