"""Sanity on real radiographs with notes: do image and note find each other better than chance, and shuffled pairs.

    OMP_NUM_THREADS=1 python benchmarks/learning/prior/notes.py --data ../shared/data/cxr_covid --work runs/notes

353 radiographs with clinical notes, split by patient; three seeds draw split, networks and batches. The set is
far too small to learn what radiologists say: this shows that nothing leaks and nothing breaks, and no more. Also reads,
splits and encodes the 2,896 reports of ``--reports`` once and tells how many a second.
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

from modicum.data.reports import encode_sentences, join_sections, train_tokenizer

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "benchmarks" / "results" / "prior_notes.json"
SEEDS, SIDE, EPOCHS = (0, 1, 2), 96, 12
TEXT = {"text_width": 64, "text_depth": 2, "text_heads": 4, "text_hidden": 128, "report_length": 128,
        "max_sentences": 16, "width": 64}  # fmt: skip
BASE = {"backbone": "test_resnet", "weights": "random", "image_size": SIDE, "batch_size": 32, "resamples": 200,
        "device": "cpu", "leaks": "drop", "augment": "none", "write_report": False, "precision": "32",
        "fractions": (0.6, 0.1, 0.3)}  # fmt: skip
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "convirt": ("convirt", {**TEXT, "lr": 1e-3, "epochs": EPOCHS}),
    "prior, align": (
        "prior",
        {**TEXT, "heads": 4, "temperature": 0.07, "last_stage": "align", "align.epochs": EPOCHS, "align.lr": 1e-3,
         "align.warmup_epochs": 0},
    ),
}  # fmt: skip


def tables(data: Path, work: Path) -> dict[str, Path]:
    """The notes as they are, and with those of different images exchanged."""
    work.mkdir(parents=True, exist_ok=True)
    notes = pd.read_csv(data / "clinical_notes.csv")
    notes["image"] = [str((data / "images" / name).resolve()) for name in notes["image"]]
    notes = notes.rename(columns={"clinical_notes": "report"})[["image", "patient", "report"]]
    paths = {"own": work / "own.csv", "shuffled": work / "shuffled.csv"}
    notes.to_csv(paths["own"], index=False)
    order = np.random.default_rng(0).permutation(len(notes))
    notes.assign(report=notes["report"].to_numpy()[order]).to_csv(paths["shuffled"], index=False)
    return paths


def cell(name: str, pairs: str, path: Path, seed: int, work: Path) -> dict[str, Any]:
    """One method and seed on own or shuffled pairs."""
    method, settings = METHODS[name]
    run = modicum.fit(
        path, method, name=f"{method}-{pairs}-{seed}", seed=seed, runs=work / "runs", overwrite=True,
        allow_outside=True, **BASE, **settings,
    )  # fmt: skip
    found = run.metrics["evaluations"]["test"]
    kept = ("mrr", "image_to_text_recall_at_5", "text_to_image_recall_at_5", "chance_recall_at_5")
    values = {metric: found["metrics"][metric]["value"] for metric in kept}
    return {"name": name, "pairs": pairs, "seed": seed, "images": found["images"], **values}


def reports_a_second(folder: Path) -> dict[str, Any]:
    """How many real reports are split and encoded in a second."""
    table = pd.read_csv(folder / "indiana_reports.csv")
    sections = table[["findings", "impression"]].fillna("").to_dict("records")
    texts = [text for row in sections if (text := join_sections(row))]
    tokenizer = train_tokenizer(texts, 5000)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        encode_sentences(tokenizer, texts, 256, 32)
        seconds.append(time.perf_counter() - began)
    return {"reports": len(texts), "a_second": len(texts) / min(seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--reports", type=Path, default=None)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    known: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"cells": []}
    done = {(one["name"], one["pairs"], one["seed"]) for one in known["cells"]}
    if arguments.reports is not None:
        known["reports"] = reports_a_second(arguments.reports)
        print(known["reports"], flush=True)
        RESULTS.write_text(json.dumps(known, indent=1) + "\n")
    paths = tables(arguments.data, arguments.work)
    for seed in arguments.seeds:
        for name in METHODS:
            for pairs, path in paths.items():
                if (name, pairs, seed) not in done:
                    known["cells"].append(cell(name, pairs, path, seed, arguments.work))
                    RESULTS.write_text(json.dumps(known, indent=1) + "\n")
                    print(known["cells"][-1], flush=True)


if __name__ == "__main__":
    main()
