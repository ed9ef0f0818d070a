"""One annotated photograph: LesionPaste against its rivals on graded retina photographs.

    python benchmarks/weights_of_efficientnet_lite.py --out runs/tf_efficientnet_lite0.safetensors
    python benchmarks/learning/lesionpaste/photographs.py --data DIR/fundus_dr_grading --work DIR \\
        --weights runs/tf_efficientnet_lite0.safetensors

Normal photographs (grade 0) of the training split are learned from; the test split is scored, all grades against grade 0
and each grade on its own. The annotated photograph is a training image of grade 2 or more, whose lesions no person has
drawn: a classical detector marks them (see :func:`dark_and_bright`), and the photograph is the one in which it marks most
(the smaller of both counts).
``full`` is the supervised bound: it learns from all graded training photographs.

Settings are the same for all and were fixed before the first run: 160 pixels, ImageNet weights, 15 epochs.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

import modicum
from modicum.engine.environment import environment

RESULTS = Path(__file__).parents[2] / "results" / "lesionpaste_photographs.json"
METRICS = (
    "auroc",
    "average_precision",
    "sensitivity_at_95_specificity",
    "auroc/1",
    "auroc/2",
    "auroc/3",
    "auroc/4",
)
SHARED = {
    "task": "anomaly", "label": "label", "normal": "0", "backbone": "tf_efficientnet_lite0",
    "image_size": 160, "resize": "pad", "batch_size": 16, "leaks": "drop", "resamples": 1000, "augment": "none",
}  # fmt: skip
METHODS: dict[str, dict[str, Any]] = {
    "lesionpaste": {"input_size": 160, "lr": 0.01, "organ": "threshold", "severity": {"HE": -1, "EX": 60}},
    "full": {"lr": 1e-3},
    "deviation": {},
    "cutpaste": {"lr": 0.01},
}
# Of the weights: they were trained on pixels (p - 127) / 128.
NORMALISATION = {"backbone.mean": [127 / 255] * 3, "backbone.std": [128 / 255] * 3}


LEAST = 14
"""Grey levels (of 255) by which a lesion differs from its surroundings at least."""


def dark_and_bright(photograph: np.ndarray) -> dict[str, np.ndarray]:
    """Marks of haemorrhages and microaneurysms (HE) and of exudates (EX) by a classical detector.

    The green channel, less its median over a 15th of the side: what is darker than a threshold, compact, and no part of a
    long thin structure (a vessel) is HE; what is brighter is EX. The optic disc, the largest bright part, is left out.
    It finds lesions of photographs with many; it is no reader of single ones.
    """
    green = photograph[:, :, 1].astype(np.float32)
    side = max(green.shape)
    inside = cv2.erode((photograph.max(2) > 15).astype(np.uint8), np.ones((side // 20,) * 2)) > 0
    size = side // 15 | 1
    local = green - cv2.medianBlur(photograph[:, :, 1], size).astype(np.float32)
    spread = float(np.median(np.abs(local[inside])) * 1.4826)
    disc = cv2.GaussianBlur(green, (0, 0), side / 40)
    disc_at = np.unravel_index(np.where(inside, disc, 0).argmax(), disc.shape)
    y, x = np.mgrid[: green.shape[0], : green.shape[1]]
    no_disc = np.hypot(y - disc_at[0], x - disc_at[1]) > side / 9
    least = max(6 * spread, LEAST)
    marks = {"HE": (local < -least) & inside & no_disc, "EX": (local > 1.5 * least) & inside & no_disc}
    return {name: _compact(mark, side) for name, mark in marks.items()}


def _compact(mark: np.ndarray, side: int) -> np.ndarray:
    """Parts of 6 pixels to a 500th of the area that fill a good part of the circle around them."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mark.astype(np.uint8), connectivity=8)
    kept = np.zeros_like(mark)
    for number in range(1, len(stats)):
        width, height, area = stats[number, 2:5]
        if 6 <= area <= side * side / 500 and area >= 0.35 * max(width, height) ** 2:
            kept |= labels == number
    return kept


def write_table(data: Path, work: Path) -> Path:
    """The table with its annotated row, and that row's masks."""
    table = pd.read_csv(data / "labels.csv", dtype=str)
    table["label"] = table["dr_grade"]
    table["image"] = [str(data / "images" / name) for name in table["image"]]
    ill = table[(table["split"] == "train") & table["dr_grade"].isin(["2", "3", "4"])]
    marks = {index: dark_and_bright(cv2.imread(path)[:, :, ::-1]) for index, path in ill["image"].items()}
    chosen = max(
        marks,
        key=lambda index: min(cv2.connectedComponents(m.astype(np.uint8))[0] for m in marks[index].values()),
    )
    for name, mark in marks[chosen].items():
        file = work / f"{Path(table['image'][chosen]).stem}_{name}.png"
        cv2.imwrite(str(file), mark.astype(np.uint8) * 255)
        table.loc[chosen, f"masks:{name}"] = str(file)
    table.loc[chosen, "split"] = "reference"
    path = work / "annotated.csv"
    columns = ["image", "label", "patient", "eye", "split", "masks:HE", "masks:EX"]
    table[columns].to_csv(path, index=False)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    table = write_table(given.data, given.work)
    rows = []
    for seed in given.seeds:
        for method in given.methods:
            run = modicum.fit(
                table, method, name=f"{method}-{seed}", runs=given.work / "runs", resume=True, seed=seed,
                allow_outside=True, epochs=given.epochs, weights=str(given.weights),
                **{**SHARED, **NORMALISATION, **METHODS[method]},
            )  # fmt: skip
            scores = run.metrics["evaluations"]["test"]["metrics"]
            rows.append(
                {"method": method, "seed": seed, **{name: scores[name] for name in METRICS if name in scores}}
            )
            print(
                method, seed, {name: scores[name]["value"] for name in METRICS if name in scores}, flush=True
            )
            content = {
                "epochs": given.epochs,
                "settings": SHARED,
                "methods": METHODS,
                "rows": rows,
                "environment": environment(),
            }
            RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
