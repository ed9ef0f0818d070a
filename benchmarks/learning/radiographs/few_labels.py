"""Random weights, MAE and MRM, each adapted by a linear probe, LoRA and full fine-tuning with few and many labels.

    OMP_NUM_THREADS=1 python benchmarks/learning/radiographs/few_labels.py --data DIR --pilot
    OMP_NUM_THREADS=1 python benchmarks/learning/radiographs/few_labels.py --data DIR              # all cells
    OMP_NUM_THREADS=1 python benchmarks/learning/radiographs/few_labels.py --data DIR --summary    # only the tables

``DIR`` holds ``cxr_pneumoniamnist``, ``cxr_covid`` and ``cxr_reports``; ``radiographs.py`` says what is learned from.
For each seed a network is pre-trained with ``mae`` and with ``mrm``, on the same images as often; the same seed draws the
labelled images, one set for all three starts, and the order in which they are shown. All settings stand below. The
learning rate of each adaptation was chosen on validation images (``--pilot``, which shows nothing else). Runs are fitted
without their report pages. Goes on where it was stopped; two processes may share the work by ``--seeds`` and
``--starts``. Writes ``benchmarks/results/radiographs_few_labels.json`` and, beside this file, ``tables.md``.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from radiographs import radiographs

from modicum.atomic_files import write_text
from modicum.engine.environment import environment
from modicum.engine.fit import fit_recipe
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.run_folder import STORES, RunFolder

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "results" / "radiographs_few_labels.json"
SEEDS = (0, 1, 2)
PILOT_SEED = 100
STARTS = ("random", "untrained", "mae", "mrm")
"""``untrained`` has the first values and the fixed positions that pre-training begins with, and has learned nothing."""
MAIN = ("random", "mae", "mrm")
NETWORK: dict[str, Any] = {
    "backbone": "test_vit", "image_size": 96, "patient": "patient", "precision": "bf16", "device": "cpu",
    "resamples": 1000,
}  # fmt: skip
PRETRAINING: dict[str, Any] = {
    **NETWORK, "weights": "random", "epochs": 20, "batch_size": 64, "lr": 1e-3, "warmup_epochs": 1, "validate_every": 5,
    "decoder_width": 64, "decoder_depth": 2, "decoder_heads": 4,
}  # fmt: skip
REPORTS: dict[str, Any] = {
    "report": "report", "report_length": 64, "report_width": 64, "report_depth": 2, "report_heads": 4,
}  # fmt: skip
# The normalisation that pre-training has, for random weights too; the last weights are kept, as a search for the best
# would need labels of many validation images.
ADAPTATION: dict[str, Any] = {**NETWORK, "batch_size": 16, "select": "last"}
GREY = {"backbone.mean": [0.4978] * 3, "backbone.std": [0.2449] * 3}
LENGTH: dict[str, dict[float, dict[str, Any]]] = {  # about 100, 200 and 400 steps of 16 images
    "pneumonia": {
        0.01: {"epochs": 10, "repeats_per_epoch": 8, "warmup_epochs": 1, "validate_every": 10},
        0.1: {"epochs": 10, "repeats_per_epoch": 2, "warmup_epochs": 1, "validate_every": 10},
        1.0: {"epochs": 3, "repeats_per_epoch": 1, "warmup_epochs": 0.3, "validate_every": 3},
    },
    "covid": {
        0.1: {"epochs": 10, "repeats_per_epoch": 10, "warmup_epochs": 1, "validate_every": 10},
        1.0: {"epochs": 10, "repeats_per_epoch": 2, "warmup_epochs": 1, "validate_every": 10},
    },
}
PILOT: dict[str, tuple[float, ...]] = {
    "linear": (1e-3, 1e-2, 3e-2),
    "lora": (7.5e-4, 3e-3, 1e-2),
    "full": (1e-4, 3e-4, 1e-3),
}
# The best of the pilot for random weights and for MAE, whose rates MRM has too; only ``full`` wants two.
LR: dict[str, dict[str, float]] = {
    "untrained": {"linear": 3e-2, "lora": 3e-3, "full": 1e-3},
    "random": {"linear": 3e-2, "lora": 3e-3, "full": 1e-3},
    "mae": {"linear": 3e-2, "lora": 3e-3, "full": 3e-4},
    "mrm": {"linear": 3e-2, "lora": 3e-3, "full": 3e-4},
}
METRICS = ("auroc", "accuracy")
Place = tuple[str, str, float, int]


def fitted(runs: Path, name: str, table: Path, method: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What a run measured; it is made, or gone on with, where it is not finished."""
    folder = RunFolder(runs / name)
    if not folder.metrics.is_file():
        recipe = make_recipe(table, method, settings)
        fit_recipe(recipe, folder, resume=True, stores=runs / STORES, workers=0)
    return json.loads(folder.metrics.read_text(encoding="utf-8"))


