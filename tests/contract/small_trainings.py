"""Small trainings of every method, in one process or in each of several that train together.

    python small_trainings.py DATA RUNS BATCH [DEVICES]

``DATA`` is a JSON file of a table for each task. What a method raises is written beside its run, and the others go on.
"""

import json
import sys
import traceback
from pathlib import Path
from typing import Any

import modicum
from modicum.methods import method_class

# isort: split
import torch

ORDERED = (
    "full", "adapter", "attention", "bitfit", "dora", "dtl", "lst", "partial", "side", "ssf", "vpt", "dr_grading",
)  # fmt: skip
"""Methods that draw nothing at random from image to image (with these settings): two processes do what one does."""
DRAWING = (
    "adaptformer", "lora", "fpt", "fpt_plus", "lesion_contrast", "aadg", "mae", "mrm", "reggan", "prior", "convirt",
    "gloria",
)  # fmt: skip
"""Methods that draw dropout, masks, crops, sentences or policies in each process: as good as one, not the same."""
NORMALISING = ("linear", "segment", "detect")
"""Methods with batch normalisation: each process has the statistics of its half of a batch."""
NOT_YET = (
    "octa_quality", "padim", "patchcore", "reverse_distillation", "reconstruction", "cutpaste", "deviation",
    "lesionpaste", "led", "cut", "restoration_unet", "spmix", "gpaco", "paco", "decoupled", "ldam", "mixed",
)  # fmt: skip
"""Methods that have not been trained in two processes yet."""
VIT = {"backbone": "test_vit"}
DECODER = {**VIT, "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2}
MASKS = {"backbone": "test_resnet", "decoder_width": 32}
TEXT = {
    **VIT, "text_width": 16, "text_depth": 1, "text_heads": 2, "text_hidden": 32, "width": 16, "report_length": 40,
    "max_sentences": 8, "text_dropout": 0.0,
}  # fmt: skip
OWN: dict[str, dict[str, Any]] = {
    "prior": {
        **TEXT,
        "heads": 2,
        "prototypes": 12,
        "queries": 4,
        "decoder_depth": 1,
        "decoder_heads": 2,
        "temperature": 0.5,
    },
    "convirt": TEXT,
    "gloria": TEXT,
    "fpt": {**VIT, "image_size": 64, "side_size": 32, "rho": 0.5},
    "fpt_plus": {**VIT, "image_size": 64, "side_size": 32, "rho": 0.5},
    "dr_grading": VIT,
    "lesion_contrast": {"backbone": "test_resnet"},
    "detect": {"backbone": "test_resnet", "image_size": 64, "channels": 16, "head_width": 32},
    "segment": {**VIT, "decoder_width": 32, "architecture": "upernet"},
    "aadg": {**MASKS, "patch": 32, "search_after": 1, "policies": 2},
    "mae": DECODER,
    "mrm": {**DECODER, "report_width": 16, "report_depth": 1, "report_heads": 2, "report_length": 24},
    "reggan": {"width": 4, "discriminator_width": 4, "registration_width": 4},
}
SETTINGS = {
    "weights": "random", "image_size": 32, "epochs": 2, "warmup_epochs": 0, "schedule": "constant", "lr": 1e-3,
    "resamples": 0, "workers": 0, "leaks": "allow", "device": "cpu", "augment": "none", "select": "last",
    "write_report": False,
}  # fmt: skip


def settings_of(method: str) -> dict[str, Any]:
    return {**SETTINGS, **OWN.get(method, VIT)}


def train_all(data: Path, runs: Path, batch_size: int, devices: int | None = None) -> None:
    """Trains every method into a run of its name."""
    tables = json.loads(data.read_text())
    for method in (*ORDERED, *NORMALISING, *DRAWING):
        own = {**settings_of(method), "batch_size": batch_size}
        if devices is not None:
            own["devices"] = devices
        try:
            modicum.fit(tables[method_class(method).tasks[0]], method, name=method, runs=runs, **own)
        except Exception:
            (runs / f"{method}.txt").write_text(traceback.format_exc())


if __name__ == "__main__":
    torch.set_num_threads(1)
    train_all(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
