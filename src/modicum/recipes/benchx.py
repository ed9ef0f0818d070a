"""BenchX's protocol of fine-tuning, so that encoders that learned in different ways stand in one table.

Zhou et al., "BenchX: A Unified Benchmark Framework for Medical Vision-Language Pretraining on Chest X-Rays" (NeurIPS
2024, Datasets and Benchmarks, arXiv 2410.21969) and the configurations of its code. Of these are: the input (224 pixels,
the shorter side resized and the middle cut out, random crops and flips in training), a layer norm before the linear head,
the encoder's learning rate at a tenth of the head's, optimiser, rate and batch of each data set, clipping, validation
every five epochs, and what selects the weights. The whole encoder learns.

Its code tunes rate and optimiser for each encoder (Adam for most; SGD at 1e-2 to 3e-2 for MRM); the recipes have those of
most ResNet-50s, for all. It normalises grey levels alike for all; here a run brings the statistics of its training. It
counts in steps (50 of warm-up, a cosine over 3,000) and begins validation in epoch 10: here the warm-up is one epoch and
the cosine goes over all epochs. Head weights start as in this library's other methods.
"""

from typing import Any, NamedTuple

from modicum.recipes.shipped import ShippedRecipe

BENCHX = "Zhou et al., NeurIPS 2024 (arXiv 2410.21969), code"
MEAN, STD = 0.4978, 0.2449


class Setting(NamedTuple):
    """A data set of BenchX: rate and batch of its ResNet-50s, and the metric that selects weights."""

    title: str
    lr: float
    batch_size: int
    monitor: str


SETTINGS = {
    "nih": Setting("NIH ChestX-ray14", 1e-4, 64, "auroc"),
    "chexpert": Setting("CheXpert", 1e-5, 32, "auroc"),
    "rsna": Setting("RSNA Pneumonia", 1e-4, 32, "macro_f1"),
    "siim": Setting("SIIM Pneumothorax", 1e-5, 128, "macro_f1"),
}
_BACKBONE = {"name": "resnet50", "mean": [MEAN] * 3, "std": [STD] * 3}
_WEIGHTS = (
    "an encoder that has learned radiographs (--backbone run:FOLDER of prior, convirt, gloria, mrm or mae)"
)


def _classification(data: str, percent: int) -> ShippedRecipe:
    setting = SETTINGS[data]
    share = "all labels" if percent == 100 else f"{percent} % of the labels"
    training: dict[str, Any] = {
        "optimizer": "adam",
        "lr": setting.lr,
        "weight_decay": 0.0,
        "batch_size": setting.batch_size,
        "schedule": "cosine",
        "warmup_epochs": 1.0,
        "clip_norm": 1.0,
        "epochs": 200,
        "validate_every": 5,
        "patience": 10,
        "select": "best",
        "monitor": setting.monitor,
        "augment": "radiograph",
    }
    return ShippedRecipe(
        name=f"benchx/{data}_{percent}pct",
        summary=f"BenchX's fine-tuning of any encoder, {setting.title}, {share}: adam {setting.lr:g}, encoder a tenth",
        source=BENCHX,
        weights=None,  # any: --backbone run:FOLDER, or else ImageNet's
        values={
            "method": "full",
            "data": {"label_fraction": percent / 100},
            "image": {"size": [224, 224], "resize": "crop", "filter": "bilinear"},
            "backbone": _BACKBONE,
            "training": training,
            "config": {"pool": "auto", "head_norm": True, "backbone_lr_scale": 0.1},
            "seed": 42,
        },
    )


SEGMENTATION = ShippedRecipe(
    name="benchx/siim_upernet",
    summary="BenchX's segmentation with any encoder, SIIM Pneumothorax: UPerNet, 512 px, adamw 2e-5",
    source=BENCHX,
    weights=None,
    values={
        "method": "segment",
        "image": {"size": [512, 512]},
        "backbone": _BACKBONE,
        "training": {
            "optimizer": "adamw",
            "lr": 2e-5,
            "weight_decay": 0.05,
            "batch_size": 8,
            "epochs": 100,
            "warmup_epochs": 1.0,
            "select": "best",
            "monitor": "dice",
            "augment": [{"name": "horizontal_flip"}],
        },
        "config": {"architecture": "upernet", "patch": None},
        "seed": 42,
    },
)
RECIPES = (*(_classification(data, percent) for data in SETTINGS for percent in (1, 10, 100)), SEGMENTATION)
"""All recipes of BenchX, by name."""
