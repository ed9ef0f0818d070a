"""The three sets of retinal vessels as one table with fields of view, and the settings that all benchmarks here share."""

import csv
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

DOMAINS = ("CHASE_DB1", "DRIVE", "STARE")
PER_DOMAIN, POLICIES = 3, 4
"""Images of each domain in a batch, and copies of each in the search (8 and 6 in the paper)."""
DARK = 35
"""Red, of 255, up to which a pixel is no retina."""
SHARED: dict[str, Any] = {
    "image_size": 256, "architecture": "unet", "backbone": "test_resnet", "weights": "random",
    "decoder_width": 64, "patch": 96, "loss": "dice+bce",
    "epochs": 25, "repeats_per_epoch": 3, "sampling": "round_robin", "batch_size": 2 * PER_DOMAIN, "schedule": "cosine",
    "warmup_epochs": 0, "clip_norm": 0.0, "weight_decay": 0.0, "precision": "bf16",
    "validate_every": 5, "split_seed": 0, "resamples": 1000, "patient": "group",
}  # fmt: skip


def field_of_view(image: np.ndarray) -> np.ndarray:
    """What a fundus camera saw: the largest bright region of red, holes filled, three pixels less at its edge."""
    bright = (image[..., 0] > DARK).astype(np.uint8)
    _, parts, facts, _ = cv2.connectedComponentsWithStats(bright)
    largest = (parts == 1 + int(facts[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)
    edges, _ = cv2.findContours(largest, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(largest), edges, -1, 1, cv2.FILLED)
    return cv2.erode(np.pad(filled, 1), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7)))[1:-1, 1:-1]


def vessels(data: Path, out: Path) -> Path:
    """A copy of the sets with a field of view for every image, and its table."""
    table = out / "vessels.csv"
    if table.is_file():
        return table
    rows = list(csv.DictReader((data / "vessels" / "manifest.csv").open(encoding="utf-8")))
    for row in rows:
        for column in ("image", "mask", "fov"):
            if row[column]:
                (out / row[column]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(data / "vessels" / row[column], out / row[column])
        if not row["fov"]:
            row["fov"] = f"{row['domain']}/fov/{row['id']}.png"
            (out / row["fov"]).parent.mkdir(parents=True, exist_ok=True)
            seen = field_of_view(np.asarray(Image.open(out / row["image"]).convert("RGB")))
            Image.fromarray(255 * seen).save(out / row["fov"])
    columns = ("image", "mask", "fov", "domain", "group")
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *([row[name] for name in columns] for row in rows)])
    return table
