"""Enhancement of real photographs: LED, its rivals, and every rival with LED behind it.

    python benchmarks/learning/led/enhancement.py --data DIR --work DIR --weights lite0.safetensors --part judges
    python benchmarks/learning/led/enhancement.py --data DIR --work DIR --part enhancers --seed 0     # and 1, 2
    python benchmarks/learning/led/table.py

``DIR`` holds ``vessels``, ``fundus_hrf`` and ``fundus_dr_grading``. Clean photographs are degraded by kinds that nothing
was trained on; vessels and grades are then judged by runs that were trained on clean photographs, and really poor
photographs by a run that knows good ones. Networks and images are small; nothing was chosen on test images. Results are
collected in ``benchmarks/results/led_enhancement.json``; a part that runs again replaces its own lines.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from photographs import TRAINING_KINDS, contrast, pairs, photographs
from PIL import Image
from scipy import ndimage

import modicum
from modicum.engine.environment import environment
from modicum.tasks.image_to_image.metrics import psnr_foreground, sharpness_error, ssim_foreground

RESULTS = Path(__file__).parents[2] / "results" / "led_enhancement.json"
SIDE = 64
NETWORK: dict[str, Any] = {"unet_channels": [16, 32, 32], "attention_levels": [3], "blocks_per_level": 1}
TWINS: dict[str, Any] = {"degrade": "classical", "kinds": list(TRAINING_KINDS), "reference": 2 * SIDE}
LED: dict[str, Any] = {
    **NETWORK, **TWINS, "epochs": 15, "batch_size": 4, "lr": 1e-3, "ema_decay": 0.995, "steps": 16,
}  # fmt: skip
LONG = {"lr": 2e-3}
"""Of six times as many steps, with which more is learned at twice the rate."""
SHUFFLED = {"pairing": "shuffled", "batch_size": 4}
GAN: dict[str, Any] = {"width": 16, "blocks": 3, "discriminator_width": 16, "batch_size": 4, "lr": 2e-4}
CUT = {"generator_width": 16, "generator_blocks": 3, "discriminator_width": 16, "nce_width": 64}
ENHANCERS: dict[str, tuple[str, dict[str, Any]]] = {
    "led": ("led", LED),
    "led, sample": ("led", {**LED, "prediction": "sample", "weighting": "min_snr", "snr_clip": 0.02}),
    "restoration_unet": ("restoration_unet", {**NETWORK, **TWINS, "epochs": 6, "batch_size": 8, "lr": 1e-3}),
    "pix2pix": ("reggan", {**GAN, "mode": "p", "epochs": 4}),
    "cyclegan": ("reggan", {**GAN, **SHUFFLED, "mode": "c", "epochs": 3}),
    "cut": ("cut", {**CUT, **SHUFFLED, "epochs": 2}),
    "reggan": ("reggan", {**GAN, "mode": "nc+r", "epochs": 3}),
    "led, v": ("led", {**LED, "prediction": "v"}),
    "led, sample, long": (
        "led", {**LED, "prediction": "sample", "weighting": "min_snr", "snr_clip": 0.02, **LONG, "epochs": 90},
    ),
    "led, long": ("led", {**LED, **LONG, "epochs": 90}),
    "restoration_unet, long": ("restoration_unet", {**NETWORK, **TWINS, "epochs": 36, "batch_size": 8, **LONG}),
}  # fmt: skip
FIRST = ("led", "led, sample", "restoration_unet", "pix2pix", "cyclegan", "cut")
BEHIND = "led, sample"
JUDGE = {
    "backbone": "tf_efficientnet_lite0", "image_size": 128, "backbone.mean": [127 / 255] * 3,
    "backbone.std": [128 / 255] * 3,
}  # fmt: skip
MEASURES = {"psnr": psnr_foreground, "ssim": ssim_foreground, "sharpness_error": sharpness_error}


def common(work: Path, seed: int) -> dict[str, Any]:
    """Settings of all trainings."""
    return {
        "runs": work / "runs", "seed": seed, "workers": 0, "leaks": "allow", "write_report": False, "overwrite": True,
        "select": "last", "validate_every": 1000, "resamples": 0, "fractions": [1, 0, 0],
    }  # fmt: skip


# --- judges -----------------------------------------------------------------------------------------------------------


def fit_judges(work: Path, clean: Path, weights: str) -> None:
    """Vessels and grades are learned from clean photographs, quality from the good ones among them."""
    table = pd.read_csv(clean)
    shared = common(work, 0)
    vessels = table[(table["set"] == "vessels") & (table["split"] == "train")].dropna(axis=1)
    vessels.to_csv(clean.parent / "vessels.csv", index=False)
    modicum.fit(
        clean.parent / "vessels.csv", "segment", name="vessels", backbone="test_resnet", weights="random",
        image_size=SIDE, epochs=30, repeats_per_epoch=4, lr=3e-3, batch_size=8, **shared,
    )  # fmt: skip
    graded = table[(table["set"] == "graded") & (table["given_split"] != "test")].copy()
    graded["split"] = "train"
    graded["label"] = graded["label"].astype(int)
    graded[["image", "label", "patient", "split"]].to_csv(clean.parent / "grades.csv", index=False)
    modicum.fit(
        clean.parent / "grades.csv", "full", name="grades", weights=weights, label="label", epochs=10, batch_size=16,
        lr=3e-4, **JUDGE, **shared,
    )  # fmt: skip
    good = table[(table["split"] == "train") & (table["set"] == "graded")].copy()
    good["split"] = np.where(pd.factorize(good["patient"])[0] % 4, "train", "val")
    good["quality"] = "outstanding"
    good[["image", "quality", "patient", "split"]].to_csv(clean.parent / "quality.csv", index=False)
    modicum.fit(
        clean.parent / "quality.csv", "octa_quality", name="quality", weights=weights, label="quality",
        classes=["ungradable", "gradable", "outstanding"], scorers=["pooled"], clusters="frozen", **JUDGE,
        **{**shared, "fractions": None},
    )  # fmt: skip


# --- what is enhanced, and how good it is -----------------------------------------------------------------------------


def to_enhance(work: Path, clean: Path, test: Path) -> pd.DataFrame:
    """Degraded test photographs with their targets, and poor photographs without: ``seen.csv``, paths absolute."""
    known, table = pd.read_csv(test), pd.read_csv(clean)
    second = known["image"].str.endswith("_1.png") & (known["set"] == "graded")  # there are few with vessels
    known = known[~second].reset_index(drop=True)
    for name in ("image", "target", "fov", "mask"):
        known[name] = [str(test.parent / text) if isinstance(text, str) else text for text in known[name]]
    poor = table[table["split"] == "poor"].copy()
    poor["image"] = [str(clean.parent / text) for text in poor["image"]]
    poor["set"] = "poor"
    both = pd.concat([known, poor.drop(columns=["mask"])], ignore_index=True)
    both["file"] = [f"{row:04d}" for row in range(len(both))]
    folder = work / "seen"
    folder.mkdir(exist_ok=True)
    for name, row in zip(both["image"], both["file"], strict=True):
        Image.open(name).save(folder / f"{row}.png")
    seen = pd.DataFrame({"image": both["file"] + ".png", "fov": both["fov"]})
    seen.to_csv(folder / "seen.csv", index=False)
    return both


def measured(outputs: dict[str, Path], rows: pd.DataFrame, work: Path) -> dict[str, Any]:
    """All scores of enhanced photographs, by the file of each row."""
    line: dict[str, Any] = {}
    for name in ("vessels", "graded"):
        line[name] = of_pairs(outputs, rows[rows["set"] == name])
    judged = rows.assign(image=[str(outputs[file]) for file in rows["file"]], split="test")
    folder = work / "judged"
    folder.mkdir(exist_ok=True)
    asked: dict[str, Any] = {"write_report": False, "workers": 0, "allow_outside": True, "split": "test"}

    def verdict(judge: str, columns: list[str], some: pd.DataFrame) -> tuple[dict[str, Any], pd.DataFrame]:
        file, out = folder / f"{judge}.csv", folder / judge
        some[["image", *columns, "patient", "split"]].to_csv(file, index=False)
        content = modicum.Run.open(work / "runs" / judge).evaluate(file, out=out, **asked)
        return content["metrics"], pd.read_csv(out / "predictions.csv")

    _, vessels = verdict("vessels", ["mask"], judged[judged["set"] == "vessels"])
    line["dice"] = [round(float(value), 4) for value in vessels["dice"]]
    graded = judged[judged["set"] == "graded"].astype({"label": int})
    metrics, grades = verdict("grades", ["label"], graded)
    line["kappa"] = {name: metrics[name]["value"] for name in metrics if "kappa" in name}
    line["right"] = [
        int(value) for value in grades["prediction"].astype(str) == graded["label"].astype(str).to_numpy()
    ]
    poor = judged[judged["set"] == "poor"]
    poor[["image"]].to_csv(folder / "poor.csv", index=False)
    quality = modicum.Run.open(work / "runs" / "quality")
    quality.predict(folder / "poor.csv", folder / "quality.csv", allow_outside=True)
    table = pd.read_csv(folder / "quality.csv")
    line["quality"] = [round(float(value), 4) for value in table["score"]]
    line["outstanding"] = float((table["score"] <= table["tau"]).mean())
    line["contrast"] = [round(contrast(Image.open(file).convert("RGB")), 5) for file in poor["image"]]
    return line


def of_pairs(outputs: dict[str, Path], rows: pd.DataFrame) -> dict[str, list[float]]:
    """Measures of each photograph against its target, and what of the error is low in frequency."""
    found: dict[str, list[float]] = {name: [] for name in (*MEASURES, "low_share", "psnr_but_colour")}
    for file, target, field in rows[["file", "target", "fov"]].to_numpy():
        made, truth = (
            np.asarray(Image.open(path).convert("RGB"), dtype=np.float32).transpose(2, 0, 1) / 255
            for path in (outputs[file], target)
        )
        for name, measure in MEASURES.items():
            found[name].append(round(float(measure(2 * made - 1, 2 * truth - 1)), 4))
        inside = np.asarray(Image.open(field)) > 0
        error = np.where(inside, made - truth, 0)
        share = ndimage.gaussian_filter(inside.astype(np.float32), SIDE / 16) + 1e-6
        low = np.stack([ndimage.gaussian_filter(one, SIDE / 16) / share for one in error]) * inside
        found["low_share"].append(round(float((low**2).sum() / ((error**2).sum() + 1e-9)), 4))
        shift = (error.sum((1, 2)) / inside.sum())[:, None, None]
        even = np.where(inside, error - shift, 0)
        left = (even**2).sum() / (3 * inside.sum()) + 1e-9
        found["psnr_but_colour"].append(round(float(-10 * np.log10(left)), 4))
    return found


def outputs_folder(work: Path, name: str) -> Path:
    """Where an enhancer's outputs are."""
    return work / "outputs" / name.replace(" ", "").replace(",", "-")


