"""MRM on made radiographs with made reports: is a masked finding named from the image, and what does the encoder know.

    OMP_NUM_THREADS=1 python benchmarks/learning/mrm/radiographs.py      # some minutes on one thread

Images, reports, the tiny stage and its training are those of ``tests/methods/chest_records.py``: 800 made radiographs of
four kinds for pre-training, 400 others of which the masked finding is named with four masks each, and 200 labels for a
linear probe on the unmasked encoder. Two seeds draw networks, batches and masks. A blind stage learns without being told
of the image; an untrained one is the probe's yardstick. Writes ``benchmarks/results/mrm_radiographs.json`` and
``radiographs.md`` beside this file; what the former has already is not learned again.
"""

import json
import sys
from pathlib import Path
from typing import Any

import modicum  # noqa: F401 - before anything that imports torchvision

# isort: split
import torch

ROOT = Path(__file__).parents[3]
sys.path[:0] = [str(ROOT / "tests" / "methods"), str(ROOT / "benchmarks")]
import chest_records as task  # noqa: E402

from training_overhead import machine  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "mrm_radiographs.json"
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/learning/mrm/radiographs.py"
SEEDS, STEPS, TRAINING, TEST, LABELLED = (0, 1), 1_500, 800, 400, 200
COLUMNS = {
    "own": "told of its own image",
    "shuffled": "of another image",
    "zeroed": "of none",
    "blind": "learned and told of none",
    "probe": "probe on the encoder",
    "probe_of_untrained": "probe on an untrained one",
    "image_loss": "image loss",
}


def cell(seed: int) -> dict[str, Any]:
    images, kinds = task.radiographs(TRAINING, 1)
    test = task.radiographs(TEST, 2)
    few = images[:LABELLED], kinds[:LABELLED]
    stage, image_loss = task.trained(images, kinds, STEPS, seed)
    found = {
        "seed": seed,
        **{told: task.named(stage, *test, told) for told in ("own", "shuffled", "zeroed")},
        "probe": task.probed(stage, few, test),
        "probe_of_untrained": task.probed(task.fresh(seed).eval(), few, test),
        "image_loss": image_loss,
    }
    print(found, flush=True)
    blind, _ = task.trained(images, kinds, STEPS, seed, blind=True)
    return {**found, "blind": task.named(blind, *test)}


def markdown(cells: list[dict[str, Any]]) -> str:
    rows = [
        "# MRM on made radiographs",
        f"\n    {COMMAND}\n",
        f"Accuracy among four words ({', '.join(task.KINDS)}; chance is 0.25) on {TEST} radiographs that were not "
        f"learned from, after {STEPS} steps; the probe has {LABELLED} labels. The image loss is that of hidden patches "
        "in training, 1 for a constant.\n",
        "| seed | " + " | ".join(COLUMNS.values()) + " |",
        "| --- |" + " --- |" * len(COLUMNS),
    ]
    for found in cells:
        rows.append(f"| {found['seed']} | " + " | ".join(f"{found[name]:.3f}" for name in COLUMNS) + " |")
    return "\n".join(rows) + "\n"


def main() -> None:
    torch.set_num_threads(1)
    cells = json.loads(RESULTS.read_text())["cells"] if RESULTS.exists() else []
    for seed in SEEDS:
        if seed not in [found["seed"] for found in cells]:
            cells.append(cell(seed))
            print(cells[-1], flush=True)
            results = {"command": COMMAND, "machine": machine(), "steps": STEPS, "cells": cells}
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    (Path(__file__).parent / "radiographs.md").write_text(markdown(cells))


if __name__ == "__main__":
    main()
