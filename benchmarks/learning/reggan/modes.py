"""RegGAN's modes on real MR of the brain, T1 to T2: one patient to learn from, the other to test on.

    OMP_NUM_THREADS=1 python benchmarks/learning/reggan/modes.py --data DIR            # all cells, one after another
    OMP_NUM_THREADS=1 python benchmarks/learning/reggan/modes.py --data DIR --seeds 0  # and 1, 2: beside it

``DIR`` holds the folder ``mr_brain``. Modes p, nc, nc+r, c, c+r at misalignment levels 0, 2 and 5 of the training pairs
(drawn anew each time a pair is shown, both images on their own); the test pairs are aligned. Slices are reduced to SIDES
first, networks are small and runs short: see SETTINGS. Learning rate, epochs and sizes are the same for every mode and
level. They were fixed after one trial of two epochs at 112 x 96 pixels, which showed what a step costs. Goes on where it
was stopped. Writes ``benchmarks/results/reggan_modes.json``.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

from PIL import Image

import modicum
from modicum.data.prepared import StoreSettings, prepared
from modicum.data.readers import read_image
from modicum.engine.environment import environment

RESULTS = Path(__file__).parents[2] / "results" / "reggan_modes.json"
MODES = ["p", "nc", "nc+r", "c", "c+r"]
LEVELS = [0, 2, 5]
PATIENTS = {"patient07": "train", "patient19": "test"}
SIDES = (80, 68)
SETTINGS: dict[str, Any] = {
    "image_size": SIDES, "epochs": 16, "batch_size": 4, "lr": 5e-4, "width": 16, "blocks": 3,
    "discriminator_width": 16, "registration_width": 16, "fractions": [1, 0, 0], "resamples": 0,
}  # fmt: skip


def pairs(data: Path, out: Path) -> Path:
    """Reduced copies of the slices that show brain on a twentieth of their pixels or more, and a table of them."""
    rows = []
    for patient, split in PATIENTS.items():
        folder = data / "mr_brain" / patient
        for row in csv.DictReader((folder / "slices.csv").open(encoding="utf-8")):
            if int(row["brain_pixels"]) < 0.05 * 182 * 218:
                continue
            names = []
            for contrast in ("T1", "T2"):
                name = f"{patient}/{contrast}/{row['file']}"
                reduced = prepared(
                    read_image(folder / contrast / row["file"]).pixels, StoreSettings(*SIDES, channels=1)
                )
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(reduced[..., 0]).save(out / name)
                names.append(name)
            rows.append([*names, patient, split])
    with (out / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["image", "target", "patient", "split"], *rows])
    return out / "pairs.csv"


def cell(table: Path, runs: Path, mode: str, level: int, seed: int) -> dict[str, Any]:
    """Scores of one run; made only where it is not there yet."""
    name = f"{mode.replace('+', '')}-level{level}-seed{seed}"
    augment = [{"name": "misalign", "level": level}] if level else "none"
    run = modicum.fit(
        table, "reggan", name=name, runs=runs, resume=True, mode=mode, seed=seed, augment=augment,
        **SETTINGS,
    )  # fmt: skip
    found = run.metrics
    scores = {key: entry["value"] for key, entry in found["evaluations"]["test"]["metrics"].items()}
    return {"mode": mode, "level": level, "seed": seed, "time": found["time"], **scores}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/reggan-modes"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    table = pairs(given.data, given.runs / "pairs")
    for seed in given.seeds:
        for level in LEVELS[::-1]:
            for mode in MODES:
                found = cell(table, given.runs, mode, level, seed)
                print(f"{mode:5} level {level} seed {seed}: NMAE {found['nmae']:.4f}", flush=True)
    cells = [
        cell(table, given.runs, mode, level, seed)
        for seed in (0, 1, 2) for level in LEVELS for mode in MODES
        if (given.runs / f"{mode.replace('+', '')}-level{level}-seed{seed}" / "metrics.json").is_file()
    ]  # fmt: skip
    content = {"settings": SETTINGS, "environment": environment(), "cells": cells}
    RESULTS.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
