"""PRIOR's pre-training as released, and what its encoder is measured by.

Cheng et al., "PRIOR: Prototype Representation Joint Learning from Medical Images and Reports" (ICCV 2023, arXiv
2307.12577). The pre-training is that of the released configuration. Code and settings of the downstream protocols were
never released: what is read of them (images of 224 pixels, shares of labels, a U-Net, boxes) is kept, and optimiser,
rate and selection are this library's own, the same for every encoder.
"""

from typing import Any

from modicum.recipes.shipped import ShippedRecipe

CHENG = "Cheng et al., ICCV 2023 (arXiv 2307.12577)"
OWN = f"protocol of {CHENG}; optimiser and selection of modicum"
MEAN, STD = [0.4755] * 3, [0.3011] * 3
TITLES = {"rsna": "RSNA Pneumonia", "siim": "SIIM Pneumothorax", "chexpert": "CheXpert"}
TUNING: dict[str, Any] = {
    "optimizer": "adamw",
    "lr": 1e-4,
    "weight_decay": 0.05,
    "schedule": "cosine",
    "warmup_epochs": 1.0,
    "epochs": 50,
    "select": "best",
    "patience": 10,
}
_BACKBONE = {"name": "resnet50", "mean": MEAN, "std": STD}
_WEIGHTS = "ResNet-50 that has learned radiographs (run:FOLDER of prior, convirt or gloria)"


def _classification(data: str, percent: int) -> ShippedRecipe:
    share = "all labels" if percent == 100 else f"{percent} % of the labels"
    return ShippedRecipe(
        name=f"prior/{data}_{percent}pct",
        summary=f"full fine-tuning of a pre-trained ResNet-50, {TITLES[data]}, {share}: 224 px, adamw 0.0001, best of 50",
        source=OWN,
        weights=_WEIGHTS,
        values={
            "method": "full",
            "data": {"label_fraction": percent / 100, "fractions": [0.6, 0.2, 0.2]},
            "image": {"size": [224, 224], "filter": "bilinear"},
            "backbone": _BACKBONE,
            "training": TUNING | {"batch_size": 64, "monitor": "auroc", "augment": "radiograph"},
        },
    )


def _dense(name: str, method: str, summary: str, config: dict[str, Any], batch: int) -> ShippedRecipe:
    return ShippedRecipe(
        name=name,
        summary=summary,
        source=OWN,
        weights=_WEIGHTS,
        values={
            "method": method,
            "data": {"fractions": [0.6, 0.2, 0.2]},
            "image": {"size": [512, 512]},
            "backbone": _BACKBONE,
            "training": TUNING | {"batch_size": batch},
            "config": config,
        },
    )


RECIPES = (
    ShippedRecipe(
        name="prior/pretrain",
        summary="pre-training on MIMIC-CXR as released: frontal views, four sentences or more, 20 + 30 + 100 epochs",
        source=CHENG,
        weights=None,
        values={
            "method": "prior",
            "data": {"layout_options": {"views": "frontal"}},
            "image": {"size": [224, 224], "filter": "bilinear"},
            "backbone": _BACKBONE,
            "options": {"sections": ["impression", "findings"]},
            "config": {"min_sentences": 4},
            "training": {"sampling": "one_per_study"},
            "seed": 114514,
        },
    ),
    *(_classification(data, percent) for data in TITLES for percent in (1, 10, 100)),
    _dense(
        "prior/siim_unet",
        "segment",
        "U-Net on a pre-trained ResNet-50, SIIM Pneumothorax: 512 px, adamw 0.0001, best of 50",
        {"architecture": "unet"},
        8,
    ),
    _dense(
        "prior/rsna_detect",
        "detect",
        "boxes on a pre-trained ResNet-50, RSNA Pneumonia: 512 px, adamw 0.0001, best of 50",
        {},
        8,
    ),
)
"""All recipes of image-text pre-training, by name."""
