"""Methods for long tails on real skin lesions (HAM10000 as thumbnails of 8 x 8 grey pixels), split by lesion.

    python benchmarks/learning/long_tail.py --data DIR/skin_ham10000 --work DIR [--seeds 0 1 2] [--only NAME ...]

Two training sets: as they come (``natural``), and thinned out to the usual exponential profile with a ratio of 100
between the largest and the smallest class (``if100``). Validation and test images are the same for both. Each run keeps
the weights of the epoch with its best validation balanced accuracy: nothing was chosen on test images. A run that is
there already is not trained again, and the results are written after each. Thumbnails show shape and contrast, not what
a dermatologist looks at: the order of methods is the point.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from long_tail_table import markdown_tables

import modicum
from modicum.engine.environment import environment

RESULTS = Path(__file__).parents[1] / "results" / "long_tail.json"
IMBALANCE = 100
AUGMENT = [
    {"name": "random_resized_crop", "area": [0.5, 1.0], "aspect": [0.75, 1.3333]},
    {"name": "horizontal_flip"},
    {"name": "vertical_flip"},
]
COMMON: dict[str, Any] = {
    "image_size": 16, "backbone": "test_resnet", "weights": "random", "epochs": 10, "batch_size": 64, "lr": 2e-3,
    "warmup_epochs": 1, "weight_decay": 0.05, "monitor": "balanced_accuracy", "leaks": "drop", "resamples": 300,
    "head_above": 500, "tail_below": 100, "augment": AUGMENT,
}  # fmt: skip
CONTRAST = {
    "augment": "none", "query_augment": AUGMENT, "key_augment": AUGMENT, "queue": 1024, "projection": 64,
    "projection_width": 128,
}  # fmt: skip
SPMIX = {**CONTRAST, "mix": "pixels", "patch": 2}
CELLS: dict[str, tuple[str, dict[str, Any]]] = {
    "cross-entropy": ("full", {}),
    "logit adjustment": ("full", {"loss": "logit_adjusted"}),
    "SPMix": ("spmix", SPMIX),
    "GPaCo": ("gpaco", CONTRAST),
    "PaCo": ("paco", {key: value for key, value in CONTRAST.items() if key != "projection_width"} | {"momentum": 0.99}),
    "SPMix, shuffled saliency": ("spmix", {**SPMIX, "guide": "shuffled"}),
    "SPMix, roles of the release": ("spmix", {**SPMIX, "foreground": "natural"}),
    "class-balanced sampling": ("full", {"sampling": "balanced"}),
    "SPMix, constant share": ("spmix", {**SPMIX, "guide": "constant"}),
    "SPMix, no contrast": ("spmix", {**SPMIX, "contrast": False}),
    "GPaCo, class-balanced sampling": ("gpaco", {**CONTRAST, "sampling": "balanced"}),
    "CMO": ("mixed", {"mixer": "cmo"}),
    "cRT": ("decoupled", {}),
    "LDAM-DRW": ("ldam", {}),
    "square-root sampling": ("full", {"sampling": "square_root"}),
    "focal": ("full", {"loss": "focal"}),
    "class-balanced loss": ("full", {"class_weights": "effective"}),
    "tau-norm": ("decoupled", {"classifier": "tau_norm"}),
    "mixup": ("mixed", {"mixer": "mixup", "mix_alpha": 0.4}),
    "CutMix": ("mixed", {"mixer": "cutmix"}),
    "Remix": ("mixed", {"mixer": "remix"}),
    "SPMix, strict": ("spmix", {**SPMIX, "strict": True}),
}  # fmt: skip
REFERENCE = "logit adjustment"
"""What a row's head and tail are compared with, seed by seed."""
SHOWN = ("balanced_accuracy", "head_accuracy", "medium_accuracy", "tail_accuracy", "macro_f1", "accuracy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--profiles", nargs="+", default=["natural", "if100"])
    parser.add_argument("--only", nargs="*", help="names of rows")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="of processor time; then no run is begun"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--set", nargs="*", default=[], help="KEY=VALUE, of all runs")
    options = parser.parse_args()
    further: dict[str, Any] = dict(pair.split("=", 1) for pair in options.set)
    tables = written(options.data / "ham10000_8x8_grey.npz", options.work)
    for seed in options.seeds:
        for profile in options.profiles:
            for name, (method, own) in CELLS.items():
                if options.only and name not in options.only:
                    continue
                run = options.work / "runs" / f"{_slug(profile, name)}-seed{seed}"
                if not finished(run) and time.process_time() < 60 * options.minutes:
                    modicum.fit(
                        tables[profile], method=method, write_report=False, runs=run.parent, name=run.name,
                        overwrite=True, seed=seed, stores=options.work / "stores", **{**COMMON, **own, **further},
                    )  # fmt: skip
                collect(options.work / "runs", {**COMMON, **further}, tables, options.out)


def _slug(profile: str, name: str) -> str:
    return f"{profile}-{name.replace(' ', '_').replace(',', '')}"


