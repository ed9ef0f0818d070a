"""``full`` on real images: from ImageNet weights, the same network from random ones, and that of ``foundation.py``.

    python benchmarks/weights_of_efficientnet_lite.py --out runs/tf_efficientnet_lite0.safetensors
    python benchmarks/learning/pretrained.py --data DIR --weights runs/tf_efficientnet_lite0.safetensors

``DIR`` holds ``fundus_dr_grading`` and ``cxr_covid``: the two sets whose epochs in ``foundation.py`` had been chosen
with a look at test. Here the test split has no part in any choice. The epochs of the small network are chosen among
those of :data:`STARTS` by the mean validation score over the seeds; the settings of the large one were fixed before its
first run. Of each run the weights are its best by validation. Test scores of the chosen runs, over seeds.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from foundation import METRICS, data_sets

import modicum
from modicum.atomic_files import write_text
from modicum.engine.environment import environment

RESULTS = Path(__file__).parents[1] / "results" / "pretrained.json"
LITE = {
    "backbone": "tf_efficientnet_lite0", "lr": 1e-3, "batch_size": 16,
    # Of the weights: they were trained on pixels (p - 127) / 128.
    "backbone.mean": [127 / 255] * 3, "backbone.std": [128 / 255] * 3,
}  # fmt: skip
SMALL = {"backbone": "test_resnet", "lr": 3e-3, "batch_size": 32}
STARTS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "small, random": (SMALL, (8, 20, 30)),
    "imagenet": (LITE, (15,)),
    "random": (LITE, (15,)),
}
"""Settings, and the epochs to choose among."""


def cell(
    name: str, settings: dict[str, Any], start: str, weights: str, epochs: int, seed: int, runs: Path
) -> dict[str, Any]:
    """Trains once and gives the scores; resumes a run that was stopped."""
    given = dict(settings)
    data, split = given.pop("data"), given.pop("split")
    run = modicum.fit(
        data, "full", name=f"{name}-{start.replace(', ', '-')}-{epochs}-{seed}", runs=runs, resume=True, leaks="drop",
        weights=weights if start == "imagenet" else "random", seed=seed, epochs=epochs, **given, **STARTS[start][0],
    )  # fmt: skip
    metric, metrics = METRICS[name], run.metrics
    scores = metrics["evaluations"][split]["metrics"]
    return {
        "data": name, "start": start, "epochs": epochs, "seed": seed, "metric": metric,
        "validation": metrics["selection"]["value"], "test": scores[metric], "auroc": scores["auroc"]["value"],
        "train_seconds": round(metrics["time"]["train_seconds"], 1),
    }  # fmt: skip


def identity(one: dict[str, Any]) -> tuple[str, str, int, int]:
    """What tells one training from another."""
    return one["data"], one["start"], one["epochs"], one["seed"]


def chosen(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a data set and start: the epochs with the best mean validation score, and their scores over seeds."""
    rows = []
    for name, start in dict.fromkeys((one["data"], one["start"]) for one in cells):
        by_epochs: dict[int, list[dict[str, Any]]] = {}
        for one in cells:
            if (one["data"], one["start"]) == (name, start):
                by_epochs.setdefault(one["epochs"], []).append(one)
        most = max(map(len, by_epochs.values()))  # only epochs that all seeds were run with can be chosen
        means = {
            epochs: statistics.mean(one["validation"] for one in same)
            for epochs, same in by_epochs.items()
            if len(same) == most
        }
        best = max(means, key=lambda epochs: means[epochs])
        tests = [one["test"]["value"] for one in by_epochs[best]]
        rows.append(
            {
                "data": name, "start": start, "epochs": best, "seeds": len(tests), "metric": METRICS[name],
                "validation": round(means[best], 3), "test": round(statistics.mean(tests), 3),
                "least": round(min(tests), 3), "most": round(max(tests), 3),
                "auroc": round(statistics.mean(one["auroc"] for one in by_epochs[best]), 3),
            }
        )  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--weights", type=Path, required=True, help="File of weights_of_efficientnet_lite.py."
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/pretrained"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sets", nargs="+", choices=["covid", "dr_grade"], default=["dr_grade", "covid"])
    parser.add_argument("--starts", nargs="+", choices=list(STARTS), default=list(STARTS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    sets, weights = data_sets(options.data), str(options.weights.resolve())
    # What other seeds, sets and starts gave before is kept.
    before = json.loads(options.out.read_text())["cells"] if options.out.is_file() else []
    known = {identity(one): one for one in before}
    for seed in options.seeds:
        for start in options.starts:
            for name in options.sets:
                for epochs in STARTS[start][1]:
                    one = cell(name, sets[name], start, weights, epochs, seed, options.runs)
                    known[identity(one)] = one
                    print(one, flush=True)
                    cells = [known[key] for key in sorted(known)]
                    content = {"environment": environment(), "chosen": chosen(cells), "cells": cells}
                    write_text(options.out, json.dumps(content, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
