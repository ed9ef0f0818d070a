"""PRIOR, its ablation and ConVIRT on made radiographs with made reports: retrieval, prompts, and a few labels.

    OMP_NUM_THREADS=1 python benchmarks/learning/prior/phantoms.py --work runs/prior_phantoms

For each seed and method: pre-training on the training part of made radiographs; retrieval on test images against chance;
zero-shot AUROC of findings by prompts; AUROC of a logistic probe on the features with few labels. ``shuffled``
learns from reports of other patients, ``random`` does not learn. Phantoms carry the ablation and say nothing of patients.
Results go into ``benchmarks/results/prior_phantoms.json`` as they come; what is there is not learned again.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import modicum

# isort: split
import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from modicum.data.phantoms import write_chest_dataset

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "benchmarks" / "results" / "prior_phantoms.json"
PATIENTS, SIDE, EPOCHS, SEEDS = 700, 64, 12, (0, 1, 2)
LABELLED = 40
TEXT = {"text_width": 64, "text_depth": 2, "text_heads": 4, "text_hidden": 128, "report_length": 112,
        "max_sentences": 16, "width": 64}  # fmt: skip
BASE = {"backbone": "test_resnet", "weights": "random", "image_size": SIDE, "batch_size": 32, "lr": 1e-3,
        "resamples": 200, "device": "cpu", "leaks": "allow", "weight_decay": 1e-4, "augment": "none",
        "write_report": False, "precision": "32"}  # fmt: skip
ALONE = {"local_image_weight": 0, "local_text_weight": 0}
PRIOR = {**TEXT, "heads": 4, "prototypes": 64, "queries": 8, "decoder_depth": 2, "decoder_heads": 4,
         "temperature": 0.07}  # fmt: skip
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "convirt": ("convirt", TEXT),
    "global": ("prior", {**PRIOR, **ALONE, "last_stage": "align"}),
    "+ local": ("prior", {**PRIOR, "last_stage": "align"}),
    "+ prototypes": ("prior", {**PRIOR, "last_stage": "prototype"}),
    "+ reconstruction": ("prior", PRIOR),
    "shuffled": ("prior", {**PRIOR, "last_stage": "align"}),
}
PROMPTS = {
    "cardiomegaly": ["The heart is enlarged.", "Cardiomegaly."],
    "consolidation": ["There is consolidation in the right lower lobe.", "Airspace consolidation."],
    "nodule": ["There is a rounded 1.5 cm nodule in the left lung."],
    "pneumothorax": ["There is a large right pneumothorax."],
    "effusion": ["Large left pleural effusion."],
}


def stage_settings(settings: dict[str, Any], epochs: int) -> dict[str, Any]:
    """The same number of epochs in all, divided among the stages that there are."""
    names = ["align", "prototype", "reconstruct"]
    last = settings.get("last_stage", "reconstruct")
    used = names[: names.index(last) + 1]
    each = {f"{name}.epochs": max(1, epochs // len(used)) for name in used}
    return {
        **each,
        **{f"{name}.lr": 1e-3 for name in used},
        **{f"{name}.warmup_epochs": 0 for name in used},
    }


def data_sets(work: Path, patients: int) -> tuple[Path, Path]:
    """The data set, and the same with the reports of training rows shuffled."""
    folder = work / f"chest{patients}"
    path, shuffled = folder / "manifest.csv", folder / "shuffled.csv"
    if not shuffled.is_file():
        fractions = {"train": 0.6, "val": 0.1, "test": 0.3}
        write_chest_dataset(folder, patients, SIDE, seed=7, fractions=fractions, masks=False)
        table = pd.read_csv(path, dtype=str)
        train = table.index[table["split"] == "train"]
        order = np.random.default_rng(0).permutation(train)
        table.loc[train, "report"] = table.loc[order, "report"].to_numpy()
        table.to_csv(shuffled, index=False)
    return path, shuffled


@torch.no_grad()
def probe(network: torch.nn.Module, data: Path, seed: int) -> float:
    """Mean AUROC over findings of a logistic probe with few labels, on test images."""
    import cv2

    table = pd.read_csv(data)
    names = [name for name in table if name.startswith("labels:")]
    pixels = np.stack([cv2.imread(str(data.parent / name), 0) for name in table["image"]]) / 255.0
    images = torch.from_numpy(pixels).float()[:, None].repeat(1, 3, 1, 1)
    features = torch.cat([network.eval()(part) for part in images.split(64)]).numpy()
    features = (features - features.mean(0)) / (features.std(0) + 1e-6)
    train = np.flatnonzero(table["split"] == "train")
    few = np.random.default_rng(seed).permutation(train)[:LABELLED]
    test = np.flatnonzero(table["split"] == "test")
    scores = []
    for name in names:
        labels = table[name].to_numpy()
        if len(set(labels[few])) == 2 and len(set(labels[test])) == 2:
            fitted = LogisticRegression(C=0.1, max_iter=2000).fit(features[few], labels[few])
            scores.append(roc_auc_score(labels[test], fitted.predict_proba(features[test])[:, 1]))
    return float(np.mean(scores))


def cell(name: str, seed: int, work: Path, patients: int, epochs: int) -> dict[str, Any]:
    """One method and seed."""
    plain, shuffled = data_sets(work, patients)
    method, settings = VARIANTS[name]
    per_stage = stage_settings(settings, epochs) if method == "prior" else {"epochs": epochs}
    began = time.monotonic()
    run = modicum.fit(
        shuffled if name == "shuffled" else plain, method, name=f"{name.replace(' ', '')}-{seed}", seed=seed,
        runs=work / "runs", overwrite=True, **{**BASE, **settings, **per_stage},
    )  # fmt: skip
    seconds = time.monotonic() - began
    found = run.evaluate(plain, split="test", name="pairs", write_report=False)["metrics"]
    findings = pd.read_csv(plain, nrows=1).columns
    prompts = {
        finding.removeprefix("labels:"): texts
        for word, texts in PROMPTS.items()
        for finding in findings
        if finding.startswith("labels:") and word in finding.replace("_", " ")
    }
    shown = run.evaluate(plain, split="test", name="prompts", prompts=prompts, write_report=False)["metrics"]
    kept = ("mrr", "image_to_text_recall_at_5", "text_to_image_recall_at_5", "chance_recall_at_5")
    return {
        "name": name, "seed": seed, "seconds": seconds, **{metric: found[metric]["value"] for metric in kept},
        "zero_shot_auroc": shown["auroc"]["value"], "probe_auroc": probe(run.method().predictor(), plain, seed),
    }  # fmt: skip


def untrained(seed: int, work: Path, patients: int) -> dict[str, Any]:
    """The probe on random weights."""
    from modicum.nn import Backbone

    torch.manual_seed(seed)
    network = Backbone("test_resnet", (SIDE, SIDE))
    return {"name": "random", "seed": seed, "probe_auroc": probe(network, data_sets(work, patients)[0], seed)}


def markdown(cells: list[dict[str, Any]]) -> str:
    """A row a method: the mean over seeds and the range."""
    columns = ["mrr", "image_to_text_recall_at_5", "zero_shot_auroc", "probe_auroc"]
    rows = [
        "| method | seeds | MRR | R@5, image to text | zero-shot AUROC | probe AUROC |",
        "|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(one["name"] for one in cells):
        own = [one for one in cells if one["name"] == name]
        values = []
        for column in columns:
            found = [one[column] for one in own if one.get(column) is not None]
            values.append(f"{np.mean(found):.3f} ({min(found):.3f}-{max(found):.3f})" if found else "")
        rows.append(f"| {name} | {len(own)} | {' | '.join(values)} |")
    return "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--only", nargs="+", default=["random", *VARIANTS], choices=["random", *VARIANTS])
    parser.add_argument("--patients", type=int, default=PATIENTS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    known = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"cells": []}
    done = {(one["name"], one["seed"]) for one in known["cells"]}
    for seed in arguments.seeds:
        for name in arguments.only:
            if (name, seed) in done:
                continue
            if name == "random":
                found = untrained(seed, arguments.work, arguments.patients)
            else:
                found = cell(name, seed, arguments.work, arguments.patients, arguments.epochs)
            known["cells"].append(found)
            known |= {
                "patients": arguments.patients,
                "side": SIDE,
                "epochs": arguments.epochs,
                "labelled": LABELLED,
            }
            RESULTS.write_text(json.dumps(known, indent=1) + "\n")
            print(found, flush=True)
    print(markdown(known["cells"]))


if __name__ == "__main__":
    main()
