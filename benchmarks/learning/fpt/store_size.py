"""How small the feature store of FPT+ can be: score against bytes an image, on real images.

    python benchmarks/learning/fpt/store_size.py --data DIR --weights runs/pretrained/vit_tiny_mae.safetensors

``DIR`` holds the folders ``fundus_dr_grading`` and ``cxr_covid``; the weights are those of ``pretrain.py``. Each
variant is trained with three seeds on one split, everything else alike; cells are run folders and can be gone on with.
Writes ``benchmarks/results/fpt_store_size.json`` and ``docs/pictures/fpt_store_size.png``.

The error of a variant is measured on stored features of real images: what random queries of unit variance read from
them, against what they read from float32 features, as a relative norm.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import modicum

# isort: split
import matplotlib
import numpy as np
import torch

from modicum.engine.environment import environment
from modicum.engine.inputs.preparation import prepare
from modicum.engine.model import load_method
from modicum.methods.fpt.stages import KeysValues
from modicum.nn import FeatureCodec

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import NullLocator

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "benchmarks" / "results" / "fpt_store_size.json"
PICTURE = ROOT / "docs" / "pictures" / "fpt_store_size.png"
BACKBONE, SIZE, SEEDS = "vit_tiny_patch16_224", 256, (0, 1, 2)
VARIANTS = (
    ("float32", 0.2), ("float16", 0.2), ("int8", 0.2), ("lowrank16", 0.2), ("lowrank8", 0.2), ("int8", 0.1),
    ("int8", 0.05),
)  # fmt: skip
# Chosen on the validation split of seed 0 among 2e-4 and 2e-3, by `modicum compare` (results.md beside this file).
LEARNING_RATE = 2e-3


def data_sets(folder: Path) -> dict[str, dict[str, Any]]:
    """How each data set is read."""
    covid = folder / "cxr_covid"
    return {
        "dr_grade": {"data": folder / "fundus_dr_grading", "label": "dr_grade", "crop": "fundus"},
        "covid": {"data": covid, "label": "covid", "split_lists": str(covid / "lists" / "covid1")},
    }


def run_of(name: str, settings: dict[str, Any], dtype: str, rho: float, seed: int, options: Any) -> Any:
    given = dict(settings)
    return modicum.fit(
        given.pop("data"), "fpt_plus", name=f"{name}-{dtype}-{rho:g}-{seed}", runs=options.runs, resume=True,
        backbone=BACKBONE, weights=str(options.weights), image_size=SIZE, epochs=options.epochs, lr=LEARNING_RATE,
        seed=seed, split_seed=0, leaks="drop", precision="bf16", monitor="auroc", store_dtype=dtype, rho=rho,
        resamples=0, **given,
    )  # fmt: skip


def error_of(run: Any, images: int = 32) -> float:
    """Relative error of what random queries read, against float32 features of the same tokens."""
    recipe, _, method = load_method(run.folder)
    prepared = prepare(recipe, run.folder, run.path.parent / ".stores", 0)
    extract = method.stages()[0]
    assert isinstance(extract, KeysValues)
    pixels = torch.from_numpy(prepared.store.get(prepared.positions[:images])).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        exact = extract.taps(extract.normalise(pixels))
    codec: FeatureCodec = extract.codec
    queries = torch.randn(1, *exact.shape[1:2], *exact.shape[3:4], 16, exact.shape[-1])
    plain = FeatureCodec("float32", codec.tokens, codec.head_dim)
    true = plain.decode(exact).attend(queries)
    read = codec.decode(codec.encode(exact)).attend(queries)
    return float((read - true).norm() / true.norm())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/fpt-store-size"))
    parser.add_argument("--only", help="one data set")
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()
    torch.manual_seed(0)
    rows = []
    chosen = {n: s for n, s in data_sets(options.data).items() if options.only in (None, n)}
    for name, settings in chosen.items():
        for dtype, rho in VARIANTS:
            runs = [run_of(name, settings, dtype, rho, seed, options) for seed in SEEDS]
            scores = {
                split: [run.metrics["evaluations"][split]["metrics"]["auroc"]["value"] for run in runs]
                for split in ("val", "test")
            }
            rows.append(
                {
                    "data": name, "dtype": dtype, "rho": rho,
                    "bytes_per_image": _record_bytes(runs[0]), "context_error": error_of(runs[0]),
                    "test_auroc": scores["test"], "val_auroc": scores["val"],
                }
            )  # fmt: skip
            print(_line(rows[-1]), flush=True)
    RESULTS.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=1) + "\n")
    picture(rows)


def _record_bytes(run: Any) -> int:
    """Bytes of the features of an image, without padding and side image."""
    extract = load_method(run.folder)[2].stages()[0]
    taps = extract.taps.module
    return extract.codec.record_bytes_per_head * len(taps.layers) * 2 * taps.shape.heads


def _line(row: dict[str, Any]) -> str:
    shown = [
        f"{statistics.mean(row[k]):.3f} ({min(row[k]):.3f}-{max(row[k]):.3f})"
        for k in ("test_auroc", "val_auroc")
    ]
    return (
        f"| {row['data']} | `{row['dtype']}` | {row['rho']:g} | {row['bytes_per_image']:,} "
        f"| {row['context_error']:.1e} | {' | '.join(shown)} |"
    )


def picture(rows: list[dict[str, Any]]) -> None:
    """Score against bytes an image, spread over seeds as bars."""
    names = list(dict.fromkeys(row["data"] for row in rows))
    figure, axes = plt.subplots(
        1, len(names), figsize=(5 * len(names), 3.8), layout="constrained", squeeze=False
    )
    for axis, name in zip(axes[0], names, strict=True):
        for row in (row for row in rows if row["data"] == name):
            scores = np.array(row["test_auroc"])
            mean = scores.mean()
            axis.errorbar(
                row["bytes_per_image"] / 1e3, mean, [[mean - scores.min()], [scores.max() - mean]], fmt="o",
                color="#1f6f8b" if row["rho"] == 0.2 else "#c06014", capsize=2,
            )  # fmt: skip
            axis.annotate(
                f"{row['dtype']}, {row['rho']:g}", (row["bytes_per_image"] / 1e3, scores.max()), fontsize=8,
                xytext=(0, 4), textcoords="offset points", rotation=60, rotation_mode="anchor",
            )  # fmt: skip
        axis.set(xscale="log", title=name, xlabel="features, kB an image", ylabel="test AUROC (3 seeds)")
        axis.set_xticks([2**power for power in range(5, 10)], [str(2**power) for power in range(5, 10)])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.margins(x=0.12, y=0.25)
    figure.savefig(PICTURE, dpi=150)


if __name__ == "__main__":
    main()
