"""Method ``segment`` on vessels of fundus photographs (DRIVE) and of OCT angiograms, from random weights.

    OMP_NUM_THREADS=1 python benchmarks/learning/segmentation/in_domain.py --data DIR           # the reported scores
    OMP_NUM_THREADS=1 python benchmarks/learning/segmentation/in_domain.py --data DIR --tune    # how settings were found

``DIR`` holds the folders ``vessels`` and ``octa_vessels``, whose own ``val`` images are the reported ones: 4 of DRIVE
inside the field of view, 10 angiograms. A reported run learns from all training images, keeps its last weights and never
sees them. With ``--tune``, a fifth of the training images is set aside in their place, and the reported images are in no
table. Goes on where it was stopped. Writes ``benchmarks/results/segment_in_domain.json``.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import modicum
from modicum.engine.environment import environment
from modicum.engine.recipe.assignments import parse_assignments

RESULTS = Path(__file__).parents[2] / "results" / "segment_in_domain.json"
SETTINGS: dict[str, Any] = {
    "backbone": "test_resnet", "weights": "random", "decoder_width": 128, "patch": 128, "precision": "bf16",
    "batch_size": 8, "lr": 3e-3, "select": "last", "resamples": 2000, "device": "cpu",
}  # fmt: skip
OF_DATA: dict[str, dict[str, Any]] = {
    "drive": {"image_size": (584, 565), "epochs": 14, "repeats_per_epoch": 16},
    "octa": {"image_size": (304, 304), "epochs": 16, "repeats_per_epoch": 1},
}


def rows_of(data: Path, name: str) -> list[dict[str, str]]:
    """Image, mask, field of view, patient and split of each row."""
    if name == "drive":
        folder = data / "vessels"
        table = csv.DictReader((folder / "manifest.csv").open(encoding="utf-8"))
        return [
            {"image": str(folder / row["image"]), "mask": str(folder / row["mask"]),
             "fov": str(folder / row["fov"]), "patient": row["group"], "split": row["split"]}
            for row in table if row["domain"] == "DRIVE"
        ]  # fmt: skip
    folder = data / "octa_vessels"
    table = csv.DictReader((folder / "manifest.csv").open(encoding="utf-8"))
    return [
        {"image": str(folder / "images" / row["file"]), "mask": str(folder / "masks" / row["file"]),
         "patient": row["subject"], "split": row["split"]}
        for row in table
    ]  # fmt: skip


def table(data: Path, out: Path, name: str, tune: bool) -> Path:
    """A table whose ``test`` rows are the reported images, or with ``tune`` every fifth training image."""
    rows = rows_of(data, name)
    if tune:
        rows = [row for row in rows if row["split"] == "train"]
        rows = [{**row, "split": "test" if number % 5 == 4 else "train"} for number, row in enumerate(rows)]
    else:
        rows = [{**row, "split": "test" if row["split"] == "val" else "train"} for row in rows]
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{name}{'-tune' if tune else ''}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def cell(path: Path, runs: Path, name: str, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Scores of one run; made only where it is not there yet."""
    run = modicum.fit(
        path, "segment", name=f"{path.stem}-seed{seed}", runs=runs, resume=True, seed=seed, allow_outside=True,
        fractions=[1, 0, 0], **{**SETTINGS, **OF_DATA[name], **settings},
    )  # fmt: skip
    found = run.metrics
    return {
        "data": name,
        "seed": seed,
        "parameters": found["parameters"]["learnable"],
        "time": found["time"],
        "memory": found["memory"],
        "metrics": found["evaluations"]["test"]["metrics"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/segment-in-domain"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", choices=list(OF_DATA), nargs="+", default=list(OF_DATA))
    parser.add_argument("--tune", action="store_true")
    parser.add_argument(
        "--set", nargs="*", default=[], help="further settings, with --tune, in a folder of runs of their own"
    )
    given = parser.parse_args()
    tables = {name: table(given.data.resolve(), given.runs / "tables", name, given.tune) for name in OF_DATA}
    settings = parse_assignments(given.set)
    for seed in given.seeds:
        for name in given.only:
            found = cell(tables[name], given.runs, name, seed, settings)
            shown = {key: found["metrics"][key]["value"] for key in ("dice", "auroc", "sensitivity")}
            print(f"{name} seed {seed}: {shown}, {found['time']['fit_seconds']:.0f} s", flush=True)
    if given.tune:
        return
    cells = [
        cell(path, given.runs, name, seed, settings)
        for name, path in tables.items() for seed in range(10)
        if (given.runs / f"{path.stem}-seed{seed}" / "metrics.json").is_file()
    ]  # fmt: skip
    content = {"settings": SETTINGS, "of_data": OF_DATA, "environment": environment(), "cells": cells}
    RESULTS.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
