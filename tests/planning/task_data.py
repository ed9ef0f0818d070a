"""Small made data of each task, and recipes that train on them in seconds."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from modicum.data.phantoms import write_chest_dataset, write_fundus_dataset
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.recipe.settings import Recipe

FRACTIONS = {"train": 0.6, "val": 0.2, "test": 0.2}
COMMON = {
    "weights": "random",
    "leaks": "allow",
    "resamples": 0,
    "workers": 0,
    "device": "cpu",
    "augment": "none",
}
NETWORKS = {
    "width": 4,
    "blocks": 1,
    "discriminator_width": 4,
    "registration_width": 4,
    "registration_depth": 2,
}
DECODER = {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2}
REPORT = {"report_width": 16, "report_depth": 1, "report_heads": 2, "report_length": 24}
SEGMENT = {"backbone": "test_resnet", "decoder_width": 64, "image_size": 48, "patch": 32, "batch_size": 4}
AADG = {
    **SEGMENT,
    "architecture": "unet",
    "policies": 2,
    "search_after": 0,
    "batch_size": 6,
    "repeats_per_epoch": 1,
}
REGGAN = {"image_size": 32, "batch_size": 2, **NETWORKS}
PRETRAIN = {"backbone": "test_vit", "image_size": 32, "batch_size": 4, "warmup_epochs": 0, **DECODER}

CASES = {
    "segment": ("pictures", "segment", SEGMENT),
    "segment, whole images": ("pictures", "segment", {**SEGMENT, "patch": None, "resize": "pad"}),
    "aadg": ("pictures", "aadg", AADG),
    "reggan nc+r": ("pictures", "reggan", {**REGGAN, "mode": "nc+r"}),
    "reggan c+r": ("pictures", "reggan", {**REGGAN, "mode": "c+r"}),
    "reggan c+r, unit": ("pictures", "reggan", {**REGGAN, "mode": "c+r", "base": "unit"}),
    "reggan p, colour": ("pictures", "reggan", {**REGGAN, "mode": "p", "channels": 3, "penalty": "r1"}),
    "mae": ("chest", "mae", {**PRETRAIN, "report": ""}),
    "mrm": ("chest", "mrm", {**PRETRAIN, **REPORT}),
}
"""By name: which data, the method, and its settings."""


def write_pictures(folder: Path, count: int = 6) -> Path:
    """Bright discs on grounds of three domains, with masks, fields of view and negatives; an image a patient."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:48, :48]
    lines = ["image,mask,fov,target,patient,domain,split"]
    for domain in range(3):
        for number in range(count):
            row, column = generator.uniform(14, 34, 2)
            disc = (y - row) ** 2 + (x - column) ** 2 < generator.uniform(6, 10) ** 2
            image = 20 + 30 * domain + generator.integers(0, 20, (48, 48, 3)) + 100 * disc[..., None]
            name = f"{domain}_{number}"
            for kind, pixels in {
                "i": image,
                "m": disc * 255,
                "f": np.full((48, 48), 255),
                "t": 255 - image[..., 0],
            }.items():
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{kind}{name}.png")
            files = ",".join(f"{kind}{name}.png" for kind in "imft")
            lines.append(f"{files},p{name},d{domain},{'val' if number == count - 1 else 'train'}")
    (folder / "pictures.csv").write_text("\n".join(lines) + "\n")
    return folder / "pictures.csv"


def write_chest(folder: Path) -> Path:
    """Made radiographs with reports of different lengths."""
    path = write_chest_dataset(folder, 16, 64, seed=1, fractions=FRACTIONS, masks=False)
    table = pd.read_csv(path, dtype=str)
    table.drop(columns=[name for name in table if name.startswith("labels:")]).to_csv(path, index=False)
    return path


def write_fundus(folder: Path) -> Path:
    """Made fundus photographs of five grades."""
    return write_fundus_dataset(
        folder, 10, 64, seed=3, fractions=FRACTIONS, masks=False, grade_probabilities=(1, 1, 1, 1, 1)
    )


WRITERS = {"pictures": write_pictures, "chest": write_chest, "fundus": write_fundus}


def recipe_of(data: Path, method: str, settings: dict, **more) -> Recipe:
    """The recipe of one case."""
    return make_recipe(data, method, {**COMMON, "epochs": 1, **settings, **more})
