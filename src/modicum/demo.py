"""``modicum demo``: a small network learns, from random weights, to grade made fundus photographs at two sizes.

The images are phantoms: they show that the machinery works and what resolution does to small lesions, and say
nothing of patients.
"""

from pathlib import Path

from modicum.api import Run, fit
from modicum.atomic_files import write_text
from modicum.data.phantoms import write_fundus_dataset
from modicum.engine.evaluation import headline
from modicum.progress import say

PATIENTS = 320
SIZES = {"demo-small": 48, "demo": 160}
IMAGE_SIZE = 192


def run_demo(runs: Path, seed: int = 0) -> list[str]:
    """Makes the images, trains at both sizes, and returns what to print.

    The task is to tell eyes with diabetic retinopathy (grade 1 or more) from those without.
    """
    data = runs / "demo-data"
    table = data / "manifest.csv"
    if not table.is_file():
        say(f"Making {2 * PATIENTS} fundus photographs in {data} ...")
        _make_images(data, seed)
    lines = []
    for name, size in SIZES.items():
        say(f"Training at {size}x{size} pixels ...")
        run = fit(
            table,
            "full",
            name=name,
            runs=runs,
            overwrite=True,
            backbone="resnet10t",
            weights="random",
            image_size=size,
            label="disease",
            seed=seed,
            epochs=8,
            batch_size=16,
            lr=2e-3,
            ema_decay=0.99,
            augment="fundus",
        )
        lines.append(f"at {size:3d} pixels: {_score(run)}")
    return ["Held-out made eyes, diseased or not:", *lines, f"report: {runs / 'demo' / 'report.html'}"]


def _score(run: Run) -> str:
    return headline(run.metrics["evaluations"]["test"], "auroc")


def _make_images(folder: Path, seed: int) -> None:
    import pandas as pd

    table = write_fundus_dataset(
        folder,
        PATIENTS,
        IMAGE_SIZE,
        seed,
        fractions={"train": 0.7, "val": 0.1, "test": 0.2},
        masks=False,
    )
    rows = pd.read_csv(table, dtype=str)
    rows["disease"] = ["healthy" if grade == "0" else "retinopathy" for grade in rows["label"]]
    write_text(table, rows.to_csv(index=False))
