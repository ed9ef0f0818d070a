"""Does registration help every base: NICE-GAN, UNIT and MUNIT without it (nc) and with it (nc+r), on real MR.

    OMP_NUM_THREADS=1 python benchmarks/learning/reggan/bases.py --data DIR                    # all cells
    OMP_NUM_THREADS=1 python benchmarks/learning/reggan/bases.py --data DIR --bases munit      # and others: beside it

The slices, patients, settings and lengths are those of ``modes.py``, whose cells of the ResNet these are to be read with.
Training pairs are misaligned (level 5), test pairs are not. Nothing was tried before. Goes on where it was stopped.
Writes ``benchmarks/results/reggan_bases.json``.
"""

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

from modes import SETTINGS, pairs

import modicum
from modicum.engine.environment import environment

RESULTS = Path(__file__).parents[2] / "results" / "reggan_bases.json"
BASES = ["nice_gan", "unit", "munit"]
MODES = ["nc", "nc+r"]
SEEDS = [0, 1, 2]
LEVEL = 5


def folder(base: str, mode: str, seed: int) -> str:
    """Name of a cell's run."""
    return f"{base}-{mode.replace('+', '')}-seed{seed}"


def cell(table: Path, runs: Path, base: str, mode: str, seed: int) -> dict[str, Any]:
    """Scores of one run; made only where it is not there yet."""
    run = modicum.fit(
        table, "reggan", name=folder(base, mode, seed), runs=runs, resume=True, base=base, mode=mode, seed=seed,
        augment=[{"name": "misalign", "level": LEVEL}], **SETTINGS,
    )  # fmt: skip
    found = run.metrics
    scores = {key: entry["value"] for key, entry in found["evaluations"]["test"]["metrics"].items()}
    return {"base": base, "mode": mode, "level": LEVEL, "seed": seed, "time": found["time"], **scores}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/reggan-bases"))
    parser.add_argument("--bases", nargs="+", choices=BASES, default=BASES)
    parser.add_argument("--seeds", type=int, nargs="+", choices=SEEDS, default=SEEDS)
    given = parser.parse_args()
    table = pairs(given.data, given.runs / "pairs")
    for seed, base, mode in product(given.seeds, given.bases, MODES):
        found = cell(table, given.runs, base, mode, seed)
        print(f"{base:8} {mode:5} seed {seed}: NMAE {found['nmae']:.4f}", flush=True)
    cells = [
        cell(table, given.runs, base, mode, seed)
        for base, mode, seed in product(BASES, MODES, SEEDS)
        if (given.runs / folder(base, mode, seed) / "metrics.json").is_file()
    ]
    content = {"settings": SETTINGS, "environment": environment(), "cells": cells}
    RESULTS.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
