"""Retinal vessels on a camera that training never saw: no augmentation of colour, RandAugment and AADG.

    OMP_NUM_THREADS=1 python benchmarks/learning/aadg/leave_one_domain_out.py --data DIR             # all cells
    OMP_NUM_THREADS=1 python benchmarks/learning/aadg/leave_one_domain_out.py --data DIR --summary   # only the tables

``DIR`` holds the folder ``vessels``. Of DRIVE, STARE and CHASE_DB1 each is held out in turn; the other two train, and a
seventh of their patients selects the weights. Every cell has the same network (random weights), the same windows, the
same number of steps, and the same images of each domain in a batch; all settings stand in ``vessels.py`` and METHODS.
In the search AADG sees POLICIES copies of each image in a step, each with its own policy and window, where the others see
one: ``erm_wide`` and ``randaugment_wide`` have as many windows in a step as AADG, of as many images, and
``random_policies`` is AADG with a controller that never learns. The learning rate, one for all, was chosen on source
validation of the two baselines (``--pilot``, which shows nothing else). Goes on where it was stopped. Writes
``benchmarks/results/aadg_leave_one_domain_out.json`` and, beside this file, ``tables.md``.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from vessels import DOMAINS, PER_DOMAIN, POLICIES, SHARED, vessels

import modicum
from modicum.engine.environment import environment

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "results" / "aadg_leave_one_domain_out.json"
SEEDS = (0, 1, 2)
PILOT_SEED = 100
LR = 3e-3
WIDE: dict[str, Any] = {
    "batch_size": 2 * PER_DOMAIN * POLICIES,
    "repeats_per_epoch": SHARED["repeats_per_epoch"] * POLICIES,
}
SEARCH: dict[str, Any] = {"policies": POLICIES, "search_lr_factor": 1.0}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "erm": ("segment", {"augment": "segmentation"}),
    "randaugment": ("segment", {"augment": "randaugment"}),
    "aadg": ("aadg", SEARCH),
    "random_policies": ("aadg", {**SEARCH, "controller_lr": 1e-12}),
    "erm_wide": ("segment", {"augment": "segmentation", **WIDE}),
    "randaugment_wide": ("segment", {"augment": "randaugment", **WIDE}),
}
MAIN = ("erm", "randaugment", "aadg")
METRICS = ("dice", "auroc")


def fitted(table: Path, runs: Path, name: str, held_out: str, seed: int, lr: float, prefix: str = "") -> Any:
    """One run; made only where it is not there yet."""
    method, own = METHODS[name]
    run = f"{prefix}{name}-{held_out}-seed{seed}"
    settings = {**SHARED, "lr": lr, **own}
    return modicum.fit(
        table, method, name=run, runs=runs, resume=True, seed=seed, held_out=held_out, workers=1, **settings
    )


def cell(runs: Path, name: str, held_out: str, seed: int) -> dict[str, Any] | None:
    """Scores of a finished run; None where it is not finished."""
    path = runs / f"{name}-{held_out}-seed{seed}"
    if not (path / "metrics.json").is_file():
        return None
    found = modicum.Run.open(path).metrics
    scores = {
        f"{split}_{metric}": found["evaluations"][split]["metrics"][metric]
        for split in ("val", "test")
        for metric in METRICS
    }
    return {
        "method": name, "held_out": held_out, "seed": seed, "selected": found["selection"].get("epoch"),
        "steps": found["time"]["steps"], "train_seconds": found["time"]["train_seconds"], **scores,
    }  # fmt: skip


def pilot(table: Path, runs: Path) -> None:
    """Source validation alone, for two learning rates, with CHASE_DB1 held out and a seed that is not used again."""
    for name in ("erm", "randaugment"):
        for lr in (3e-3, 1e-2):
            run = fitted(table, runs, name, DOMAINS[0], PILOT_SEED, lr, f"pilot-lr{lr:g}-")
            found = run.metrics["evaluations"]["val"]["metrics"]
            shown = ", ".join(f"{metric} {found[metric]['value']:.4f}" for metric in METRICS)
            print(f"{name:12} lr {lr:g}: validation {shown}", flush=True)


def summary(cells: list[dict[str, Any]]) -> str:
    """Tables of Dice and AUROC on the held-out domains, and of AADG's difference to every other method."""
    lines = []
    for metric in METRICS:
        lines += [
            f"\n### {metric.upper() if metric == 'auroc' else metric.title()} on the domain held out\n",
            f"| method | {' | '.join(DOMAINS)} | mean over domains | AADG's gain |",
            "| --- |" + " ---: |" * (len(DOMAINS) + 2),
        ]
        table = {name: scores_of(cells, name, metric) for name in METHODS}
        for name, found in table.items():
            if np.isnan(found).all():
                continue
            columns = [spread(found[place]) for place in range(len(DOMAINS))]
            gain = "" if name == "aadg" else spread((table["aadg"] - found).mean(0), sign=True)
            lines.append(f"| {name} | {' | '.join(columns)} | {spread(found.mean(0))} | {gain} |")
    return "\n".join(lines) + "\n"


def scores_of(cells: list[dict[str, Any]], name: str, metric: str) -> np.ndarray:
    """Test scores [domains, seeds]; NaN where a cell is not finished."""
    found = np.full((len(DOMAINS), len(SEEDS)), np.nan)
    for each in cells:
        if each["method"] == name:
            value = each[f"test_{metric}"]["value"]
            found[DOMAINS.index(each["held_out"]), SEEDS.index(each["seed"])] = value
    return found


def spread(values: np.ndarray, sign: bool = False) -> str:
    """Mean and standard deviation over seeds."""
    if np.isnan(values).any():
        return f"({np.sum(~np.isnan(values))} of {len(values)} seeds)"
    return f"{values.mean():{'+' if sign else ''}.4f} ± {values.std(ddof=1):.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/aadg-lodo"))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(MAIN))
    parser.add_argument("--pilot", action="store_true")
    parser.add_argument("--summary", action="store_true")
    given = parser.parse_args()
    table = vessels(given.data, given.runs / "data")
    if given.pilot:
        pilot(table, given.runs)
        return
    if not given.summary:
        for seed in SEEDS:
            for held_out in DOMAINS:
                for name in given.methods:
                    fitted(table, given.runs, name, held_out, seed, LR)
                    found = cell(given.runs, name, held_out, seed)
                    print(
                        f"{name:16} {held_out:9} seed {seed}: {found['test_dice']['value']:.4f}", flush=True
                    )
    grid = [(name, held_out, seed) for seed in SEEDS for held_out in DOMAINS for name in METHODS]
    cells = [found for place in grid if (found := cell(given.runs, *place)) is not None]
    content = {"settings": {**SHARED, "lr": LR}, "environment": environment(), "cells": cells}
    RESULTS.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
    (HERE / "tables.md").write_text(summary(cells), encoding="utf-8")
    print(summary(cells))


if __name__ == "__main__":
    main()
