"""Image quality on real angiograms with graded degradations: no quality labels against no-reference measures and labels.

    python benchmarks/weights_of_efficientnet_lite.py --out lite0.safetensors
    python benchmarks/learning/octa_quality.py --data DIR --weights lite0.safetensors --runs runs/quality

``DIR`` is the folder ``octa_vessels``: 150 angiograms of 3 x 3 mm, all taken as outstanding. Subjects are split anew for
every seed: 70 train, 30 validate, 50 test. Each image to test comes three times: as it is, gradable (one kind of
degradation, mild) and ungradable (two kinds, strong). The kinds are blur, noise, motion, dimming and shadow. The
supervised bound learns from degraded copies of the training images, of the first three kinds only: dimming and shadow
are held out.

Scale, for about five CPU minutes a seed: 192 pixels, EfficientNet-Lite0 from ImageNet weights, 15 epochs of reverse
distillation (its release: 256 pixels, WideResNet-50-2, 200 epochs).
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter, laplace

import modicum
from modicum.engine.environment import environment
from modicum.methods.octa_quality import (
    adjusted_rand_index,
    best_permutation_accuracy,
    normalised_mutual_information,
)

SEEN, HELD_OUT = ("blur", "noise", "motion"), ("dim", "shadow")
KINDS = (*SEEN, *HELD_OUT)
GRADES = ("ungradable", "gradable", "outstanding")
NORMALISATION = {"backbone.mean": [127 / 255] * 3, "backbone.std": [128 / 255] * 3}
"""Of the published weights of EfficientNet-Lite0."""
AREAS = ("auroc", "gradable", "ungradable", "held-out kinds")
"""AUROCs with an interval."""
RESAMPLES = 2000
SUPERVISED = "supervised (linear probe)"
SCORERS: dict[str, dict[str, Any]] = {
    "pooled, kNN": {"scorers": ["pooled"]},
    "pooled, Mahalanobis": {"scorers": ["pooled"], "distance": "mahalanobis"},
    "PaDiM": {"scorers": ["padim"]},
    "PatchCore, 10 %": {"scorers": ["patchcore"]},
    "PatchCore, all patches": {"scorers": ["patchcore"], "coreset": 1.0},
    "pooled and PatchCore": {"scorers": ["pooled", "patchcore"]},
    "reverse distillation and pooled": {"scorers": ["rd", "pooled"]},
}


def degraded(image: np.ndarray, kind: str, strong: bool, rng: np.random.Generator) -> np.ndarray:
    """One kind of degradation of an image in ``[0, 1]``, mild or strong."""
    side = len(image)
    if kind == "blur":
        return gaussian_filter(image, 3.0 if strong else 1.2)
    if kind == "noise":
        return np.clip(image + rng.normal(0, 0.15 if strong else 0.06, image.shape), 0, 1)
    if kind == "dim":
        return image * (0.35 if strong else 0.7)
    if kind == "motion":
        out = image.copy()
        for start in rng.integers(0, side - 12, 12 if strong else 3):
            rows = slice(start, start + int(rng.integers(3, 12)))
            shift = int(rng.integers(8, 30) if strong else rng.integers(3, 8)) * (
                1 if rng.random() < 0.5 else -1
            )
            out[rows] = np.clip(np.roll(out[rows], shift, 1) + (0.25 if strong else 0.08), 0, 1)
        return out
    rows, columns = np.mgrid[:side, :side]
    out = image.copy()
    for _ in range(2 if strong else 1):
        centre, width = rng.uniform(0.2 * side, 0.8 * side, 2), rng.uniform(0.12, 0.25) * side
        spot = np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / (2 * width**2))
        out *= 1 - (0.9 if strong else 0.5) * spot
    return out


def write_set(source: Path, folder: Path, seed: int) -> tuple[Path, Path]:
    """Writes images and two tables: one for methods without labels of quality, one for the supervised bound."""
    rng = np.random.default_rng(seed)
    names = pd.read_csv(source / "manifest.csv")["file"].tolist()
    order = rng.permutation(len(names))
    parts = {"train": order[:70], "val": order[70:100], "test": order[100:]}
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, str]] = []

    def save(image: np.ndarray, name: str, grade: str, split: str, kinds: str, subject: str) -> None:
        cv2.imwrite(str(folder / name), np.round(255 * image).astype(np.uint8))
        rows.append({"image": name, "label": grade, "split": split, "kinds": kinds, "patient": subject})

    for split, chosen in parts.items():
        for index in chosen:
            image = cv2.imread(str(source / "images" / names[index]), cv2.IMREAD_GRAYSCALE) / 255.0
            stem = names[index].removesuffix(".png")
            save(image, f"{split}_{stem}_2.png", "outstanding", split, "", stem)
            known = KINDS if split == "test" else SEEN
            mild = known[int(rng.integers(len(known)))]
            save(degraded(image, mild, False, rng), f"{split}_{stem}_1.png", "gradable", split, mild, stem)
            two = rng.permutation(known)[:2]
            worst = image
            for kind in two:
                worst = degraded(worst, kind, True, rng)
            save(worst, f"{split}_{stem}_0.png", "ungradable", split, "+".join(two), stem)
    table = pd.DataFrame(rows)
    table.to_csv(folder / "all.csv", index=False)
    without = table[(table["split"] == "test") | (table["label"] == "outstanding")]
    without.to_csv(folder / "outstanding.csv", index=False)
    return folder / "outstanding.csv", folder / "all.csv"


def auroc(bad: np.ndarray, good: np.ndarray) -> float:
    """Chance that a bad image scores higher than a good one."""
    away = bad[:, None] - good[None]
    return float(((away > 0) + 0.5 * (away == 0)).mean())


def compared(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Which images are compared with the outstanding ones: all others, those of a grade, each kind of gradable ones."""
    label, kinds = table["label"].to_numpy(), table["kinds"].to_numpy()
    return {
        "auroc": label != "outstanding",
        "gradable": label == "gradable",
        "ungradable": label == "ungradable",
        "held-out kinds": (label == "gradable") & np.isin(kinds, HELD_OUT),
        **{f"mild {kind}": (label == "gradable") & (kinds == kind) for kind in KINDS},
    }


