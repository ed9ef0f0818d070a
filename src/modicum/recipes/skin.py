"""Published settings for long-tailed skin lesions.

``skin/spmix``: "Saliency-guided and Patch-based Mixup for Long-tailed Skin Cancer Image Classification" (arXiv
2406.10801) and its code.
"""

from modicum.recipes.shipped import ShippedRecipe

SOURCE = "arXiv 2406.10801 (2024); Sensors 2026, 26(11), 3343"
MEAN, STD = [0.765, 0.545, 0.569], [0.140, 0.151, 0.169]
"""Of the ISIC photographs."""

RECIPES = (
    ShippedRecipe(
        name="skin/spmix",
        summary="SPMix as published: hybrid transformer at 224 px, AdamW 5e-6, batches of 16, 500 epochs",
        source=SOURCE,
        weights=None,
        values={
            "method": "spmix",
            "image": {"size": [224, 224], "resize": "crop", "filter": "bilinear"},
            "backbone": {"name": "spmix_resnet50d_vit", "mean": MEAN, "std": STD},
            "training": {
                "optimizer": "adamw",
                "weight_decay": 0.1,
                "lr": 5e-6,
                "epochs": 500,
                "batch_size": 16,
                "schedule": "cosine",
                "schedule_by": "epoch",
                "warmup_epochs": 10.0,
                "clip_norm": 0.0,
                "augment": "none",
                "sampling": "natural",
                "select": "best",
                "monitor": "balanced_accuracy",
            },
            "config": {
                "mix": "tokens",
                "foreground": "balanced",
                "guide": "both",
                "alpha": 0.8,
                "temperature": 0.2,
                "same_class_weight": 0.05,
                "queue": 8192,
                "query_augment": "skin_query",
                "key_augment": "skin_key",
            },
            "seed": 0,
        },
    ),
)
