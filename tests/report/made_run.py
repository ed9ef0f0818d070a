"""Writes run folders as the engine does, with made predictions and drawn pictures, for tests and screenshots."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from made_examples import write_examples

GRADES = ("0", "1", "2", "3", "4")
FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)


@dataclass(frozen=True)
class MadeRun:
    """What to make.

    Args:
        kind: binary, multi-class or multi-label.
        classes: names; for binary the second is the positive one.
        images: images of each evaluation, by its name.
        skill: how far the scores of classes stand apart, in standard deviations.
        pictures: example images of each evaluation.
    """

    kind: str = "multi-class"
    classes: tuple[str, ...] = GRADES
    images: tuple[tuple[str, int], ...] = (("val", 90), ("test", 140))
    skill: float = 1.2
    ordered: bool = False
    patients: bool = True
    pictures: int = 9
    method: str = "full"
    finished: bool = True
    seed: int = 0
    resamples: int = 120


def make_run(folder: Path, run: MadeRun = MadeRun()) -> Path:
    """Writes a run folder and returns it."""
    rng = np.random.default_rng(run.seed)
    folder.mkdir(parents=True, exist_ok=True)
    truths = {"train": _truth(rng, run, 5 * max(count for _, count in run.images))}
    truths |= {name: _truth(rng, run, count) for name, count in run.images}
    manifest = pd.concat(
        [_manifest_rows(run, split, truth) for split, truth in truths.items()], ignore_index=True
    )
    manifest[manifest["split"].isin(["train", "val", "test"])].to_csv(folder / "manifest.csv", index=False)
    _write_description(folder, run, manifest)
    _write_history(folder, rng, run)
    if not run.finished:
        write_json(folder / "status.json", {"state": "interrupted", "stage": "tune", "epoch": 7})
        return folder
    evaluations = {}
    for name, _ in run.images:
        evaluations[name] = _write_evaluation(folder, rng, run, name, truths[name])
    write_json(folder / "status.json", {"state": "finished"})
    write_json(folder / "metrics.json", _run_metrics(folder, run, evaluations))
    return folder


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _truth(rng: np.random.Generator, run: MadeRun, count: int) -> np.ndarray:
    """Class numbers ``[n]``, or 1/0/NaN ``[n, findings]``. Later classes are rarer."""
    size = len(run.classes)
    if run.kind == "multi-label":
        prevalence = np.geomspace(0.3, 0.04, size)
        truth = (rng.random((count, size)) < prevalence).astype(float)
        truth[0], truth[1] = 1, 0
        unknown = rng.random((count, size)) < 0.05
        unknown[:2] = False
        return np.where(unknown, np.nan, truth)
    share = np.geomspace(1, 0.25, size)
    truth = rng.choice(size, count, p=share / share.sum())
    truth[: 2 * size] = np.resize(np.arange(size), 2 * size)[:count]
    return truth


def _manifest_rows(run: MadeRun, split: str, truth: np.ndarray) -> pd.DataFrame:
    count = len(truth)
    rows: dict[str, Any] = {"image": [f"images/{split}_{i:04d}.png" for i in range(count)]}
    if run.kind == "multi-label":
        rows |= {f"labels:{name}": truth[:, i] for i, name in enumerate(run.classes)}
    else:
        rows["label"] = [run.classes[i] for i in truth]
    if run.patients:
        rows["patient"] = [f"{split}-p{i // 2:04d}" for i in range(count)]
    rows["split"] = split
    return pd.DataFrame(rows)


def _write_description(folder: Path, run: MadeRun, manifest: pd.DataFrame) -> None:
    frozen = run.method == "linear"
    (folder / "recipe.yaml").write_text(
        f"method: {run.method}\ntask: classification\ndata:\n  source: made\n  leaks: error\n"
        f"  ordered: {str(run.ordered).lower()}\nimage:\n  size:\n  - 224\n  - 224\n"
        f"backbone:\n  name: resnet10t\n  weights: {'hub' if frozen else 'random'}\n"
        f"training:\n  epochs: 12\n  batch_size: 16\n  optimizer: adamw\n  lr: 0.0003\nconfig: {{}}\nseed: {run.seed}\n",
        encoding="utf-8",
    )
    kept = manifest[manifest["split"].isin(["train", "val", "test"])]
    write_json(
        folder / "manifest.json", {"schema": 1, "name": "made", "rows": len(kept), "hash": "5e1f" * 16}
    )
    facts = {"kind": run.kind, "classes": list(run.classes), "ordered": run.ordered, "specificity": 0.95}
    write_json(folder / "model.json", {"schema": 1, "task": {"name": "classification"} | facts})
    write_json(
        folder / "environment.json",
        {
            "python": "3.11.9",
            "platform": "Linux x86_64",
            "processor": "a processor",
            "cores": 2,
            "threads": 1,
            "memory_bytes": 8 * 1024**3,
            "gpus": [],
            "packages": {"modicum": "0.1.0", "torch": "2.13.0", "timm": "1.0.31", "nibabel": None},
        },
    )
    write_json(
        folder / "fingerprint.json",
        {
            "schema": 1,
            "images": len(kept),
            "patients": int(kept["patient"].nunique()) if run.patients else None,
            "formats": {"png": len(kept) - 12, "dicom": 12},
            "height": {"min": 480, "median": 1024, "max": 2136},
            "width": {"min": 512, "median": 1280, "max": 3216},
            "notes": ["No split was given: patients were divided at random, seed 0."],
        },
    )
    broken = "image,reason\nimages/train_x.png,the file ends too early\n"
    (folder / "broken.csv").write_text(broken, encoding="utf-8")


def _write_history(folder: Path, rng: np.random.Generator, run: MadeRun) -> None:
    epochs, steps = (12, 20) if run.finished else (7, 20)
    lines: list[dict[str, Any]] = []
    best = 0.55
    for epoch in range(epochs):
        for step in range(epoch * steps + 1, (epoch + 1) * steps + 1):
            loss = 0.25 + 0.9 * np.exp(-step / 70) + rng.normal(0, 0.06)
            lines.append(
                {
                    "kind": "step",
                    "stage": "tune",
                    "epoch": epoch,
                    "step": step,
                    "lr": 3e-4,
                    "losses": {"classification": round(float(loss), 4)},
                    "seconds": round(0.4 * step, 1),
                }
            )
        progress = 1 - np.exp(-(epoch + 1) / 4)
        val = {
            "loss": round(float(0.5 + 0.7 * np.exp(-epoch / 3) + 0.012 * epoch + rng.normal(0, 0.01)), 4),
            "auroc": round(
                float(best + 0.38 * progress - 0.002 * max(0, epoch - 8) + rng.normal(0, 0.008)), 4
            ),
        }
        train = {"loss": round(float(0.28 + 0.85 * np.exp(-(epoch + 1) / 3.5)), 4)}
        lines.append(
            {
                "kind": "epoch",
                "stage": "tune",
                "epoch": epoch,
                "step": (epoch + 1) * steps,
                "train": train,
                "val": val,
            }
        )
    (folder / "history.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
    )


def _probabilities(rng: np.random.Generator, run: MadeRun, truth: np.ndarray) -> np.ndarray:
    size = len(run.classes)
    if run.kind == "multi-label":
        skill = np.linspace(0.6, 1.4, size)[rng.permutation(size)] * run.skill
        logits = skill * (np.nan_to_num(truth, nan=0.3) - 0.75) * 1.6 + rng.normal(0, 1.0, truth.shape) - 0.5
        return 1 / (1 + np.exp(-logits))
    distance = (
        np.abs(np.arange(size)[None] - truth[:, None])
        if run.ordered
        else np.not_equal.outer(truth, range(size))
    )
    logits = -run.skill * distance + rng.normal(0, 0.9, (len(truth), size))
    logits = 1.4 * logits
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def _write_evaluation(
    folder: Path, rng: np.random.Generator, run: MadeRun, name: str, truth: np.ndarray
) -> dict[str, Any]:
    place = folder / "evaluations" / name
    place.mkdir(parents=True)
    probabilities = _probabilities(rng, run, truth)
    rows = _manifest_rows(run, name, truth)
    table = pd.DataFrame({"image": rows["image"], "patient": rows["patient"] if run.patients else ""})
    if run.kind == "multi-label":
        for i, finding in enumerate(run.classes):
            table[f"truth_{finding}"] = pd.array(
                [None if np.isnan(v) else int(v) for v in truth[:, i]], dtype="Int64"
            )
        table["prediction"] = [
            "|".join(c for c, p in zip(run.classes, row, strict=True) if p >= 0.5) for row in probabilities
        ]
    else:
        table["truth"] = [run.classes[i] for i in truth]
        table["prediction"] = [run.classes[i] for i in probabilities.argmax(1)]
    for i, label in enumerate(run.classes):
        table[f"p_{label}"] = probabilities[:, i]
    table.to_csv(place / "predictions.csv", index=False)
    metrics = {
        "schema": 1,
        "data": "made",
        "split": name,
        "images": len(truth),
        "patients": int(rows["patient"].nunique()) if run.patients else None,
        "resampling_unit": "patient" if run.patients else "image",
        "resamples": run.resamples,
        "confidence": 0.95,
        "metrics": _estimates(
            rng, run, truth, probabilities, rows["patient"].to_numpy() if run.patients else None
        ),
    }
    write_json(place / "metrics.json", metrics)
    if run.pictures:
        write_examples(
            place / "examples",
            rng,
            run.kind,
            run.classes,
            run.pictures,
            list(table["image"]),
            truth,
            probabilities,
        )
    return metrics


def _estimates(
    rng: np.random.Generator,
    run: MadeRun,
    truth: np.ndarray,
    probabilities: np.ndarray,
    patients: np.ndarray | None,
) -> dict[str, dict[str, float]]:
    from modicum.tasks.classification.evaluation import evaluate

    found = evaluate(
        probabilities,
        truth,
        kind=run.kind,
        classes=run.classes,
        ordered=run.ordered,
        groups=patients,
        resamples=run.resamples,
        seed=0,
        specificity=0.95,
    )
    return {key: {"value": e.value, "low": e.low, "high": e.high} for key, e in found.items()}


def _run_metrics(folder: Path, run: MadeRun, evaluations: dict[str, Any]) -> dict[str, Any]:
    frozen = run.method == "linear"
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    best = max((r for r in history if r["kind"] == "epoch"), key=lambda r: r["val"]["auroc"])
    return {
        "schema": 1,
        "run": folder.name,
        "task": "classification",
        "kind": run.kind,
        "classes": list(run.classes),
        "method": run.method,
        "backbone": "resnet10t",
        "seed": run.seed,
        "selection": {
            "metric": "auroc",
            "mode": "max",
            "value": best["val"]["auroc"],
            "epoch": best["epoch"],
            "step": best["step"],
        },
        "parameters": {
            "total": 4_925_189,
            "learnable": 2_565 if frozen else 4_925_189,
            "learnable_percent": 0.0521 if frozen else 100.0,
        },
        "memory": {
            "device": "cpu",
            "kind": "estimated",
            "peak_bytes": 402_653_184,
            "weights_bytes": 19_700_756,
            "gradients_bytes": 19_700_756,
            "optimizer_bytes": 39_401_512,
            "activations_bytes": 323_850_160,
        },
        "time": {
            "fit_seconds": 131.4,
            "train_seconds": 104.2,
            "images_per_second": 85.3,
            "data_wait_share": 0.031,
            "epochs": 12,
            "steps": 240,
        },
        "evaluations": evaluations,
    }
