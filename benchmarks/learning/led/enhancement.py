"""Enhancement of real photographs that were degraded with kinds of degradation that nothing was trained on.

    python benchmarks/learning/led/enhancement.py --data ../shared/data --work DIR [--side 64 --epochs 60 --seeds 3]

Clean photographs are those of ``vessels`` (with masks) and ``fundus_hrf``. Training sees them degraded by TRAINING_KINDS,
drawn anew in every step; tests are other photographs, degraded by TEST_KINDS. A segmenter that was trained on clean
photographs judges. Every enhancer is also followed by LED. Networks are small and nothing was tuned on the tests.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

import modicum
from modicum.data.image import ImageRef
from modicum.data.layouts import load_manifest
from modicum.data.readers import read_image
from modicum.engine.environment import environment
from modicum.engine.inputs.degraded_pairs import write_degraded_pairs
from modicum.tasks.image_to_image.scores import TranslationScores

TRAINING_KINDS, TEST_KINDS = ("001", "100", "101"), ("010", "110", "111")
NETWORK: dict[str, Any] = {"unet_channels": [16, 32, 32], "attention_levels": [3], "blocks_per_level": 1}
RIVALS: dict[str, tuple[str, dict[str, Any]]] = {
    "restoration_unet": (
        "restoration_unet",
        {**NETWORK, "degrade": "classical", "kinds": list(TRAINING_KINDS)},
    ),
    "pix2pix": ("reggan", {"mode": "p", "width": 16, "blocks": 3, "discriminator_width": 16}),
    "cyclegan": (
        "reggan",
        {"mode": "c", "width": 16, "blocks": 3, "discriminator_width": 16, "pairing": "shuffled"},
    ),
    "cut": (
        "cut",
        {"generator_width": 16, "generator_blocks": 3, "discriminator_width": 16, "pairing": "shuffled"},
    ),
}
METRICS = ("psnr_foreground", "ssim_foreground", "sharpness_error")


def photographs(data: Path, side: int, folder: Path) -> Path:
    """Clean photographs, squared and shrunk, with masks of vessels where there are some; every third is a test."""
    rows = []
    for name in ("vessels", "fundus_hrf"):
        manifest = load_manifest(data / name)
        for number, ref in enumerate(manifest.refs()):
            pixels = read_image(ref).pixels
            files = {"image": f"{name}{number:03d}.png"}
            _save(folder / files["image"], _square(255 * pixels.transpose(1, 2, 0)).astype(np.uint8), side)
            mask = manifest.table["mask"].iloc[number] if "mask" in manifest.table else None
            if isinstance(mask, str):
                drawn = np.asarray(Image.open(manifest.root / mask).convert("L")) > 127
                files["mask"] = f"{name}{number:03d}_mask.png"
                _save(folder / files["mask"], _square(255 * drawn.astype(np.uint8)), side, 64)
            split = ("train", "val", "test")[0 if number % 3 else (1 if number % 2 else 2)]
            rows.append({**files, "split": split, "patient": f"{name}{number}"})
    pd.DataFrame(rows).to_csv(folder / "clean.csv", index=False)
    return folder / "clean.csv"


def _square(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    side = max(height, width)
    around = [((side - height) // 2, side - height - (side - height) // 2)]
    around += [((side - width) // 2, side - width - (side - width) // 2)]
    return np.pad(pixels, [*around, (0, 0)][: pixels.ndim])


def _save(file: Path, pixels: np.ndarray, side: int, threshold: int | None = None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX)
    if threshold is not None:
        image = image.point(lambda level: 255 * (level > threshold))
    image.save(file)


def unchanged(unseen: Path) -> dict[str, Any]:
    """The scores of the degraded photographs themselves."""
    table = pd.read_csv(unseen)
    scores = TranslationScores()
    for row, (image, target) in enumerate(
        table.loc[table["split"] == "test", ["image", "target"]].to_numpy()
    ):
        pixels, truth = (read_image(ImageRef.parse(text, unseen.parent)).pixels for text in (image, target))
        scores.add(row, pixels, {"target": truth}, None)
    found = scores.metrics()
    return {"name": "degraded", "seed": 0, **{name: {"value": found[name]} for name in METRICS}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rivals", default=",".join(RIVALS))
    options = parser.parse_args()
    work, side = options.work, options.side
    clean = photographs(options.data, side, work / "clean")
    train = write_degraded_pairs(clean, work / "train", kinds=TRAINING_KINDS, reference=2 * side)
    unseen = write_degraded_pairs(clean, work / "unseen", kinds=TEST_KINDS, reference=2 * side, per_image=2)
    judged = pd.read_csv(unseen)
    judged[judged["mask"].notna() & (judged["split"] == "test")].to_csv(
        work / "unseen" / "judged.csv", index=False
    )
    common = {
        "image_size": side, "runs": work / "runs", "workers": 0, "leaks": "allow", "write_report": False,
        "overwrite": True, "epochs": options.epochs, "repeats_per_epoch": options.repeats, "select": "last",
        "validate_every": options.epochs,
    }  # fmt: skip
    results: list[dict[str, Any]] = []
    results.append(unchanged(unseen))
    for seed in range(options.seeds):
        judge = modicum.fit(
            clean, "segment", name=f"judge{seed}", seed=seed, mask="mask", backbone="test_resnet", weights="random",
            **{**common, "epochs": 3 * options.epochs, "lr": 2e-3, "batch_size": 8},
        )  # fmt: skip
        led = modicum.fit(
            train, "led", name=f"led{seed}", seed=seed, **NETWORK, degrade="classical", kinds=list(TRAINING_KINDS),
            reference=2 * side, **{**common, "lr": 1e-3, "batch_size": 8, "ema_decay": 0.999, "warmup_epochs": 1},
        )  # fmt: skip
        about = {"side": side, "epochs": options.epochs, "seeds": options.seeds}
        results += _scored(
            led, "led, start 200", unseen, work, judge, seed, {"start": 200}, options, about, results
        )
        results += _scored(led, "led, start 800", unseen, work, judge, seed, {}, options, about, results)
        for name in (one for one in options.rivals.split(",") if one):
            method, settings = RIVALS[name]
            rate = {} if method in ("reggan", "cut") else {"lr": 1e-3, "batch_size": 8}
            extra = {} if method in ("reggan", "cut") else {"reference": 2 * side}
            rival = modicum.fit(
                train, method, name=f"{name}{seed}", seed=seed, **{**common, **settings, **rate, **extra}
            )
            results += _scored(rival, name, unseen, work, judge, seed, {}, options, about, results)
            behind = f"run:{rival.path}"
            results += _scored(
                led, f"{name} + led", unseen, work, judge, seed, {}, options, about, results, behind
            )


def _scored(
    run: Any,
    name: str,
    unseen: Path,
    work: Path,
    judge: Any,
    seed: int,
    answers: dict[str, Any],
    options: argparse.Namespace,
    about: dict[str, Any],
    before: list[dict[str, Any]],
    after: str | None = None,
) -> list[dict[str, Any]]:
    """One line of the table, written with those before it."""
    began = time.monotonic()
    more = {"split": "test", "write_report": False, "after": after, "answers": answers, "workers": 0}
    content = run.evaluate(unseen, name=f"{name}".replace(" ", "").replace(",", "-"), **more)
    seconds = time.monotonic() - began
    masked = run.evaluate(
        work / "unseen" / "judged.csv", out=work / "judged" / f"{name}{seed}".replace(" ", ""),
        judges=[f"run:{judge.path}"], **more,
    )  # fmt: skip
    verdict = masked["judges"][judge.folder.name]
    line: dict[str, Any] = {"name": name, "seed": seed, "seconds": round(seconds, 1)}
    line |= {metric: content["metrics"][metric] for metric in METRICS}
    line |= {f"dice_{kind}": verdict[kind]["metrics"]["dice"] for kind in ("input", "output", "target")}
    file = Path(__file__).parents[2] / "results" / "led_enhancement.json"
    command = f"python benchmarks/learning/led/enhancement.py --data DIR --work DIR --side {options.side} "
    command += f"--epochs {options.epochs} --repeats {options.repeats} --seeds {options.seeds}"
    facts = {"command": command, "date": time.strftime("%Y-%m-%d"), "environment": environment(), **about}
    file.write_text(json.dumps({**facts, "lines": [*before, line]}, indent=1) + "\n")
    print(
        name,
        seed,
        {key: _value(value) for key, value in line.items() if key not in ("name", "seed")},
        flush=True,
    )
    return [line]


def _value(entry: Any) -> Any:
    return round(entry["value"], 3) if isinstance(entry, dict) else entry


if __name__ == "__main__":
    main()
