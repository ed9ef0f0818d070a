"""Published settings for grading diabetic retinopathy and for pre-training on lesions; the plain setting of an ablation.

``dr/reference`` and ``dr/both_eyes``: Huang et al., "Identifying the key components in ResNet-50 for diabetic retinopathy
grading from fundus images: a systematic investigation" (Diagnostics 2023, 13, 1664; arXiv 2110.14160) and its code.
``dr/lesion_contrast``: Huang et al., "Lesion-based Contrastive Learning" (MICCAI 2021, arXiv 2107.08274) and its code.
"""

from typing import Any

from modicum.recipes.shipped import ShippedRecipe

HUANG = "Huang et al., Diagnostics 2023, 13, 1664 (arXiv 2110.14160)"
MEAN = [0.425753653, 0.297374517, 0.212937579]
STD = [0.276702310, 0.202405274, 0.168624178]
"""Of the EyePACS training photographs, cropped to the fundus, at 512 px."""

ONE_EYE: dict[str, Any] = {
    "optimizer": "sgd",
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "lr": 1e-3,
    "epochs": 25,
    "batch_size": 16,
    "schedule": "cosine",
    "schedule_by": "epoch",
    "warmup_epochs": 0.0,
    "clip_norm": 0.0,
    "augment": "fundus",
    "sampling": "natural",
    "loss": "mse",
    "select": "best",
    "monitor": "quadratic_kappa",
}
BOTH_EYES: dict[str, Any] = {
    "lr": 0.02,
    "epochs": 50,
    "batch_size": 64,
    "schedule": "constant",
    "clip_norm": 1.0,
    "augment": "fundus_both_eyes",
}
LESION_CONTRAST: dict[str, Any] = {
    "optimizer": "sgd",
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "lr": 0.02,
    "epochs": 1000,
    "batch_size": 768,
    "schedule": "cosine",
    "schedule_by": "epoch",
    "warmup_epochs": 0.0,
    "clip_norm": 0.0,
    "augment": "none",
    "validate_every": 10,
}
PLAIN: dict[str, Any] = {"loss": "cross_entropy", "augment": "none", "schedule": "constant"}
"""What the reference adds, taken away: the start of the ablation. The publication's own start could not be read again."""


def _values(size: int, fusion: bool, seed: int, training: dict[str, Any]) -> dict[str, Any]:
    return {
        "method": "dr_grading",
        "image": {"size": [size, size], "crop": "fundus", "filter": "lanczos"},
        "backbone": {"name": "resnet50", "mean": MEAN, "std": STD},
        "training": ONE_EYE | training,
        "stages": {"both_eyes": BOTH_EYES} if fusion else {},
        "config": {"fusion": fusion},
        "seed": seed,
    }


CONTRAST = "Huang et al., MICCAI 2021 (arXiv 2107.08274)"
LINEAR: dict[str, Any] = {key: value for key, value in ONE_EYE.items() if key != "augment"}
"""Linear evaluation: the same training, of a linear layer on stored features of the images as they are."""
RECIPES = (
    ShippedRecipe(
        name="dr/reference",
        summary="each eye alone: ResNet-50 at 512 px, mean squared error of a severity score, sgd 0.001, 25 epochs",
        source=HUANG,
        weights=None,
        values=_values(512, False, 1, {}),
    ),
    ShippedRecipe(
        name="dr/both_eyes",
        summary="dr/reference, then a head over both eyes of a patient: sgd 0.02, 50 epochs, the encoder held",
        source=HUANG,
        weights=None,
        values=_values(512, True, 1, {}),
    ),
    ShippedRecipe(
        name="dr/plain",
        summary="the same network without the components: 128 px, cross-entropy, no augmentation, constant rate",
        source=HUANG,
        weights=None,
        values=_values(128, False, 1, PLAIN),
    ),
    ShippedRecipe(
        name="dr/linear",
        summary="linear evaluation: the encoder is held, one layer learns a severity score, trained as dr/reference is",
        source=CONTRAST,
        weights=None,
        values={key: value for key, value in _values(512, False, 1, {}).items() if key != "config"}
        | {"method": "linear", "training": LINEAR},
    ),
    ShippedRecipe(
        name="dr/lesion_contrast",
        summary="pre-training on 128-pixel patches around lesions: sgd 0.02, 768 images in a batch, 1000 epochs",
        source=CONTRAST,
        weights=None,
        values={
            "method": "lesion_contrast",
            "data": {"box_options": {"max_side": 128.0, "border": 5.0, "above_score": 0.8}},
            "image": {"size": [512, 512], "crop": "fundus", "filter": "lanczos"},
            "backbone": {"name": "resnet50", "mean": MEAN, "std": STD},
            "training": LESION_CONTRAST,
            "config": {
                "views": "lesions",
                "patch": 128,
                "temperature": 0.07,
                "patch_augment": "lesion_patch",
            },
            "seed": 1,
        },
    ),
)
