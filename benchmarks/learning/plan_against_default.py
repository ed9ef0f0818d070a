"""What `modicum plan` chooses against the plain default (`full`, 224 pixels), in the same memory and time.

    python benchmarks/weights_of_efficientnet_lite.py --out runs/tf_efficientnet_lite0.safetensors
    OMP_NUM_THREADS=1 python benchmarks/learning/plan_against_default.py --data DIR \
        --weights runs/tf_efficientnet_lite0.safetensors [--minutes 4] [--only dr_grade skin ...] [--seeds 0]

Both start from the same ImageNet weights of the same network and are fitted to the same ``--memory`` and ``--minutes`` by
the same predictions: the plan by modicum's rules, the default by rules that know nothing but ``full`` at 224 pixels with
its own settings (``segment`` with its own for masks), and give up epochs, then images a batch. Score: the test images (of
``pneumonia`` the validation images, which also select the weights: it has no test split), with intervals over patients.
Nothing is chosen on them. Goes on where it was stopped. Writes ``benchmarks/results/plan_against_default.json``.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml
from foundation import data_sets

import modicum
from modicum.atomic_files import write_text
from modicum.engine.environment import environment

sys.path.insert(0, str(Path(__file__).parents[1]))
from plan_promises import octa_table

RESULTS = Path(__file__).parents[1] / "results" / "plan_against_default.json"
LITE = {
    "backbone": "tf_efficientnet_lite0",
    # Of the weights: they were trained on pixels (p - 127) / 128.
    "backbone.mean": [127 / 255] * 3, "backbone.std": [128 / 255] * 3,
}  # fmt: skip
METRICS = {
    "dr_grade": "quadratic_kappa", "pneumonia": "auroc", "skin": "balanced_accuracy", "covid": "auroc",
    "octa": "dice", "vessels": "dice",
}  # fmt: skip
_PLAIN = {"because": "the default", "source": "docs/methods/full-and-linear.md"}
DEFAULT: dict[str, Any] = {
    "modicum_rules": 1,
    "rules": [
        {"name": "masks", "when": {"masks": ">= 1"}, "choose": {"goal": "segment", "method": "segment"}, **_PLAIN},
        {"name": "default", "choose": {"goal": "classify", "method": "full"}, **_PLAIN},
        {"name": "size", "choose": {"image.size": 224}, **_PLAIN},
        {"name": "encoder", "when": {"goal": "segment"},
         "choose": {"backbone.name": "resnet18", "backbone.weights": "random"}, **_PLAIN},
        {"name": "leaks", "choose": {"data.leaks": "drop"}, **_PLAIN},
    ],
    "to_fit_memory": [{"name": "batch", "change": {"training.batch_size": {"times": 0.5, "at_least": 2}}, **_PLAIN}],
    "to_fit_time": [{"name": "epochs", "change": {"training.epochs": {"fit": True, "at_least": 1}}, **_PLAIN}],
}  # fmt: skip


def sets(data: Path, work: Path) -> dict[str, tuple[Path, str, dict[str, Any]]]:
    """By name: the data, the split that is scored, and how it is read."""
    known = data_sets(data)
    classes = ("dr_grade", "covid", "pneumonia")
    of_foundation = {
        name: (
            Path(known[name]["data"]),
            str(known[name]["split"]),
            {key: known[name][key] for key in ("label", "split_lists") if key in known[name]},
        )
        for name in classes
    }
    return {
        **of_foundation,
        "skin": (data / "skin_ham10000" / "labels.csv", "test", {"label": "dx", "patient": "lesion_id"}),
        "octa": (octa_table(data, work), "test", {"allow_outside": True}),
        "vessels": (data / "vessels" / "manifest.csv", "val", {"patient": "group"}),
    }


def cell(
    name: str, which: str, seed: int, source: tuple[Path, str, dict[str, Any]], given: argparse.Namespace
) -> dict[str, Any]:
    """Plans, trains and scores once; resumes a run that was stopped."""
    data, split, reading = source
    title = f"{name}-{which}-{given.minutes:g}min-{seed}"
    path = given.runs / "plans" / f"{title}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    start = {} if name in ("octa", "vessels") else {**LITE, "weights": str(given.weights.resolve())}
    if name in ("octa", "vessels"):
        start = {"weights": "random"}
    if not path.is_file():  # a run that goes on keeps its plan
        modicum.plan(
            data, memory=given.memory, time=60 * given.minutes, out=path, device="cpu", name=title,
            rules=given.runs / "default.yaml" if which == "default" else None, seed=seed, **reading, **start,
        )  # fmt: skip
    run = modicum.fit(path, runs=given.runs, resume=True, write_report=False)
    metrics, recipe = run.metrics, run.recipe
    scores = metrics["evaluations"][split]["metrics"]
    return {
        "data": name,
        "choice": which,
        "seed": seed,
        "minutes": given.minutes,
        "split": split,
        "metric": METRICS[name],
        "score": scores[METRICS[name]],
        "auroc": scores.get("auroc"),
        "method": recipe.method,
        "image_size": list(recipe.image.size),
        "batch_size": recipe.training.batch_size,
        "epochs": recipe.training.epochs,
        "peak_bytes": metrics["memory"]["peak_bytes"],
        "train_seconds": round(metrics["time"]["train_seconds"], 1),
        "fit_seconds": round(metrics["time"]["fit_seconds"], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/plan-against-default"))
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--memory", default="4GB")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=list(METRICS), default=list(METRICS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    given.runs.mkdir(parents=True, exist_ok=True)
    write_text(given.runs / "default.yaml", yaml.safe_dump(DEFAULT, sort_keys=False))
    sources = sets(given.data.resolve(), given.runs / "tables")
    before = json.loads(given.out.read_text())["cells"] if given.out.is_file() else []
    cells = {(one["data"], one["choice"], one["seed"], one["minutes"]): one for one in before}
    for seed in given.seeds:
        for name in given.only:
            for which in ("plan", "default"):
                key = (name, which, seed, given.minutes)
                if key not in cells:
                    cells[key] = cell(name, which, seed, sources[name], given)
                    print(cells[key], flush=True)
                ordered = [cells[known] for known in sorted(cells)]
                content = {"environment": environment(), "cells": ordered}
                write_text(given.out, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
