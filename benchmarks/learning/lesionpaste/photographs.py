"""One annotated photograph: LesionPaste against its rivals on graded retina photographs.

    python benchmarks/weights_of_efficientnet_lite.py --out runs/tf_efficientnet_lite0.safetensors
    python benchmarks/learning/lesionpaste/photographs.py --data DIR/fundus_dr_grading --work DIR \\
        --weights runs/tf_efficientnet_lite0.safetensors

All 416 photographs are dealt into three folds by patient, alike in the worst grade; seed 0, 1 or 2 tests on fold 0, 1 or
2, so that each photograph is tested once. A sixth of the other patients validates. One-class methods learn from the
training photographs of grade 0 alone. The annotated photograph is a training image of grade 2 or more, whose lesions no
person has drawn: a classical detector marks them (``detector.py``), and the photograph is the one in which it marks most
(the smaller of both counts). ``deviation`` gets the same photograph, without marks. ``full`` is the supervised bound:
it learns from all graded training photographs.

Scale, for about six CPU minutes a seed: ``SIDE`` pixels, EfficientNet-Lite0 from ImageNet weights, and about as many
images seen by each trained method. LesionPaste pastes at twice that side and then halves, as its release does (512 and
256). Settings were fixed before the first run. AUROC is the mean over the folds, its interval by resampling patients
within each.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from detector import dark_and_bright

import modicum
from modicum.engine.environment import environment

RESULTS = Path(__file__).parents[2] / "results" / "lesionpaste_photographs.json"
FOLDS, RESAMPLES, SIDE = 3, 2000, 128
SHARED: dict[str, Any] = {
    "task": "anomaly", "label": "label", "normal": "0", "resize": "pad", "leaks": "allow", "resamples": 0,
    "augment": "none", "workers": 0, "write_report": False, "allow_outside": True,
}  # fmt: skip
LITE: dict[str, Any] = {
    "backbone": "tf_efficientnet_lite0", "image_size": SIDE,
    # Of the weights: they were trained on pixels (p - 127) / 128.
    "backbone.mean": [127 / 255] * 3, "backbone.std": [128 / 255] * 3,
}  # fmt: skip
METHODS: dict[str, dict[str, Any]] = {
    "lesionpaste": {
        **LITE, "image_size": 2 * SIDE, "input_size": SIDE, "lr": 0.01, "batch_size": 8, "epochs": 5,
        "organ": "threshold", "severity": {"HE": -1, "EX": 60},
    },
    "lesionpaste-augmented": {
        **LITE, "image_size": 2 * SIDE, "input_size": SIDE, "lr": 1e-3, "optimizer": "adamw", "batch_size": 8,
        "epochs": 16, "organ": "threshold", "severity": {"HE": -1, "EX": 60}, "augment": "fundus",
    },
    "full": {**LITE, "lr": 1e-3, "batch_size": 16, "epochs": 5},
    "deviation": {**LITE, "batch_size": 8, "epochs": 5},
    "cutpaste": {**LITE, "lr": 0.01, "batch_size": 8, "epochs": 4},
    "patchcore": LITE,
    "padim": LITE,
    "reverse_distillation": {**LITE, "learn.epochs": 10},
    "reconstruction": {"image_size": SIDE, "learn.epochs": 30},
}  # fmt: skip
LEADS = "lesionpaste-augmented"
"""What the others are compared with. Its settings were chosen after the first row had ended at the loss of chance, by the
training and validation loss of fold 0."""
GROUPS: dict[str, tuple[str, ...]] = {
    "all": ("1", "2", "3", "4"), "1": ("1",), "2": ("2",), "3 and 4": ("3", "4"),
}  # fmt: skip
"""Grades 3 and 4 together: each has about ten photographs in a fold."""


def fold_of_patients(table: pd.DataFrame) -> pd.Series:
    """The fold of each row: patients sorted by their worst grade, drawn within it, and dealt out."""
    worst = table.groupby("patient")["dr_grade"].max()
    drawn = worst.sample(frac=1, random_state=0).sort_values(kind="stable")
    dealt = pd.Series(np.arange(len(drawn)) % FOLDS, index=drawn.index)
    return table["patient"].map(dealt)


def write_table(data: Path, work: Path, fold: int) -> Path:
    """The table of one fold with its annotated row, and that row's masks."""
    path = work / f"fold{fold}.csv"
    if path.exists():
        return path
    table = pd.read_csv(data / "labels.csv", dtype=str)
    table["label"] = table["dr_grade"]
    table["image"] = [str(data / "images" / name) for name in table["image"]]
    test = fold_of_patients(table) == fold
    others = table.loc[~test, "patient"].drop_duplicates().sample(frac=1, random_state=fold)
    validates = table["patient"].isin(others[: len(others) // 6])
    table["split"] = np.where(test, "test", np.where(validates, "val", "train"))
    ill = table[(table["split"] == "train") & table["dr_grade"].isin(["2", "3", "4"])]
    marks = {index: dark_and_bright(cv2.imread(path)[:, :, ::-1]) for index, path in ill["image"].items()}
    chosen = max(
        marks,
        key=lambda index: min(cv2.connectedComponents(m.astype(np.uint8))[0] for m in marks[index].values()),
    )
    for name, mark in marks[chosen].items():
        file = work / f"fold{fold}_{name}.png"
        cv2.imwrite(str(file), mark.astype(np.uint8) * 255)
        table.loc[chosen, f"masks:{name}"] = str(file)
    # The patient's other eye would be a training image: `full` has seen no photograph of that patient.
    table = table[table["patient"].ne(table.loc[chosen, "patient"]) | (table.index == chosen)]
    table.loc[chosen, "split"] = "reference"
    table[["image", "label", "patient", "eye", "split", "masks:HE", "masks:EX"]].to_csv(path, index=False)
    return path


def scored(table: Path, method: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """One run: its predictions of the fold, in the work folder, and what it cost."""
    began = time.process_time()
    settings = METHODS[method]
    weights = {"weights": str(given.weights)} if "backbone" in settings else {}
    run = modicum.fit(
        table, method.partition("-")[0], name=f"{method}-{seed}", runs=given.work / "runs", resume=True, seed=seed,
        **{**SHARED, **settings, **weights},
    )  # fmt: skip
    found = pd.read_csv(run.path / "evaluations" / "test" / "predictions.csv", dtype={"truth": str})
    found[["patient", "truth", "score"]].to_csv(given.work / f"{method}-{seed}.csv", index=False)
    cost = {"method": method, "seed": seed, "seconds": round(time.process_time() - began, 1)}
    print(cost, {name: round(auroc(found, grades), 3) for name, grades in GROUPS.items()}, flush=True)
    return cost


def auroc(table: pd.DataFrame, grades: tuple[str, ...]) -> float:
    """Chance that a photograph of these grades scores higher than one of grade 0."""
    return float(_areas(table, grades, np.ones((1, len(table))))[0])


def _areas(table: pd.DataFrame, grades: tuple[str, ...], weights: np.ndarray) -> np.ndarray:
    """AUROC with each row of weights of the photographs."""
    score, truth = table["score"].to_numpy(), table["truth"].to_numpy()
    ill, normal = np.isin(truth, grades), truth == "0"
    away = score[ill][:, None] - score[normal][None]
    right = ((weights[:, ill] @ ((away > 0) + 0.5 * (away == 0))) * weights[:, normal]).sum(1)
    with np.errstate(invalid="ignore"):  # nothing of a grade is drawn: NaN
        return right / (weights[:, ill].sum(1) * weights[:, normal].sum(1))


def resampled(tables: list[pd.DataFrame]) -> dict[str, np.ndarray]:
    """By group, the mean AUROC over folds of each resample of patients; the same draws for all methods."""
    draw = np.random.default_rng(0)
    each: dict[str, list[np.ndarray]] = {name: [] for name in GROUPS}
    for table in tables:
        patient = np.unique(table["patient"], return_inverse=True)[1]
        count = patient.max() + 1
        weights = draw.multinomial(count, np.full(count, 1 / count), RESAMPLES)[:, patient]
        for name, grades in GROUPS.items():
            each[name].append(_areas(table, grades, weights))
    return {name: np.nanmean(values, axis=0) for name, values in each.items()}


def summary(work: Path) -> dict[str, Any]:
    """By method and group: the mean over folds, each fold, the interval, and that of the lead of LesionPaste."""
    files = {m: [f for f in (work / f"{m}-{s}.csv" for s in range(FOLDS)) if f.exists()] for m in METHODS}
    tables = {m: [pd.read_csv(f, dtype={"truth": str}) for f in own] for m, own in files.items() if own}
    draws = {method: resampled(own) for method, own in tables.items()}
    found: dict[str, Any] = {}
    for method, own in tables.items():
        found[method] = {}
        for name, grades in GROUPS.items():
            each = [auroc(one, grades) for one in own]
            low, high = np.nanpercentile(draws[method][name], [2.5, 97.5])
            entry = {"mean": np.nanmean(each), "low": low, "high": high, "folds": each}
            if method != LEADS and len(own) == len(tables.get(LEADS, [])):
                away = np.nanpercentile(draws[LEADS][name] - draws[method][name], [2.5, 97.5])
                entry |= {"lesionpaste_minus_this": list(away)}
            found[method][name] = entry
    return found


def render(areas: dict[str, Any], costs: list[dict[str, Any]]) -> str:
    """The page of results: AUROC by grade with intervals, LesionPaste's lead, and what a method costs."""
    folds = len(next(iter(areas.values()))["all"]["folds"])
    lines = [
        "# LesionPaste and its rivals on graded photographs",
        "",
        f"AUROC against grade 0, mean over folds ({folds}), 95 % intervals by "
        "resampling patients. Written by `photographs.py`, which says how it was measured.",
        "",
        "| | "
        + " | ".join(f"grades {name}" if name == "all" else f"grade {name}" for name in GROUPS)
        + f" | `{LEADS}` leads by | CPU s |",
        "| --- |" + " --- |" * (len(GROUPS) + 2),
    ]
    for method, groups in areas.items():
        cells = [f"{one['mean']:.3f} ({one['low']:.2f} to {one['high']:.2f})" for one in groups.values()]
        lead = groups["all"].get("lesionpaste_minus_this")
        cells.append("" if lead is None else f"{lead[0]:+.2f} to {lead[1]:+.2f}")
        seconds = [one["seconds"] for one in costs if one["method"] == method]
        cells.append(f"{np.mean(seconds):.0f}" if seconds else "")
        lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument(
        "--work", type=Path, required=True, help="runs and predictions; what is there is kept"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    costs = given.work / "costs.json"
    for seed in given.seeds:
        table = write_table(given.data, given.work, seed)
        for method in given.methods:
            known = json.loads(costs.read_text()) if costs.exists() else []
            if not (given.work / f"{method}-{seed}.csv").exists():
                costs.write_text(json.dumps([*known, scored(table, method, seed, given)]))
    content = {
        "date": time.strftime("%Y-%m-%d"),
        "settings": SHARED,
        "methods": METHODS,
        "auroc": summary(given.work),
        "costs": json.loads(costs.read_text()) if costs.exists() else [],
        "environment": environment(),
    }
    given.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    page = render(content["auroc"], content["costs"])
    given.out.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
