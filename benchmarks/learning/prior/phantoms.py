"""PRIOR, its ablation, its rivals and controls on made radiographs with made reports: retrieval, prompts, few labels.

    OMP_NUM_THREADS=1 python benchmarks/learning/prior/phantoms.py --work runs/prior_phantoms            # all cells
    OMP_NUM_THREADS=1 python benchmarks/learning/prior/phantoms.py --work runs/prior_phantoms --seeds 0  # some of them
    OMP_NUM_THREADS=1 python benchmarks/learning/prior/phantoms.py --work runs/prior_phantoms --summary  # only the table

All starts have the same small vision transformer, see the same training images equally often, and are adapted alike: by
the protocol of ``benchmarks/learning/radiographs`` (``linear``, the same labelled images for all starts of a seed, the
last weights). ``shuffled`` learns from reports of other patients, ``scrambled`` reads local features as PRIOR's release
does, ``random`` does not learn. Stages of PRIOR divide the epochs among themselves. Phantoms carry the ablation and say
nothing of patients. Each seed has its own file of results in ``benchmarks/results/prior_phantoms``, so that several
processes can share the work by ``--seeds``; what is there is not learned again.
"""

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

import modicum

# isort: split
import numpy as np
import pandas as pd
import torch

from modicum.atomic_files import write_text
from modicum.data.phantoms import write_chest_dataset
from modicum.engine.environment import environment

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "results" / "prior_phantoms"
PATIENTS, SIDE, EPOCHS, SEEDS = 1200, 96, 30, (0, 1, 2)
FRACTIONS = {"train": 0.7, "val": 0.05, "test": 0.25}
GREY = {"backbone.mean": [0.4978] * 3, "backbone.std": [0.2449] * 3}
NETWORK: dict[str, Any] = {
    "backbone": "test_vit", "image_size": SIDE, "device": "cpu", "precision": "32", "leaks": "allow", "resamples": 200,
    "write_report": False, **GREY,
}  # fmt: skip
PRETRAINING: dict[str, Any] = {
    **NETWORK, "weights": "random", "batch_size": 64, "weight_decay": 0.05, "augment": "none", "schedule": "cosine",
}  # fmt: skip
RATE = 1e-3
TEXT = {"text_width": 64, "text_depth": 2, "text_heads": 4, "text_hidden": 128, "report_length": 112,
        "max_sentences": 16, "width": 64}  # fmt: skip
PRIOR = {**TEXT, "heads": 4, "prototypes": 64, "queries": 8, "decoder_depth": 2, "decoder_heads": 4,
         "temperature": 0.07}  # fmt: skip
GLOBAL_ALONE = {"local_image_weight": 0, "local_text_weight": 0}
MASKED = {"decoder_width": 64, "decoder_depth": 2, "decoder_heads": 4}
REPORTS = {"report_length": 112, "report_width": 64, "report_depth": 2, "report_heads": 4}
STARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "mae": ("mae", MASKED),
    "mrm": ("mrm", {**MASKED, **REPORTS}),
    "convirt": ("convirt", TEXT),
    "gloria": ("gloria", TEXT),
    "global": ("prior", {**PRIOR, **GLOBAL_ALONE, "last_stage": "align"}),
    "+ local": ("prior", {**PRIOR, "last_stage": "align"}),
    "+ prototypes": ("prior", {**PRIOR, "last_stage": "prototype"}),
    "+ reconstruction": ("prior", PRIOR),
    "scrambled": ("prior", {**PRIOR, "last_stage": "align", "regions": "scrambled"}),
    "shuffled": ("prior", {**PRIOR, "last_stage": "align"}),
}
"""How each start is learned; those of PRIOR each add a part to the one before, but for both controls."""
LABELS: dict[
    float, dict[str, Any]
] = {  # about 100, 200 and 400 steps of 16 images, as in the table of radiographs
    0.01: {"epochs": 10, "repeats_per_epoch": 16, "warmup_epochs": 1, "validate_every": 10},
    0.1: {"epochs": 10, "repeats_per_epoch": 4, "warmup_epochs": 1, "validate_every": 10},
    1.0: {"epochs": 8, "repeats_per_epoch": 1, "warmup_epochs": 1, "validate_every": 8},
}
ADAPTATION: dict[str, Any] = {**NETWORK, "batch_size": 16, "select": "last", "lr": 3e-2}
# ConVIRT's loss reads the class token, and no other start's does.
POOL = {"convirt": "backbone"}
PROMPTS = {
    "cardiomegaly": ["The heart is enlarged.", "Cardiomegaly."],
    "consolidation": ["There is consolidation in the right lower lobe.", "Airspace consolidation."],
    "nodule": ["There is a rounded 1.5 cm nodule in the left lung.", "Right lung nodule."],
    "pneumothorax": ["There is a large right pneumothorax.", "Moderate left pneumothorax."],
    "effusion_left": ["Large left pleural effusion."],
    "effusion_right": ["Large right pleural effusion."],
}
RETRIEVAL = ("mrr", "image_to_text_recall_at_5", "text_to_image_recall_at_5", "image_to_text_precision_at_5",
             "chance_recall_at_5")  # fmt: skip