def finished(run: Path) -> bool:
    status = run / "status.json"
    return status.is_file() and json.loads(status.read_text())["state"] == "finished"


def written(file: Path, work: Path) -> dict[str, Path]:
    """Writes the thumbnails and a table for each profile: 60 % of the lesions of each class train, 15 % validate."""
    loaded = np.load(file)
    names = [str(name) for name in loaded["class_names"]]
    folder = work / "thumbnails"
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in zip(loaded["image_id"], loaded["images"], strict=True):
        if not (folder / f"{name}.png").exists():
            cv2.imwrite(str(folder / f"{name}.png"), image)
    table = pd.DataFrame(
        {
            "image": [f"thumbnails/{name}.png" for name in loaded["image_id"]],
            "label": [names[label] for label in loaded["labels"]],
            "patient": loaded["lesion_id"].astype(str),
        }
    )
    generator = np.random.default_rng(0)
    table["split"] = ""
    for label in names:
        lesions = generator.permutation(table.loc[table["label"] == label, "patient"].unique())
        ends = (np.array([0.6, 0.75]) * len(lesions)).astype(int)
        for split, part in zip(("train", "val", "test"), np.split(lesions, ends), strict=True):
            table.loc[table["patient"].isin(part) & (table["label"] == label), "split"] = split
    paths = {}
    for profile, rows in (("natural", table), ("if100", thinned(table, generator))):
        paths[profile] = work / f"{profile}.csv"
        rows.to_csv(paths[profile], index=False)
    return paths


def thinned(table: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """Training images down to ``largest * 100 ** (-rank / (classes - 1))`` by class, the usual profile of a ratio of 100,
    with the largest class as large as the others allow.
    """
    training = table[table["split"] == "train"]
    counts = training["label"].value_counts()
    shares = IMBALANCE ** (-np.arange(len(counts)) / (len(counts) - 1))
    largest = min(counts / shares)
    kept = [table[table["split"] != "train"]]
    for label, share in zip(counts.index, shares, strict=True):
        rows = training.index[training["label"] == label].to_numpy()
        kept.append(training.loc[np.sort(generator.permutation(rows)[: round(largest * share)])])
    return pd.concat(kept).sort_index()


def collect(runs: Path, common: dict[str, Any], tables: dict[str, Path], out: Path) -> None:
    """Writes the results of all runs that are finished, and prints the table."""
    content: dict[str, Any] = {
        "command": "python benchmarks/learning/long_tail.py --data DIR/skin_ham10000 --work DIR",
        "date": time.strftime("%Y-%m-%d"),
        "environment": environment(),
        "settings": common,
        "rows": {},
    }
    for profile, table in tables.items():
        rows = pd.read_csv(table)
        counts = rows[rows["split"] == "train"]["label"].value_counts()
        content[f"training images, {profile}"] = {str(name): int(count) for name, count in counts.items()}
        reference = _metrics(runs, profile, REFERENCE)
        found = {name: _metrics(runs, profile, name) for name in CELLS}
        content["rows"][profile] = {name: _row(seeds, reference) for name, seeds in found.items() if seeds}
    out.write_text(json.dumps(content, indent=1) + "\n")
    print("\n".join(markdown_tables(content)), flush=True)


def _metrics(runs: Path, profile: str, name: str) -> dict[str, dict[str, Any]]:
    """``metrics.json`` of the finished runs of a row, by seed."""
    found = [run for run in sorted(runs.glob(f"{_slug(profile, name)}-seed*")) if finished(run)]
    return {run.name.rpartition("seed")[2]: json.loads((run / "metrics.json").read_text()) for run in found}


def _row(seeds: dict[str, dict[str, Any]], reference: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds, their deviation, the mean bounds of the intervals over lesions, and differences by seed."""
    row: dict[str, Any] = {"seeds": len(seeds)}
    for metric in SHOWN:
        values = [_of_test(content, metric) for content in seeds.values()]
        numbers = [value["value"] for value in values]
        row[metric] = {
            "mean": statistics.mean(numbers),
            "std": statistics.stdev(numbers) if len(numbers) > 1 else None,
            "low": _mean(value["low"] for value in values),
            "high": _mean(value["high"] for value in values),
        }
    for metric in ("head_accuracy", "tail_accuracy"):
        row[f"{metric} against {REFERENCE}"] = [
            _of_test(content, metric)["value"] - _of_test(reference[seed], metric)["value"]
            for seed, content in seeds.items()
            if seed in reference
        ]
    row["seconds_per_epoch"] = statistics.mean(
        content["time"]["train_seconds"] / content["time"]["epochs"] for content in seeds.values()
    )
    return row


def _of_test(content: dict[str, Any], metric: str) -> dict[str, Any]:
    value: dict[str, Any] = content["evaluations"]["test"]["metrics"][metric]
    return value


def _mean(values: Iterator[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None


if __name__ == "__main__":
    main()