def pretrained(runs: Path, tables: Path, method: str, seed: int) -> dict[str, Any]:
    """Pre-training of one seed, on images alone (``mae``) or with the notes that some have (``mrm``)."""
    own: dict[str, dict[str, Any]] = {
        "untrained": {"epochs": 1, "warmup_epochs": 0, "lr": 1e-12},
        "mae": {},
        "mrm": {**REPORTS, "vocabulary": str(tables / "vocabulary.json")},
    }
    settings = {**PRETRAINING, **own[method], "seed": seed}
    kind = "mrm" if method == "mrm" else "mae"
    return fitted(runs, f"{method}-seed{seed}", tables / "pretrain.csv", kind, settings)


def adapted(runs: Path, tables: Path, place: Place, lr: float, task: str, prefix: str = "") -> dict[str, Any]:
    """Adaptation of one start; that of the pilot begins with the pre-training of the first seed."""
    start, method, fraction, seed = place
    source = SEEDS[0] if seed == PILOT_SEED else seed
    weights = (
        GREY | {"weights": "random"}
        if start == "random"
        else {"weights": f"run:{runs / f'{start}-seed{source}'}"}
    )
    settings = {
        **ADAPTATION, **LENGTH[task][fraction], **weights, "lr": lr, "seed": seed, "split_seed": seed,
        "label_fraction": fraction,
    }  # fmt: skip
    return fitted(runs, prefix + named(task, place), tables / f"{task}.csv", method, settings)


def named(task: str, place: Place) -> str:
    """Of a cell's run folder."""
    start, method, fraction, seed = place
    return f"{task}-{start}-{method}-{100 * fraction:g}-seed{seed}"


def grid(task: str, seeds: Sequence[int]) -> Iterator[Place]:
    """All cells of a task, seed by seed."""
    for seed, start, method, fraction in product(seeds, STARTS, PILOT, LENGTH[task]):
        yield start, method, fraction, seed


def pilot(runs: Path, tables: Path) -> None:
    """Validation AUROC with a tenth of the labels, at a seed that is not used again, for three learning rates each."""
    for start in ("random", "mae"):
        if start != "random":
            pretrained(runs, tables, start, SEEDS[0])
        for method, rates in PILOT.items():
            for lr in rates:
                place = (start, method, 0.1, PILOT_SEED)
                found = adapted(runs, tables, place, lr, "pneumonia", pilot_of(lr))
                value = found["evaluations"]["val"]["metrics"]["auroc"]["value"]
                print(f"{start:6} {method:6} lr {lr:g}: validation AUROC {value:.4f}", flush=True)


def pilot_of(lr: float) -> str:
    """What the names of the pilot's runs begin with."""
    return f"pilot-lr{lr:g}-"


# --- tables ----------------------------------------------------------------------------------------------------------


def cell(runs: Path, task: str, place: Place) -> dict[str, Any] | None:
    """Scores of a finished cell; None where it is not finished."""
    path = RunFolder(runs / named(task, place)).metrics
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    scores = {
        f"{split}_{metric}": found["evaluations"][split]["metrics"][metric]
        for split in ("val", "test")
        for metric in METRICS
    }
    start, method, fraction, seed = place
    return {
        "task": task, "start": start, "method": method, "fraction": fraction, "seed": seed,
        "steps": found["time"]["steps"], "train_seconds": found["time"]["train_seconds"], **scores,
    }  # fmt: skip


def piloted(runs: Path) -> list[dict[str, Any]]:
    """What the learning rates were chosen by."""
    found = []
    for start, (method, rates) in product(STARTS, PILOT.items()):
        for lr in rates:
            path = RunFolder(
                runs / (pilot_of(lr) + named("pneumonia", (start, method, 0.1, PILOT_SEED)))
            ).metrics
            if path.is_file():
                scores = json.loads(path.read_text(encoding="utf-8"))["evaluations"]["val"]["metrics"]
                found.append({"start": start, "method": method, "lr": lr, "val_auroc": scores["auroc"]})
    return found


def pretraining(runs: Path) -> list[dict[str, Any]]:
    """What the pre-trainings ended with, and the share of their time that they waited for data."""
    found = []
    for method, seed in product(MAIN[1:], SEEDS):
        path = RunFolder(runs / f"{method}-seed{seed}").metrics
        if path.is_file():
            content = json.loads(path.read_text(encoding="utf-8"))
            metrics = content["evaluations"]["val"]["metrics"]
            found.append(
                {
                    "method": method,
                    "seed": seed,
                    "time": content["time"],
                    "parameters": content["parameters"],
                    **metrics,
                }
            )
    return found


