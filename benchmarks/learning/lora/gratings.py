"""The grating task: what LoRA learns from few labels that a head on frozen features cannot, and with how little.

    OMP_NUM_THREADS=1 python benchmarks/learning/lora/gratings.py      # a few minutes on one thread

The task, the transformer (width 64, depth 4, 8-pixel patches of 32-pixel images) and the training (600 labelled images,
400 steps of AdamW in batches of 64) are those of ``tests/methods/gratings.py``; every way is learned with two seeds,
which also draw the pre-training, and scored on 2,000 other images. Writes ``benchmarks/results/lora_gratings.json`` and
``gratings.md`` beside this file; what the former has already is not learned again.
"""

import json
import sys
from pathlib import Path
from typing import Any

import modicum  # noqa: F401 - before anything that imports torchvision

# isort: split
import torch

from modicum.nn import count_parameters

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT / "tests" / "methods"), str(ROOT / "benchmarks")]
import gratings as task  # noqa: E402

from training_overhead import machine  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "lora_gratings.json"
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/learning/lora/gratings.py"
SEEDS, PRETRAINING, STEPS = (0, 1), 400, 400
NAMES = {
    "head": "`linear`: head and norm",
    "lora": "`lora`, rank 4",
    "full": "`full`",
    "scratch": "`full` from random weights",
}


def cell(mode: str, seed: int, permuted: bool, weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    network = task.adapted(mode, weights, STEPS, seed, permuted=permuted)
    learnable = count_parameters(network)[1]
    auroc = task.mean_auroc(network)
    return {"mode": mode, "seed": seed, "permuted": permuted, "learnable": learnable, "auroc": auroc}


def markdown(cells: list[dict[str, Any]]) -> str:
    rows = [
        "# LoRA and the grating task",
        f"\n    {COMMAND}\n",
        "Mean area under the curve over three findings, each an exclusive-or or a conjunction of two gratings, on "
        "2,000 images; one number a seed. Permuted: eight permutations of every finding's 600 labels, learned side by "
        "side; the parameters are those for three findings.\n",
        "| method | learned parameters | right labels | permuted labels |",
        "| --- | --- | --- | --- |",
    ]
    for mode, name in NAMES.items():
        own = [found for found in cells if found["mode"] == mode]
        right, permuted = (
            ", ".join(f"{found['auroc']:.3f}" for found in own if found["permuted"] == kind)
            for kind in (False, True)
        )
        learnable = next(found["learnable"] for found in own if not found["permuted"])
        rows.append(f"| {name} | {learnable:,} | {right} | {permuted} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    torch.set_num_threads(1)
    cells = json.loads(RESULTS.read_text())["cells"] if RESULTS.exists() else []
    known = {(found["mode"], found["seed"], found["permuted"]) for found in cells}
    for seed in SEEDS:
        wanted = [(mode, permuted) for permuted in (False, True) for mode in NAMES]
        wanted = [(mode, permuted) for mode, permuted in wanted if (mode, seed, permuted) not in known]
        weights = task.pretrained(PRETRAINING, seed) if wanted else {}
        for mode, permuted in wanted:
            cells.append(cell(mode, seed, permuted, weights))
            print(cells[-1], flush=True)
            results = {"command": COMMAND, "machine": machine(), "steps": STEPS, "cells": cells}
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    (Path(__file__).parent / "gratings.md").write_text(markdown(cells))


if __name__ == "__main__":
    main()
