"""``modicum demo``: trains a small network from random weights to grade synthetic fundus images at two sizes.

The images are phantoms: they show that the software works and what resolution does to small lesions, and say
nothing about patients.
"""

from pathlib import Path

from modicum.api import Run, fit
from modicum.atomic_files import write_text
from modicum.data.phantoms import write_fundus_dataset
from modicum.engine.inference.evaluation import headline
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError
from modicum.progress import say

PATIENTS = 300
SIZES = {"demo-small": 32, "demo": 160}
"""Runs and their image sizes. Small lesions are lost at 32 pixels; large ones are not."""
IMAGE_SIZE = 160
GRADES = (0.5, 0.0, 0.2, 0.15, 0.15)
"""Shares of grades 0 to 4. There is no grade 1: its few microaneurysms were not learned in minutes (LOG.md)."""


def run_demo(runs: Path, seed: int = 0) -> list[str]:
    """Makes the images, trains at both sizes, and returns what to print.

    The task is to tell eyes with moderate or worse diabetic retinopathy (grades 2 to 4) from healthy ones.
    """
    data = runs / f"demo-data-{PATIENTS}x{IMAGE_SIZE}-seed{seed}"
    table = data / "demo.csv"
    for name in SIZES:
        _check_own_run(runs / name, table)
    if not table.is_file():
        say(f"Making {2 * PATIENTS} fundus photographs in {data} ...")
        _make_images(table, seed)
    lines = []
    for name, size in SIZES.items():
        say(f"Training at {size}x{size} pixels ...")
        run = fit(
            table,
            "full",
            name=name,
            runs=runs,
            overwrite=True,
            backbone="test_resnet",
            weights="random",
            image_size=size,
            label="disease",
            seed=seed,
            epochs=6,
            batch_size=16,
            lr=3e-3,
            augment="light",
        )
        lines.append(f"at {size:3d} pixels: {_score(run)}")
    return ["Held-out made eyes, retinopathy or healthy:", *lines, f"report: {runs / 'demo' / 'report.html'}"]


def _check_own_run(path: Path, table: Path) -> None:
    """Raises InputError where the demo would replace a run of somebody's own."""
    folder = RunFolder(path)
    if folder.recipe.is_file() and Path(Recipe.read(folder.recipe).data.source).name != table.name:
        raise InputError(
            f"run '{path}' is not the demo's, which would replace it",
            "choose another folder: modicum demo --runs FOLDER",
        )


def _score(run: Run) -> str:
    return headline(run.metrics["evaluations"]["test"], "auroc")


def _make_images(table: Path, seed: int) -> None:
    """Writes the phantoms, ``table`` last, so that it exists only when all images do."""
    import pandas as pd

    manifest = write_fundus_dataset(
        table.parent,
        PATIENTS,
        IMAGE_SIZE,
        seed,
        GRADES,
        fractions={"train": 0.7, "val": 0.1, "test": 0.2},
        masks=False,
    )
    rows = pd.read_csv(manifest, dtype=str)
    rows["disease"] = ["healthy" if grade == "0" else "retinopathy" for grade in rows["label"]]
    write_text(table, rows.to_csv(index=False))
