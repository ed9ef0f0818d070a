"""FPT, FPT+ and their rivals on real images, on a backbone pre-trained on the images at hand, three seeds each.

    python benchmarks/learning/fpt/pretrain.py --data DIR
    OMP_NUM_THREADS=1 python benchmarks/learning/fpt/compare.py --data DIR --only dr_grade   # and covid, hrf: beside it
    python benchmarks/learning/fpt/compare.py --data DIR                                     # tables of all three

``DIR`` holds the folders ``fundus_dr_grading``, ``cxr_covid`` and ``fundus_hrf``. Goes on where it was stopped. Writes
``benchmarks/results/fpt_compare.json``, and prints the tables of ``results.md``. Learning rates are chosen for every
method alike among two, by the validation split of the first seed.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import modicum
from modicum.engine.environment import environment

RESULTS = Path(__file__).parents[2] / "results" / "fpt_compare.json"
METHODS = ["linear", "lora", "fpt", "fpt_plus", "full"]
SETTINGS: dict[str, Any] = {
    "backbone": "vit_tiny_patch16_224", "weights": "runs/pretrained/vit_tiny_mae.safetensors", "image_size": 256,
    "epochs": 10, "precision": "bf16", "leaks": "drop", "monitor": "auroc",
}  # fmt: skip
RATES = [2e-4, 2e-3]
COLUMNS = (
    "method", "score", "score_std", "low", "high", "learnable", "learnable_percent", "memory_mib",
    "memory_percent_of_full", "ppe", "pme", "seconds_per_epoch", "checkpoint_bytes", "feature_bytes_per_image", "lr",
)  # fmt: skip


def data_sets(folder: Path) -> dict[str, dict[str, Any]]:
    """How each data set is read."""
    covid = folder / "cxr_covid"
    return {
        "dr_grade": {"data": folder / "fundus_dr_grading", "label": "dr_grade", "crop": "fundus", "batch_size": 16},
        "covid": {
            "data": covid, "label": "covid", "split_lists": str(covid / "lists" / "covid1"), "batch_size": 16,
        },
        "hrf": {"data": folder / "fundus_hrf", "label": "class", "crop": "fundus", "batch_size": 8},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--only")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for name, given in data_sets(options.data).items():
        if options.only in (None, name):
            data = given.pop("data")
            made = modicum.compare(
                data, METHODS, seeds=3, lr=RATES, name=f"fpt-{name}", runs=options.runs, **given, **SETTINGS
            )
            table = made.table
            found[name] = {
                "split": str(table["split"].iloc[0]),
                "metric": str(table["metric"].iloc[0]),
                "rows": json.loads(table[[c for c in COLUMNS if c in table]].to_json(orient="records")),
            }
            print(f"\n{name}\n\n{(made.path / 'table.md').read_text()}", flush=True)
    if options.only is None:
        content = {"settings": SETTINGS, "rates": RATES, "environment": environment(), "data": found}
        RESULTS.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