def summary(cells: list[dict[str, Any]], task: str) -> str:
    """A table of each metric on the test images, and of the gains of AUROC over random weights, seed by seed."""
    lines: list[str] = []
    fractions = list(LENGTH[task])
    for metric in METRICS:
        found = {
            (start, method): scores_of(cells, task, start, method, metric)
            for method, start in product(PILOT, STARTS)
        }
        if all(np.isnan(values).all() for values in found.values()):
            continue
        shown = [f"{100 * fraction:g} %" for fraction in fractions]
        gains = [f"gain, {name}" for name in shown] if metric == "auroc" else []
        lines += [
            f"\n### {'Accuracy' if metric == 'accuracy' else 'AUROC'}, {task}\n",
            f"| method | start | {' | '.join([*shown, *gains])} |",
            "| --- | --- |" + " ---: |" * (len(shown) + len(gains)),
        ]
        for method, start in product(PILOT, STARTS):
            values = found[start, method]
            if np.isnan(values).all():
                continue
            columns = [spread(each) for each in values]
            if gains:
                gain = values - found["random", method]
                columns += ["" if start == "random" else spread(each, sign=True) for each in gain]
            lines.append(f"| {method} | {start} | {' | '.join(columns)} |")
    return "\n".join(lines) + "\n"


def scores_of(cells: list[dict[str, Any]], task: str, start: str, method: str, metric: str) -> np.ndarray:
    """Test scores [fractions, seeds]; NaN where a cell is not finished."""
    fractions = list(LENGTH[task])
    found = np.full((len(fractions), len(SEEDS)), np.nan)
    for each in cells:
        if (each["task"], each["start"], each["method"]) == (task, start, method):
            row, column = fractions.index(each["fraction"]), SEEDS.index(each["seed"])
            found[row, column] = each[f"test_{metric}"]["value"]
    return found


def spread(values: np.ndarray, sign: bool = False) -> str:
    """Mean and standard deviation over the seeds that are finished."""
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return "".join(f"{value:{'+' if sign else ''}.3f}" for value in known)
    missing = "" if len(known) == len(values) else f" ({len(known)} seeds)"
    return f"{known.mean():{'+' if sign else ''}.3f} ± {known.std(ddof=1):.3f}{missing}"


def write_results(runs: Path, tables: Path, tasks: Sequence[str]) -> None:
    """JSON and tables of all that is finished."""
    cells = [
        found
        for task in tasks
        for place in grid(task, SEEDS)
        if (found := cell(runs, task, place)) is not None
    ]
    settings = {"pretraining": PRETRAINING, "reports": REPORTS, "adaptation": ADAPTATION, "lr": LR}
    content = {
        "settings": {**settings, "length": LENGTH},
        "environment": environment(),
        "images": (tables / "counts.csv").read_text(encoding="utf-8").splitlines(),
        "left_out": (tables / "left_out.txt").read_text(encoding="utf-8").splitlines(),
        "pilot": piloted(runs),
        "pretraining": pretraining(runs),
        "cells": cells,
    }
    write_text(RESULTS, json.dumps(content, indent=1, default=str) + "\n")
    write_text(HERE / "tables.md", "".join(summary(cells, task) for task in tasks))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/radiographs"))
    parser.add_argument("--tasks", nargs="+", choices=("pneumonia", "covid"), default=["pneumonia"])
    parser.add_argument("--seeds", nargs="+", type=int, choices=SEEDS, default=list(SEEDS))
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=list(MAIN))
    parser.add_argument("--methods", nargs="+", choices=PILOT, default=list(PILOT))
    parser.add_argument(
        "--pretrain", action="store_true", help="only the pre-trainings of these seeds and starts"
    )
    parser.add_argument("--pilot", action="store_true")
    parser.add_argument("--summary", action="store_true")
    given = parser.parse_args()
    from timm.layers import set_fused_attn

    set_fused_attn(False)  # for speed alone: on a CPU in bfloat16 its backward pass takes half of a step
    tables = radiographs(given.data, given.runs / "data")
    if given.pilot:
        pilot(given.runs, tables)
        return
    if given.pretrain:
        for seed, method in product(given.seeds, given.starts):
            if method != "random":
                print(method, seed, pretrained(given.runs, tables, method, seed)["time"], flush=True)
        return
    seeds = () if given.summary else given.seeds
    places = [(task, place) for task in given.tasks for place in grid(task, seeds)]
    for task, place in places:
        start, method, _, seed = place
        if start not in given.starts or method not in given.methods:
            continue
        if start != "random":
            pretrained(given.runs, tables, start, seed)
        found = adapted(given.runs, tables, place, LR[start][method], task)
        value = found["evaluations"]["test"]["metrics"]["auroc"]["value"]
        print(f"{named(task, place)}: test AUROC {value:.4f}", flush=True)
        write_results(given.runs, tables, ("pneumonia", "covid"))
    write_results(given.runs, tables, ("pneumonia", "covid"))
    print((HERE / "tables.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