def outputs_of(run: Any, work: Path, name: str, rows: pd.DataFrame, **asked: Any) -> dict[str, Path]:
    """Predicted files, by the file of each row."""
    folder = outputs_folder(work, name)
    run.predict(work / "seen" / "seen.csv", folder, allow_outside=True, **asked)
    return {file: folder / f"{file}_predicted.png" for file in rows["file"]}


def enhance(
    work: Path, train: Path, rows: pd.DataFrame, seed: int, only: list[str], scale: float, behind: str
) -> None:
    """Trains enhancers of one seed and measures them; then what all that are there are with LED behind them."""
    for name in only:
        method, settings = ENHANCERS[name]
        settings = {**settings, "epochs": round(scale * settings["epochs"])}
        began = time.process_time()
        run = modicum.fit(
            train, method, name=run_name(name, seed), image_size=SIDE, **{**common(work, seed), **settings}
        )
        seconds = round(time.process_time() - began)
        for start in (200, 800) if method == "led" else (None,):
            title = name if start is None else f"{name}, start {start}"
            asked = {} if start is None else {"start": start}
            outputs = outputs_of(run, work, f"{title}-{seed}", rows, **asked)
            about = {"name": title, "seed": seed, "scale": scale, "seconds": seconds}
            collect([{**about, **measured(outputs, rows, work)}])
    if only and all(name.endswith("long") for name in only):
        return
    refiner = modicum.Run.open(work / "runs" / run_name(behind, seed))
    for name, (method, _) in ENHANCERS.items():
        before = outputs_folder(work, f"{name}-{seed}")
        if method != "led" and before.is_dir():
            outputs = outputs_of(refiner, work, f"{name}+{behind}-{seed}", rows, after=before)
            collect([{"name": f"{name} + {behind}", "seed": seed, **measured(outputs, rows, work)}])