def measured(score: np.ndarray, table: pd.DataFrame) -> dict[str, float]:
    """AUROC of outstanding images against each of :func:`compared`."""
    good = score[(table["label"] == "outstanding").to_numpy()]
    return {
        name: auroc(score[rows], good) if rows.any() else float("nan")
        for name, rows in compared(table).items()
    }


def no_reference(folder: Path, table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Classical measures, turned so that higher is worse."""
    images = [cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE) / 255.0 for name in table["image"]]
    fine = [gaussian_filter(image, 1.0) for image in images]
    noise = [1.4826 * np.median(np.abs(image - gaussian_filter(image, 0.7))) + 1e-6 for image in images]
    return {
        "signal strength (mean)": -np.array([image.mean() for image in images]),
        "Laplacian variance": -np.array([laplace(image).var() for image in images]),
        "contrast to noise": -np.array(
            [(f - gaussian_filter(f, 4.0)).std() / n for f, n in zip(fine, noise, strict=True)]
        ),
    }


def pixel_components(folder: Path, table: pd.DataFrame) -> np.ndarray:
    """Error of 30 principal components of the training images' pixels, at 76 x 76."""

    def read(rows: pd.DataFrame) -> np.ndarray:
        return np.stack([
            cv2.resize(cv2.imread(str(folder / n), cv2.IMREAD_GRAYSCALE), (76, 76), interpolation=cv2.INTER_AREA).ravel()
            / 255.0
            for n in rows["image"]
        ])  # fmt: skip

    whole = pd.read_csv(folder / "outstanding.csv")
    fit = read(whole[whole["split"] == "train"])
    mean = fit.mean(0)
    axes = np.linalg.svd(fit - mean, full_matrices=False)[2][:30]
    off = read(table) - mean
    return ((off - off @ axes.T @ axes) ** 2).mean(1)


def grades_of(table: pd.DataFrame, predicted: pd.DataFrame) -> dict[str, float]:
    """Three-class accuracy by the names that were given and by the best naming; agreement of the clusters."""
    truth = table["label"].map(GRADES.index).to_numpy()
    grade, cluster = predicted["grade"].to_numpy(), predicted["cluster"].to_numpy()
    rest = truth != 2
    named = [(truth == k) & (grade == k) for k in range(3)]
    return {
        "accuracy": float((grade == truth).mean()),
        "best accuracy": best_permutation_accuracy(np.where(cluster < 0, 2, cluster), truth),
        "outstanding recall": float(named[2].sum() / (~rest).sum()),
        "ungradable recall": float(named[0].sum() / (truth == 0).sum()),
        "NMI": normalised_mutual_information(cluster[rest], truth[rest]),
        "ARI": adjusted_rand_index(cluster[rest], truth[rest]),
    }


def one_seed(args: argparse.Namespace, seed: int) -> dict[str, dict[str, Any]]:
    """All methods on one split."""
    folder = args.runs / f"data-{seed}"
    outstanding, everything = write_set(args.data, folder, seed)
    table = pd.read_csv(outstanding, keep_default_na=False)
    table = table[table["split"] == "test"].reset_index(drop=True)
    found: dict[str, dict[str, Any]] = {}
    scores = table[["image", "label", "kinds", "patient"]].copy()
    shared = {
        "backbone": args.backbone,
        "weights": args.weights,
        "image_size": args.size,
        "device": args.device,
        "resamples": 0,
        "leaks": "allow",
        "runs": args.runs / f"runs-{seed}",
        "write_report": False,
        "workers": 0,
        "seed": seed,
        "resume": True,
        **(NORMALISATION if args.backbone == "tf_efficientnet_lite0" else {}),
    }
    for name, config in SCORERS.items():
        if args.only and name not in args.only:
            continue
        more = {"represent.epochs": args.epochs} if "rd" in config["scorers"] else {}
        began = time.process_time()
        label = name.replace(" ", "-").replace(",", "").replace("%", "pc").lower()
        run = modicum.fit(outstanding, "octa_quality", name=label, **config, **more, **shared)
        out = run.path / "test.csv"
        run.predict(outstanding, out, split="test")
        predicted = pd.read_csv(out)
        assert predicted["image"].tolist() == table["image"].tolist()
        scores[name] = predicted["score"].to_numpy()
        found[name] = measured(scores[name].to_numpy(), table) | grades_of(table, predicted)
        found[name] |= {"seconds": time.process_time() - began, **run.metrics["findings"].get("fit", {})}
        found[name]["rules"] = predicted["rule"].value_counts().to_dict()
        print(
            seed, name, {k: round(v, 3) for k, v in found[name].items() if isinstance(v, float)}, flush=True
        )
    for name, score in {
        **no_reference(folder, table),
        "pixel components": pixel_components(folder, table),
    }.items():
        scores[name] = score
        found[name] = measured(score, table)
    run = modicum.fit(
        everything, "linear", name="supervised", epochs=100, classes=list(GRADES), ordered=True, **shared
    )
    run.predict(everything, run.path / "test.csv", split="test")
    predicted = pd.read_csv(run.path / "test.csv")
    scores[SUPERVISED] = 1 - predicted["p_outstanding"].to_numpy()
    found[SUPERVISED] = measured(scores[SUPERVISED].to_numpy(), table) | {
        "accuracy": float((predicted["prediction"] == table["label"]).mean())
    }
    scores.to_csv(args.runs / f"scores-{seed}.csv", index=False)
    return found


def intervals(tables: list[pd.DataFrame]) -> dict[str, dict[str, tuple[float, float]]]:
    """Of each method's AUROCs, averaged over seeds: 95 % intervals by resampling subjects, for all seeds together."""
    subjects = sorted(set().union(*(table["patient"] for table in tables)))
    draw = np.random.default_rng(0)
    counts = draw.multinomial(len(subjects), np.full(len(subjects), 1 / len(subjects)), RESAMPLES)
    methods = [name for name in tables[0] if name not in {"image", "label", "kinds", "patient"}]
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for method in methods:
        found[method] = {}
        for name in AREAS:
            each = []
            for table in tables:
                weights = counts[:, np.searchsorted(subjects, table["patient"])]
                bad, good = compared(table)[name], (table["label"] == "outstanding").to_numpy()
                score = table[method].to_numpy()
                away = score[bad][:, None] - score[good][None]
                right = ((weights[:, bad] @ ((away > 0) + 0.5 * (away == 0))) * weights[:, good]).sum(1)
                each.append(right / (weights[:, bad].sum(1) * weights[:, good].sum(1)))
            low, high = np.nanpercentile(np.mean(each, axis=0), [2.5, 97.5])
            found[method][name] = (float(low), float(high))
    return found


def render(results: dict[str, dict[str, dict[str, Any]]], limits: dict[str, Any]) -> str:
    """A table: mean over seeds, in brackets the interval, or the least and the most seed where there is none."""
    seeds = list(results)
    columns = [*AREAS, *(f"mild {kind}" for kind in KINDS), "accuracy", "best accuracy", "NMI"]
    lines = ["| | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    for name in results[seeds[0]]:
        cells = []
        for column in columns:
            values = [results[seed][name][column] for seed in seeds if column in results[seed][name]]
            if not values:
                cells.append("")
                continue
            low, high = limits.get(name, {}).get(column, (min(values), max(values)))
            spread = f" ({low:.2f} to {high:.2f})" if len(values) > 1 else ""
            cells.append(f"{np.nanmean(values):.3f}{spread}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True, help="runs and scores; what is there is kept")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--epochs", type=int, default=15, help="of reverse distillation")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", nargs="*")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parents[1] / "results" / "octa_quality.json"
    )
    args = parser.parse_args()
    args.runs.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        file = args.runs / f"results-{seed}.json"
        if not file.exists():
            file.write_text(json.dumps(one_seed(args, seed), indent=1))
    done = sorted(args.runs.glob("results-*.json"))
    results = {file.stem.removeprefix("results-"): json.loads(file.read_text()) for file in done}
    limits = intervals(
        [pd.read_csv(args.runs / f"scores-{seed}.csv", keep_default_na=False) for seed in results]
    )
    settings = {key: str(value) for key, value in vars(args).items() if key not in {"data", "runs", "out"}}
    content = {"date": time.strftime("%Y-%m-%d"), "settings": settings, "environment": environment()}
    args.out.write_text(json.dumps({**content, "results": results, "intervals": limits}, indent=1) + "\n")
    title = f"# Image quality on degraded angiograms\n\nMean over seeds {', '.join(results)}; in brackets 95 % intervals "
    title += (
        "by resampling subjects, of other columns the least and the most. Written by `octa_quality.py`.\n\n"
    )
    args.out.with_suffix(".md").write_text(title + render(results, limits) + "\n")
    print(render(results, limits))


if __name__ == "__main__":
    main()
