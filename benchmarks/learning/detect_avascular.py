"""``detect`` on real images: the foveal avascular zone in windows of angiograms.

    python benchmarks/weights_of_efficientnet_lite.py --out lite0.safetensors
    python benchmarks/learning/detect_avascular.py --data DIR/octa_vessels --weights lite0.safetensors --work DIR

No person has drawn the zone. Its box is made of the masks of large vessels that people have drawn: the largest circle
without one whose middle lies in the middle third of the image. A window of 208 of the 304 pixels is cut at a random place
that holds the box, so that a place known by heart is no answer: ``always the same box`` (the mean box of the training
windows, with a score of 1) is what it is compared with. Subjects are dealt anew for each seed: 100 train, 20 validate, 30
test. Windows come before augmentation, one an image.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import modicum

# isort: split
import cv2
import numpy as np
import pandas as pd

from modicum.atomic_files import write_text
from modicum.engine.environment import environment
from modicum.tasks.detection.matching import box_overlaps

RESULTS = Path(__file__).parents[1] / "results" / "detect_avascular.json"
SIDE = 208
SETTINGS: dict[str, Any] = {
    "backbone": "tf_efficientnet_lite0", "backbone.mean": [127 / 255] * 3, "backbone.std": [128 / 255] * 3,
    "image_size": 160, "epochs": 10, "batch_size": 4, "channels": 64, "head_width": 128, "proposals": 100,
    "samples": 32, "anchor_scale": 4, "lr": 0.005, "leaks": "allow",
}  # fmt: skip
"""Small, for a CPU; fixed before the first run but for what is said in the results."""
SHOWN = ("map_50", "map", "froc")


def zone(vessels: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the largest circle without large vessels about the middle."""
    free = cv2.distanceTransform((vessels < 128).astype(np.uint8), cv2.DIST_L2, 5)
    third = vessels.shape[0] // 3
    middle = np.zeros_like(free)
    middle[third : 2 * third, third : 2 * third] = free[third : 2 * third, third : 2 * third]
    y, x = np.unravel_index(middle.argmax(), middle.shape)
    radius = int(middle.max())
    return int(x) - radius, int(y) - radius, int(x) + radius, int(y) + radius


def written(data: Path, work: Path, seed: int) -> Path:
    """Writes the windows of a seed with their boxes; the table's path."""
    generator = np.random.default_rng(seed)
    folder = work / f"windows{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    names = generator.permutation(sorted(path.name for path in (data / "images").glob("*.png")))
    splits = ["train"] * 100 + ["val"] * 20 + ["test"] * 30
    rows = []
    for name, split in zip(names, splits, strict=True):
        image = cv2.imread(str(data / "images" / name), cv2.IMREAD_GRAYSCALE)
        box = zone(cv2.imread(str(data / "masks" / name), cv2.IMREAD_GRAYSCALE))
        corner = [
            int(generator.integers(max(0, box[2 + i] - SIDE), min(image.shape[0] - SIDE, box[i]) + 1))
            for i in (0, 1)
        ]
        cv2.imwrite(str(folder / name), image[corner[1] : corner[1] + SIDE, corner[0] : corner[0] + SIDE])
        moved = [int(value) - corner[i % 2] for i, value in enumerate(box)]
        rows.append({"image": f"{folder.name}/{name}", "split": split, "boxes": json.dumps([moved])})
    table = work / f"zones{seed}.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    return table


def same_box(table: Path) -> float:
    """Share of the test images whose box the mean box of the training images overlaps by one half: its ``map_50``."""
    rows = pd.read_csv(table)
    boxes = np.array([json.loads(text)[0] for text in rows["boxes"]], float)
    mean = boxes[rows["split"] == "train"].mean(0, keepdims=True)
    return float((box_overlaps(mean, boxes[rows["split"] == "test"])[0] >= 0.5).mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    cells = []
    for seed in options.seeds:
        table = written(options.data, options.work, seed)
        run = modicum.fit(
            table, "detect", name=f"zones{seed}", runs=options.work / "runs", resume=True, seed=seed, boxes="boxes",
            weights=options.weights, **SETTINGS,
        )  # fmt: skip
        metrics = run.metrics
        found = metrics["evaluations"]["test"]["metrics"]
        cells.append(
            {"seed": seed, "always the same box": same_box(table),
             "seconds": round(metrics["time"]["train_seconds"], 1), "epoch": metrics["selection"]["epoch"],
             **{name: found[name] for name in SHOWN}}
        )  # fmt: skip
        print(
            f"seed {seed}: map_50 {found['map_50']['value']:.3f}, the same box {cells[-1]['always the same box']:.3f}"
        )
        content = {
            "command": "python benchmarks/learning/detect_avascular.py",
            "date": time.strftime("%Y-%m-%d"),
            "settings": SETTINGS,
            "environment": environment(),
            "cells": cells,
        }
        write_text(options.out, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
