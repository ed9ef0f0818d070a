"""FPT, FPT+ and their rivals on real images, on a backbone pre-trained on the images at hand, three seeds each.

    python benchmarks/learning/fpt/pretrain.py --data DIR
    OMP_NUM_THREADS=1 python benchmarks/learning/fpt/compare.py --data DIR --only dr_grade   # and covid, hrf: beside it
    python benchmarks/learning/fpt/compare.py --data DIR --only dr_grade --longer            # FPT+ for the time of full
    python benchmarks/learning/fpt/compare.py --data DIR                                     # all three

``DIR`` holds the folders ``fundus_dr_grading``, ``cxr_covid`` and ``fundus_hrf``. Goes on where it was stopped. Writes
``benchmarks/results/fpt_compare.json``, a data set at a time, and prints the tables of ``results.md``. Learning rates are
chosen for every method alike among two, by the validation split of the first seed. The comparison gives every method the
same epochs; ``--longer`` trains FPT+ for LONGER epochs, about the time that full fine-tuning takes.
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
LONGER = 80
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


def comparison(name: str, given: dict[str, Any], runs: Path) -> dict[str, Any]:
    """The comparison of one data set: its table, in full precision."""
    given = dict(given)
    made = modicum.compare(
        given.pop("data"), METHODS, seeds=3, lr=RATES, name=f"fpt-{name}", runs=runs, **given, **SETTINGS
    )
    table = made.table
    print(f"\n{name}\n\n{(made.path / 'table.md').read_text()}", flush=True)
    return {
        "split": str(table["split"].iloc[0]),
        "metric": str(table["metric"].iloc[0]),
        "rows": json.loads(
            table[[column for column in COLUMNS if column in table]].to_json(orient="records")
        ),
    }


def longer(name: str, given: dict[str, Any], runs: Path) -> dict[str, Any]:
    """FPT+ with more epochs, on the split of the comparison."""
    given = dict(given)
    data = given.pop("data")
    found = []
    for seed in range(3):
        run = modicum.fit(
            data, "fpt_plus", name=f"longer-{name}-{seed}", runs=runs, resume=True, seed=seed, split_seed=0, lr=2e-3,
            **{**SETTINGS, **given, "epochs": LONGER},
        )  # fmt: skip
        split = "test" if "test" in run.metrics["evaluations"] else "val"
        found.append(run.metrics["evaluations"][split]["metrics"]["auroc"]["value"])
        seconds = run.metrics["time"]["train_seconds"]
    print(f"{name}: FPT+, {LONGER} epochs, {seconds:.0f} s: {found}", flush=True)
    return {"epochs": LONGER, "auroc": found, "train_seconds_last_seed": round(seconds, 1)}


def keep(name: str, part: str, content: dict[str, Any]) -> None:
    """Puts one result beside those that are there."""
    found = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    found |= {"settings": SETTINGS, "rates": RATES, "environment": environment()}
    found.setdefault(part, {})[name] = content
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--only")
    parser.add_argument("--longer", action="store_true")
    options = parser.parse_args()
    for name, given in data_sets(options.data).items():
        if options.only in (None, name):
            if options.longer:
                keep(name, "longer", longer(name, given, options.runs))
            else:
                keep(name, "data", comparison(name, given, options.runs))


if __name__ == "__main__":
    main()
