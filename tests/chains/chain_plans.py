"""Plans of toy size, and the images that they are run on."""

from pathlib import Path

import pandas as pd
import yaml

from modicum.data.phantoms import write_fundus_dataset
from modicum.engine.inputs.degraded_pairs import write_degraded_pairs

SHARES = {"train": 0.5, "val": 0.25, "test": 0.25}
SIDE = 32
TRAINING = {"epochs": 1, "batch_size": 4, "lr": 1e-3, "select": "last"}
SMALL = {"image": {"size": SIDE}, "training": TRAINING, "resamples": 0, "device": "cpu"}
RANDOM = {"name": "test_resnet", "weights": "random"}
GATE = {"method": "full", "backbone": RANDOM, **SMALL, "data": {"leaks": "allow"}}
ENHANCER = {
    "method": "restoration_unet",
    "config": {"unet_channels": [8, 8], "attention_levels": [], "blocks_per_level": 1},
    **SMALL,
    "data": {"leaks": "allow"},
}


def write_eyes(folder: Path, patients: int = 8) -> Path:
    """Eyes with grades, patients, masks and a split, and ``pairs`` of them degraded; returns the folder."""
    table = write_fundus_dataset(folder / "eyes", patients, SIDE, seed=2, fractions=SHARES)
    write_degraded_pairs(table, folder / "pairs", kinds=("001",), reference=128)
    frame = pd.read_csv(table, dtype=str)
    frame["label"] = [str(int(grade) % 3) for grade in frame["label"]]
    frame.to_csv(table, index=False)
    return folder


def write_plan(folder: Path, steps: list[dict], name: str = "eyes", file: str = "plan.yaml") -> Path:
    """A plan on the eyes of a folder."""
    path = folder / file
    content = {"modicum_plan": 1, "data": "eyes/manifest.csv", "name": name, "steps": steps}
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def chain_steps(epochs: int = 1) -> list[dict]:
    """Enhance, adapt, evaluate."""
    training = {**TRAINING, "epochs": epochs}
    return [
        {"name": "enhancer", "data": "pairs/manifest.csv", "fit": ENHANCER},
        {"name": "enhance", "predict": {"run": "step:enhancer"}},
        {"name": "first", "data": "step:enhance", "fit": GATE},
        {
            "name": "grade",
            "data": "step:enhance",
            "fit": {**GATE, "backbone": {"name": "step:first"}, "training": training},
        },
        {"name": "test", "data": "step:grade", "evaluate": {"run": "step:grade", "split": "test"}},
    ]
