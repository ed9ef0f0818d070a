"""``full`` on graded retina photographs: from ImageNet weights, and the same network from random ones.

    python benchmarks/weights_of_efficientnet_lite.py --out runs/tf_efficientnet_lite0.safetensors
    python benchmarks/learning/pretrained.py --data DIR/fundus_dr_grading --weights runs/tf_efficientnet_lite0.safetensors

Settings are the same for both starts and were fixed before the first run: 15 epochs of 224 pixels in batches of 16,
AdamW at 1e-3, the best weights by validation. Test scores with their bootstrap intervals by patient.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import modicum
from modicum.engine.environment import environment

RESULTS = Path(__file__).parents[1] / "results" / "pretrained.json"
NETWORK = "tf_efficientnet_lite0"
TRAINING = {"epochs": 15, "image_size": 224, "batch_size": 16, "lr": 1e-3}
# Of the weights: they were trained on pixels (p - 127) / 128.
NORMALISATION = {"backbone.mean": [127 / 255] * 3, "backbone.std": [128 / 255] * 3}


def cell(data: Path, start: str, weights: str, seed: int, runs: Path, **training: Any) -> dict[str, Any]:
    """Trains once and gives the test scores; resumes a run that was stopped."""
    run = modicum.fit(
        data, "full", name=f"{start}-{seed}", runs=runs, resume=True, label="dr_grade", crop="fundus", leaks="drop",
        backbone=NETWORK, weights=weights, seed=seed, **NORMALISATION, **training,
    )  # fmt: skip
    scores = run.metrics["evaluations"]["test"]["metrics"]
    wanted = {name: scores[name] for name in ("quadratic_kappa", "auroc", "accuracy") if name in scores}
    return {"start": start, "seed": seed, "seconds": run.metrics["time"]["train_seconds"], **wanted}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="file of weights_of_efficientnet_lite.py")
    parser.add_argument("--runs", type=Path, default=Path("runs/pretrained"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=TRAINING["epochs"])
    parser.add_argument("--image-size", type=int, default=TRAINING["image_size"])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    training = {**TRAINING, "epochs": options.epochs, "image_size": options.image_size}
    starts = {"imagenet": str(options.weights.resolve()), "random": "random"}
    cells = []
    for seed in options.seeds:
        for start, weights in starts.items():
            cells.append(cell(options.data, start, weights, seed, options.runs, **training))
            print(cells[-1], flush=True)
            content = {"network": NETWORK, "training": training, "environment": environment(), "cells": cells}
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