def run_name(name: str, seed: int) -> str:
    """Of an enhancer's run."""
    return f"{name.replace(', ', '-')}{seed}"


def collect(lines: list[dict[str, Any]]) -> None:
    """Puts lines into the results, in place of those of the same name and seed."""
    content = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"lines": []}
    new = {(line["name"], line["seed"]) for line in lines}
    kept = [line for line in content["lines"] if (line["name"], line["seed"]) not in new]
    content = {
        "date": time.strftime("%Y-%m-%d"), "side": SIDE, "environment": environment(),
        "enhancers": {name: settings for name, (_, settings) in ENHANCERS.items()}, "lines": [*kept, *lines],
    }  # fmt: skip
    RESULTS.write_text(json.dumps(content) + "\n")
    for line in lines:
        scores = {
            name: round(float(np.mean(line[name])), 3) for name in ("dice", "right", "quality", "contrast")
        }
        scores |= {
            f"psnr {name}": round(float(np.mean(line[name]["psnr"])), 2) for name in ("vessels", "graded")
        }
        print(line["name"], line["seed"], line.get("seconds"), scores, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--part", choices=["judges", "enhancers"], required=True)
    parser.add_argument("--weights", help="of EfficientNet-Lite0, for the judges of grades and quality")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=ENHANCERS, default=list(FIRST))
    parser.add_argument("--scale", type=float, default=1, help="of all epochs")
    parser.add_argument(
        "--behind", choices=ENHANCERS, default=BEHIND, help="The LED behind all that are there."
    )
    given = parser.parse_args()
    work = given.work
    clean = photographs(given.data, SIDE, work / "clean")
    train, test = pairs(clean, work, SIDE)
    rows = to_enhance(work, clean, test)
    if given.part == "enhancers":
        enhance(work, train, rows, given.seed, given.only, given.scale, given.behind)
        return
    fit_judges(work, clean, given.weights)
    given_images = {file: work / "seen" / f"{file}.png" for file in rows["file"]}
    targets = dict(given_images)
    (work / "targets").mkdir(exist_ok=True)
    for file, target in zip(rows["file"], rows["target"], strict=True):
        if isinstance(target, str):
            targets[file] = work / "targets" / f"{file}.png"
            Image.open(target).save(targets[file])  # a table names an image once
    patients = {name: some["patient"].tolist() for name, some in rows.groupby("set")}
    collect([{"name": "degraded", "seed": 0, "patients": patients, **measured(given_images, rows, work)}])
    collect([{"name": "clean", "seed": 0, **measured(targets, rows, work)}])


if __name__ == "__main__":
    main()
