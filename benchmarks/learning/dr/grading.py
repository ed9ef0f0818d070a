"""Components of DR grading on real photographs, one at a time, then stacked: loss, sampling, augmentation, crop, fusion.

    python benchmarks/learning/dr/grading.py --data DIR/fundus_dr_grading --work DIR [--weights FILE --backbone NAME]

Every run keeps the weights of the best validation kappa; no number of epochs or rate was chosen on test images. Settings
that differ from ``dr/reference`` because of the size of the data and of the machine are in ``SMALL``: a network of
0.37 million parameters from random weights does not learn from 298 photographs by SGD at the published rate.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import modicum
from modicum.engine.environment import environment

SMALL = {
    "image_size": 128, "optimizer": "adamw", "one_eye.epochs": 16, "one_eye.lr": 3e-3, "one_eye.batch_size": 32,
    "both_eyes.epochs": 20, "both_eyes.batch_size": 32, "both_eyes.lr": 3e-3, "leaks": "drop", "label": "dr_grade",
    "precision": "bf16", "resamples": 500,
}  # fmt: skip
SWEEP = {
    "loss": ["cross_entropy"],
    "sampling": ["balanced"],
    "augment": ["none"],
    "crop": ["none"],
    "fusion": [True],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--backbone", default="test_resnet")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], help="KEY=VALUE, of all runs")
    options = parser.parse_args()
    further: dict[str, Any] = dict(pair.split("=", 1) for pair in options.set)
    found = modicum.compare(
        options.data, "dr_grading", sweep=SWEEP, vary="stack", seeds=options.seeds, runs=options.work, name="components",
        recipe="dr/reference", backbone=options.backbone, weights=options.weights, workers=0, **{**SMALL, **further},
    )  # fmt: skip
    start = "random" if options.weights == "random" else Path(options.weights).name
    command = (
        "python benchmarks/learning/dr/grading.py --data DIR/fundus_dr_grading --work DIR "
        f"--backbone {options.backbone} --weights {start} --seeds {options.seeds}"
    )
    content = {
        "command": command,
        "date": time.strftime("%Y-%m-%d"),
        "environment": environment(),
        "settings": {**SMALL, **further},
        "table": json.loads(found.table.to_json(orient="records")),
        "effects": json.loads(found.effects.to_json(orient="records")),
    }
    results = Path(__file__).parents[2] / "results" / f"dr_components_{start.split('.')[0]}.json"
    results.write_text(json.dumps(content, indent=1) + "\n")
    print((found.path / "table.md").read_text())


if __name__ == "__main__":
    main()
