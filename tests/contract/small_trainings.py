"""Small trainings of every method, in one process or in each of several that train together.

    python small_trainings.py DATA RUNS BATCH [DEVICES [METHOD ...]]

``DATA`` is a JSON file of a table for each task. What a method raises is written beside its run, and the others go on.
"""

import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import modicum
from modicum.methods import method_class

# isort: split
import torch

ORDERED = (
    "full", "adapter", "attention", "bitfit", "dora", "dtl", "lst", "partial", "side", "ssf", "vpt", "dr_grading",
    "restoration_unet", "decoupled", "ldam",
)  # fmt: skip
"""Methods that draw nothing at random from image to image (with these settings): two processes do what one does."""
STREAMED = ("padim", "patchcore")
"""Methods that are fitted without gradients: each process sees all images, and has what one alone has, bit for bit."""
DRAWING = (
    "adaptformer", "lora", "fpt", "fpt_plus", "lesion_contrast", "aadg", "mae", "mrm", "reggan", "prior", "convirt",
    "gloria", "octa_quality", "cutpaste", "deviation", "lesionpaste", "led", "cut", "mixed",
)  # fmt: skip
"""Methods that draw dropout, masks, crops, sentences, policies, lesions, noise or mixtures in each process: as good as
one, not the same."""
NORMALISING = (
    "linear", "segment", "detect", "reverse_distillation", "reconstruction", "gpaco", "paco", "spmix",
)  # fmt: skip
"""Methods with batch normalisation: each process has the statistics of its half of a batch."""
NEWEST = (
    "octa_quality", "padim", "patchcore", "reverse_distillation", "reconstruction", "cutpaste", "deviation",
    "lesionpaste", "led", "cut", "restoration_unet", "spmix", "gpaco", "paco", "decoupled", "ldam", "mixed",
)  # fmt: skip
"""Methods that are also killed and resumed, and trained in ``benchmarks/same_weights.py``, with these settings."""
VIT, RESNET = {"backbone": "test_vit"}, {"backbone": "test_resnet"}
TEXT = {"text_width": 16, "text_depth": 1, "text_heads": 2, "text_hidden": 32, "width": 16, "report_length": 40,
        "max_sentences": 8}  # fmt: skip
VIEWS = {"queue": 16, "projection": 8, "projection_width": 16, "query_augment": "none", "key_augment": "none"}
CUT = {
    "generator_width": 4,
    "generator_blocks": 1,
    "discriminator_width": 4,
    "nce_places": 16,
    "nce_width": 8,
}
UNET = {"unet_channels": [8, 8], "attention_levels": [], "blocks_per_level": 1}
DECODER = {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2}
SMALL: dict[str, dict[str, Any]] = {
    "reggan": {"width": 4, "discriminator_width": 4, "registration_width": 4},
    "segment": {"decoder_width": 32},
    "led": {**UNET, **CUT, "steps": 2, "start": 200},
    "cut": CUT,
    "restoration_unet": UNET,
    "aadg": {"decoder_width": 32, "batch_size": 4, "patch": 32, "search_after": 1, "policies": 2},
    "octa_quality": {"scorers": ["dfr", "pooled"], "dfr_width": 4},
    "reconstruction": {"width": 4, "steps": 2, "code": 4},
    "padim": {"channels": 8},
    "detect": {"channels": 16, "head_width": 32},
    "gpaco": VIEWS,
    "paco": {name: value for name, value in VIEWS.items() if name != "projection_width"},
    "spmix": VIEWS,
    "mae": DECODER,
    "mrm": {**DECODER, "report_width": 16, "report_depth": 1, "report_heads": 2, "report_length": 24},
    "prior": {**TEXT, "heads": 2, "prototypes": 12, "queries": 4, "decoder_depth": 1, "decoder_heads": 2},
    "convirt": TEXT,
    "gloria": TEXT,
}  # fmt: skip
"""Settings of networks that are large by themselves."""
FULL_SIZE = {"image_size": 64, "side_size": 32, "rho": 0.5}
FIT = {"fit.batch_size": 2, "scale.batch_size": 2}
"""The same batches of streamed images for any number of processes."""
OWN: dict[str, dict[str, Any]] = {
    "prior": {**VIT, "text_dropout": 0.0, "temperature": 0.5},
    "convirt": {**VIT, "text_dropout": 0.0},
    "gloria": {**VIT, "text_dropout": 0.0},
    "fpt": {**VIT, **FULL_SIZE},
    "fpt_plus": {**VIT, **FULL_SIZE},
    "segment": {**VIT, "architecture": "upernet"},
    "detect": {**RESNET, "image_size": 64},
    "padim": {**RESNET, **FIT},
    "patchcore": {**RESNET, **FIT},
    "ldam": {**VIT, "reweight_from": 0.5},
    **dict.fromkeys(("lesion_contrast", "aadg", "octa_quality", "reverse_distillation"), RESNET),
    **dict.fromkeys(("cutpaste", "deviation", "lesionpaste"), RESNET),
    **{name: {} for name in ("reggan", "reconstruction", "led", "cut", "restoration_unet")},
}  # fmt: skip
"""Networks, where not the usual one, and what else a method has of its own here."""
ALL = (*ORDERED, *STREAMED, *NORMALISING, *DRAWING)
SETTINGS = {
    "weights": "random", "image_size": 32, "epochs": 2, "warmup_epochs": 0, "schedule": "constant", "lr": 1e-3,
    "resamples": 0, "workers": 0, "leaks": "allow", "device": "cpu", "augment": "none", "select": "last",
    "write_report": False,
}  # fmt: skip


def settings_of(method: str) -> dict[str, Any]:
    return {**SETTINGS, **SMALL.get(method, {}), **OWN.get(method, VIT)}


def train_all(
    data: Path, runs: Path, batch_size: int, devices: int | None = None, methods: Sequence[str] = ALL
) -> None:
    """Trains methods, each into a run of its name."""
    tables = json.loads(data.read_text())
    for method in methods:
        own = {**settings_of(method), "batch_size": batch_size}
        if devices is not None:
            own["devices"] = devices
        try:
            modicum.fit(tables[method_class(method).tasks[0]], method, name=method, runs=runs, **own)
        except Exception:
            (runs / f"{method}.txt").write_text(traceback.format_exc())


if __name__ == "__main__":
    torch.set_num_threads(1)
    _, data, runs, batch_size, *rest = sys.argv
    chosen = {"methods": rest[1:]} if rest[1:] else {}
    train_all(Path(data), Path(runs), int(batch_size), *map(int, rest[:1]), **chosen)
