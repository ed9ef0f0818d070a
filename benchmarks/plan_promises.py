"""What plans promise: predicted against measured memory and time, for every method that the rules can name.

    OMP_NUM_THREADS=1 python benchmarks/plan_promises.py --data DIR --work DIR2 [--only linear full ...]

``DIR`` holds ``fundus_dr_grading``, ``octa_vessels`` and ``mr_brain``; what has no real data here (boxes, reports, an
annotated image) is learned from phantoms. Each method is planned with small images and few epochs, its plan is run, and
the run's own account is compared: ``memory.peak_bytes`` of ``metrics.json`` with the plan's account of the first step,
``time.train_seconds`` with the predicted seconds of all steps, and ``time.fit_seconds`` with the predicted whole. Goes on
where it was stopped: a method that is in the results is done again only where ``--again`` is given. Other work on the
machine between planning and running counts as an error of the prediction. Writes
``benchmarks/results/plan_promises.json``.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

import modicum
from modicum.atomic_files import write_text
from modicum.data.phantoms import write_chest_dataset, write_fundus_dataset
from modicum.engine.environment import environment
from modicum.errors import ModicumError
from modicum.planning.rules import Rule, read_rules

RESULTS = Path(__file__).parent / "results" / "plan_promises.json"
THIRDS = {"train": 0.6, "val": 0.2, "test": 0.2}
CNN = {"backbone": "test_resnet", "weights": "random", "image_size": 64}
VIT = {"backbone": "test_vit", "weights": "random", "image_size": 64}
RESNET = {"backbone": "resnet18", "weights": "random", "image_size": 64}
WINDOWS = {"image_size": 128, "patch": 64, "decoder_width": 64}
SMALL_UNET = {"unet_channels": [16, 32, 32], "attention_levels": [3], "blocks_per_level": 1}


def grades(data: Path, work: Path) -> tuple[Path, dict[str, Any]]:
    """Photographs with grades of retinopathy."""
    return data / "fundus_dr_grading" / "labels.csv", {"label": "dr_grade"}


def angiograms(data: Path, work: Path) -> tuple[Path, dict[str, Any]]:
    """OCT angiograms with masks of vessels."""
    return octa_table(data, work), {}


def octa_table(data: Path, work: Path) -> Path:
    """A table of the angiograms with the paths of their masks."""
    folder = data / "octa_vessels"
    rows = pd.read_csv(folder / "manifest.csv", dtype=str)
    rows["image"] = [str(folder / "images" / name) for name in rows["file"]]
    rows["mask"] = [str(folder / "masks" / name) for name in rows["file"]]
    rows = rows.rename(columns={"subject": "patient"})[["image", "mask", "patient"]]
    work.mkdir(parents=True, exist_ok=True)
    rows.to_csv(work / "octa.csv", index=False)
    return work / "octa.csv"


def outstanding(data: Path, work: Path) -> tuple[Path, dict[str, Any]]:
    """The same, all called outstanding."""
    rows = pd.read_csv(octa_table(data, work), dtype=str).drop(columns="mask")
    rows["label"] = "outstanding"
    rows.to_csv(work / "outstanding.csv", index=False)
    return work / "outstanding.csv", {"label": "label"}


def domains(data: Path, work: Path) -> tuple[Path, dict[str, Any]]:
    """The same, as if of three scanners."""
    rows = pd.read_csv(octa_table(data, work), dtype=str)
    rows["domain"] = [f"scanner {number % 3}" for number in range(len(rows))]
    rows.to_csv(work / "domains.csv", index=False)
    return work / "domains.csv", {}


def pairs(data: Path, work: Path) -> tuple[Path, dict[str, Any]]:
    """Slices of T1 and T2: one head to learn from, the halves of another to validate and test."""
    rows = []
    for folder in sorted((data / "mr_brain").glob("patient*")):
        names = list(pd.read_csv(folder / "slices.csv")["file"])
        for z, name in enumerate(names):
            split = "train" if folder.name == "patient07" else ("val" if 2 * z < len(names) else "test")
            image, target = (str(folder / contrast / name) for contrast in ("T1", "T2"))
            rows.append(
                {"image": image, "target": target, "patient": f"{folder.name} {split}", "split": split}
            )
    work.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(work / "pairs.csv", index=False)
    return work / "pairs.csv", {}


def clear(data: Path, work: Path) -> tuple[Path, dict[str, Any]]:
    """Photographs that are degraded to learn from."""
    rows = pd.read_csv(data / "fundus_dr_grading" / "labels.csv", dtype=str).head(80)
    paths = [str(data / "fundus_dr_grading" / "images" / name) for name in rows["image"]]
    work.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"image": paths, "target": paths, "patient": rows["patient"]}).to_csv(
        work / "clear.csv", index=False
    )
    return work / "clear.csv", {}


def chests(data: Path, work: Path) -> tuple[Path, dict[str, Any]]:
    """Made radiographs with reports."""
    path = work / "chests" / "manifest.csv"
    if not path.is_file():
        made = write_chest_dataset(work / "chests", 64, 64, seed=1, fractions=THIRDS, masks=False)
        table = pd.read_csv(made, dtype=str)
        table.drop(columns=[name for name in table if name.startswith("labels:")]).to_csv(path, index=False)
    return path, {}


def eyes(data: Path, work: Path) -> tuple[Path, dict[str, Any]]:
    """Made photographs, normal or not."""
    path = work / "eyes" / "manifest.csv"
    if not path.is_file():
        write_fundus_dataset(work / "eyes", 60, 96, seed=3, fractions=THIRDS, masks=True)
    return path, {}


def lesions(data: Path, work: Path) -> tuple[Path, dict[str, Any]]:
    """The same, with a box around each lesion."""
    path = eyes(data, work)[0]
    table = pd.read_csv(path, dtype=str).rename(columns={"lesions": "masks:lesion"})
    table[["image", "patient", "split", "masks:lesion"]].to_csv(path.parent / "lesions.csv", index=False)
    return path.parent / "lesions.csv", {"boxes": "masks"}


def annotated(data: Path, work: Path) -> tuple[Path, dict[str, Any]]:
    """The same, with the lesions of one image outlined."""
    path = eyes(data, work)[0]
    table = pd.read_csv(path, dtype=str)
    chosen = table.index[table["label"].astype(int) >= 2][0]
    table["mask"] = None
    table.loc[chosen, ["split", "mask"]] = "reference", table.loc[chosen, "lesions"]
    table = table[(table.index == chosen) | (table["patient"] != table.loc[chosen, "patient"])]
    table[["image", "label", "patient", "split", "mask"]].to_csv(path.parent / "annotated.csv", index=False)
    return path.parent / "annotated.csv", {}


Data = Callable[[Path, Path], tuple[Path, dict[str, Any]]]
CASES: dict[str, tuple[str, Data, dict[str, Any]]] = {
    "linear": ("classify", grades, {**CNN, "epochs": 10}),
    "full": ("classify", grades, {**CNN, "epochs": 4}),
    "lora": ("classify", grades, {**VIT, "epochs": 4}),
    "fpt_plus": ("classify", grades, {**VIT, "epochs": 4}),
    "segment": ("segment", angiograms, {"epochs": 2, "image_size": 128}),
    "aadg": ("segment", domains, {**CNN, **WINDOWS, "batch_size": 6, "epochs": 2}),
    "reggan": ("translate", pairs, {"epochs": 2, "image_size": 64}),
    "restoration_unet": ("enhance", clear, {**SMALL_UNET, "degrade": "classical", "epochs": 3, "image_size": 64}),
    "led": ("enhance", clear, {**SMALL_UNET, "degrade": "classical", "epochs": 3, "image_size": 64, "batch_size": 4}),
    "detect": ("detect", lesions, {"backbone": "resnet18", "weights": "random", "image_size": 96, "epochs": 1}),
    "mae": ("pretrain", chests, {"epochs": 4, "batch_size": 16}),
    "mrm": ("pretrain", chests, {**VIT, "epochs": 4, "batch_size": 16, "decoder_width": 32, "decoder_depth": 1,
                                 "decoder_heads": 2, "report_width": 32, "report_depth": 1, "report_heads": 2}),
    "deviation": ("anomaly", annotated, {**CNN, "epochs": 4}),
    "reconstruction": ("anomaly", eyes, {"weights": "random", "image_size": 64, "epochs": 4}),
    "reverse_distillation": ("anomaly", eyes, {**RESNET, "epochs": 2}),
    "octa_quality": ("quality", outstanding, {**CNN}),
    "lesionpaste": ("anomaly", annotated, {**CNN, "epochs": 4}),
    "patchcore": ("anomaly", eyes, {**RESNET}),
}  # fmt: skip
"""By method: the goal, the data and what keeps it small."""


def named() -> set[str]:
    """All methods that the rules can name."""
    rules = read_rules()
    methods = {method for several in rules.consider.values() for method in several}
    for _, entry in rules.entries():
        for table in (getattr(entry, "choose", {}), getattr(entry, "change", {})):
            if "method" in table:
                methods.add(str(table["method"]))
    assert all(isinstance(rule, Rule) for rule in rules.rules)
    return methods


def cell(method: str, data: Path, work: Path) -> dict[str, Any]:
    """Predicted and measured, of one method."""
    goal, source, settings = CASES[method]
    path, reading = source(data, work / "tables")
    began = time.perf_counter()
    made = modicum.plan(
        path, goal=goal, method=method, out=work / f"{method}.yaml", memory="4GB", device="cpu", workers=0,
        allow_outside=True, overwrite=True, **reading, **settings,
    )  # fmt: skip
    planned = time.perf_counter() - began
    run = modicum.fit(
        made.path, name=method, runs=work / "runs", overwrite=True, workers=0, leaks="drop", resamples=200
    )
    memory, spent, draft = run.metrics["memory"], run.metrics["time"], made.draft
    found: dict[str, Any] = {"method": method, "goal": goal, "plan_seconds": round(planned, 1)}
    found["measured"] = {
        "peak_bytes": memory["peak_bytes"],
        "train_seconds": round(spent["train_seconds"], 2),
        "fit_seconds": round(spent["fit_seconds"], 2),
    }
    if draft.memory is not None:
        found["predicted_bytes"] = draft.memory.accounted_bytes
        found["memory_ratio"] = ratio(draft.memory.accounted_bytes, memory["peak_bytes"])
    if draft.time is not None:
        found["predicted_train_seconds"] = round(draft.time.train_seconds, 2)
        found["predicted_fit_seconds"] = round(draft.time.total_seconds, 2)
        found["train_ratio"] = ratio(draft.time.train_seconds, spent["train_seconds"])
        found["fit_ratio"] = ratio(draft.time.total_seconds, spent["fit_seconds"])
    found["not_predicted"] = [text for text in (draft.memory_unknown, draft.time_unknown) if text]
    return found


def ratio(predicted: float, measured: float) -> float | None:
    """Predicted over measured; None where nothing was measured."""
    return round(predicted / measured, 3) if measured else None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/plan-promises"))
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--again", action="store_true", help="Also what is in the results already.")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    before = json.loads(given.out.read_text())["cells"] if given.out.is_file() else []
    cells = {one["method"]: one for one in before}
    for method in given.only:
        if method in cells and "error" not in cells[method] and not given.again:
            continue
        try:
            cells[method] = cell(method, given.data.resolve(), given.work)
        except ModicumError as error:
            cells[method] = {"method": method, "error": str(error)}
        print(cells[method], flush=True)
        content = {
            "environment": environment(),
            "not_here": sorted(named() - set(CASES)),
            "cells": [cells[name] for name in sorted(cells)],
        }
        write_text(given.out, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