def data_sets(work: Path, patients: int) -> tuple[Path, Path]:
    """The data set, and the same with the reports of training rows exchanged."""
    folder = work / f"chest{patients}"
    path, shuffled = folder / "manifest.csv", folder / "shuffled.csv"
    if not shuffled.is_file():
        write_chest_dataset(folder, patients, SIDE, seed=7, fractions=FRACTIONS, masks=False)
        table = pd.read_csv(path, dtype=str)
        train = table.index[table["split"] == "train"]
        order = np.random.default_rng(0).permutation(train)
        table.loc[train, "report"] = table.loc[order, "report"].to_numpy()
        table.to_csv(shuffled, index=False)
    return path, shuffled


def stage_settings(settings: dict[str, Any], epochs: int) -> dict[str, Any]:
    """The same number of epochs in all, divided among PRIOR's stages that there are."""
    names = ["align", "prototype", "reconstruct"]
    used = names[: names.index(settings.get("last_stage", "reconstruct")) + 1]
    each = {name: epochs // len(used) for name in used}
    return {
        f"{name}.{key}": value
        for name in used
        for key, value in (
            ("epochs", each[name]),
            ("lr", RATE),
            ("warmup_epochs", 1),
            ("validate_every", each[name]),
        )
    }


def pretrained(name: str, seed: int, work: Path, patients: int, epochs: int) -> tuple[Any, float]:
    """A start's run, and the CPU seconds that it took."""
    plain, shuffled = data_sets(work, patients)
    method, settings = STARTS[name]
    own = {"epochs": epochs, "lr": RATE, "warmup_epochs": 1, "validate_every": epochs}
    length = stage_settings(settings, epochs) if method == "prior" else own
    began = time.process_time()
    run = modicum.fit(
        shuffled if name == "shuffled" else plain, method, name=f"{name.replace(' ', '')}-{seed}", seed=seed,
        runs=work / "runs", overwrite=True, **{**PRETRAINING, **settings, **length},
    )  # fmt: skip
    return run, time.process_time() - began


def found_by(run: Any, data: Path) -> dict[str, Any]:
    """Retrieval on test images, and the AUROC of findings by prompts, with intervals by patient."""
    pairs = run.evaluate(data, split="test", name="pairs", write_report=False)["metrics"]
    shown = run.evaluate(data, split="test", name="prompts", prompts=PROMPTS, write_report=False)["metrics"]
    return {metric: pairs[metric] for metric in RETRIEVAL} | {"zero_shot_auroc": shown["auroc"]}


def few_labels(start: str, weights: str, seed: int, work: Path, data: Path) -> dict[str, Any]:
    """Test AUROC of a linear head on each share of the labels."""
    scores = {}
    for fraction, length in LABELS.items():
        run = modicum.fit(
            data, "linear", name=f"linear-{100 * fraction:g}-{seed}", seed=seed, split_seed=seed, weights=weights,
            runs=work / "runs", overwrite=True, label_fraction=fraction, pool=POOL.get(start, "mean"),
            **ADAPTATION, **length,
        )  # fmt: skip
        scores[f"{100 * fraction:g} %"] = run.metrics["evaluations"]["test"]["metrics"]["auroc"]
    return scores


def cell(name: str, seed: int, work: Path, patients: int, epochs: int) -> dict[str, Any]:
    """One start and seed."""
    plain, _ = data_sets(work, patients)
    found: dict[str, Any] = {"name": name, "seed": seed}
    weights = "random"
    if name != "random":
        run, seconds = pretrained(name, seed, work, patients, epochs)
        weights = f"run:{run.path}"
        found |= {"cpu_seconds": seconds, "waited": run.metrics["time"]["data_wait_share"]}
        if STARTS[name][0] not in ("mae", "mrm"):
            found |= found_by(run, plain)
            if "findings" in run.metrics:
                found["findings"] = run.metrics["findings"]
    found["labels"] = few_labels(name, weights, seed, work, plain)
    if name not in ("+ local", "+ reconstruction"):
        shutil.rmtree(work / "runs" / f"{name.replace(' ', '')}-{seed}", ignore_errors=True)
    return found


# --- the table --------------------------------------------------------------------------------------------------------

COLUMNS = {
    "MRR": ("mrr",),
    "R@5, image to report": ("image_to_text_recall_at_5",),
    "R@5, report to image": ("text_to_image_recall_at_5",),
    "P@5, same findings": ("image_to_text_precision_at_5",),
    "zero-shot AUROC": ("zero_shot_auroc",),
    **{f"AUROC, {share} of labels": ("labels", share) for share in ("1 %", "10 %", "100 %")},
}


def value_of(one: dict[str, Any], path: tuple[str, ...]) -> float:
    """A score of a cell; NaN where it has none."""
    found: Any = one
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return float("nan") if found is None or found["value"] is None else float(found["value"])


def markdown(cells: list[dict[str, Any]]) -> str:
    """A row a start: mean and standard deviation over seeds."""
    rows = [f"| start | {' | '.join(COLUMNS)} |", "| --- |" + " ---: |" * len(COLUMNS)]
    for name in [name for name in ("random", *STARTS) if any(one["name"] == name for one in cells)]:
        own = [one for one in cells if one["name"] == name]
        shown = [spread([value_of(one, path) for one in own]) for path in COLUMNS.values()]
        rows.append(f"| {name} | {' | '.join(shown)} |")
    chances = [value_of(one, ("chance_recall_at_5",)) for one in cells]
    known = [chance for chance in chances if np.isfinite(chance)]
    if known:
        rows.append(f"| chance | | {known[0]:.3f} | {known[0]:.3f} | | 0.5 | 0.5 | 0.5 | 0.5 |")
    return "\n".join(rows) + "\n"


def spread(values: list[float]) -> str:
    """Mean and standard deviation of those that are known."""
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return ""
    deviation = f" ± {np.std(known, ddof=1):.3f}" if len(known) > 1 else ""
    return f"{np.mean(known):.3f}{deviation}"


def cells_of(seed: int) -> list[dict[str, Any]]:
    """What is known of a seed."""
    path = RESULTS / f"seed{seed}.json"
    return json.loads(path.read_text(encoding="utf-8"))["cells"] if path.is_file() else []


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--only", nargs="+", default=["random", *STARTS], choices=["random", *STARTS])
    parser.add_argument("--patients", type=int, default=PATIENTS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--summary", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for seed in () if given.summary else given.seeds:
        cells = cells_of(seed)
        for name in given.only:
            if name in {one["name"] for one in cells}:
                continue
            cells.append(cell(name, seed, given.work, given.patients, given.epochs))
            content = {
                "patients": given.patients,
                "side": SIDE,
                "epochs": given.epochs,
                "environment": environment(),
                "cells": cells,
            }
            write_text(RESULTS / f"seed{seed}.json", json.dumps(content, indent=1, default=str) + "\n")
            one = cells[-1]
            shown = {title: round(value_of(one, path), 3) for title, path in COLUMNS.items()}
            print(seed, name, round(one.get("cpu_seconds", 0)), shown, flush=True)
    write_text(HERE / "tables.md", markdown([one for seed in SEEDS for one in cells_of(seed)]))
    print((HERE / "tables.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
