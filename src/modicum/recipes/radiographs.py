"""Published settings for fine-tuning foundation models of chest radiographs.

``cxr/lora_*`` and ``cxr/full_*``: Lian et al., "Less Could Be Better: Parameter-efficient Fine-tuning Advances Medical
Vision Foundation Models" (MIDL 2024, arXiv 2401.12215) and its code, on weights of MRM and, with ``_mae``, on those of
an MAE of radiographs. ``cxr/mrm_*``: Zhou et al., "Advancing Radiograph Representation Learning with Masked Record
Modeling" (ICLR 2023, arXiv 2301.13155) and its code, full fine-tuning of their weights.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from modicum.recipes.shipped import ShippedRecipe

LIAN = "Lian et al., MIDL 2024 (arXiv 2401.12215)"
ZHOU = "Zhou et al., ICLR 2023 (arXiv 2301.13155)"
TITLES = {"nih": "NIH ChestX-ray14", "chexpert": "CheXpert", "rsna": "RSNA Pneumonia", "covid": "COVID-19"}


class LoRASetting(NamedTuple):
    """One row of the published table. Learning rates of the MAE are for batches of 256."""

    data: str
    percent: int
    mrm_epochs: int
    mrm_lr: float
    mrm_rank: int
    mae_epochs: int
    mae_base_lr: float
    mae_rank: int


# fmt: off
LORA = (
    LoRASetting("nih",        1, 100, 0.05,  4, 400, 3e-3,  4),
    LoRASetting("nih",       10, 100, 0.05,  8, 200, 1e-3,  8),
    LoRASetting("nih",      100, 100, 0.2,  32, 100, 3e-3, 32),
    LoRASetting("chexpert",   1, 100, 0.02,  4, 400, 3e-3,  4),
    LoRASetting("chexpert",  10, 100, 0.05, 16, 100, 5e-3,  8),
    LoRASetting("chexpert", 100, 100, 0.01, 32, 100, 3e-3, 32),
    LoRASetting("rsna",       1, 100, 0.01,  4, 100, 3e-3,  4),
    LoRASetting("rsna",      10, 100, 0.01, 32, 100, 5e-3,  8),
    LoRASetting("rsna",     100, 100, 0.01, 32, 100, 5e-3, 32),
)
# fmt: on


class StepSetting(NamedTuple):
    """Full fine-tuning of MRM, published in steps; ``images`` is the size of the published training list."""

    data: str
    percent: int
    lr: float
    steps: int
    warmup: int
    images: int


# fmt: off
MRM = (
    StepSetting("nih",        1, 3e-2,   3_000,     50,     785),
    StepSetting("nih",       10, 3e-3,  30_000,    500,   7_847),
    StepSetting("nih",      100, 3e-3, 200_000,  5_000,  78_468),
    StepSetting("chexpert",   1, 3e-3,   2_000,    150,   2_184),
    StepSetting("chexpert",  10, 5e-4,  60_000,  1_500,  21_841),
    StepSetting("chexpert", 100, 5e-4, 200_000, 15_000, 218_414),
    StepSetting("rsna",       1, 3e-3,   2_000,     50,     251),
    StepSetting("rsna",      10, 5e-4,  10_000,    200,   2_518),
    StepSetting("rsna",     100, 5e-4,  50_000,  2_000,  25_184),
    StepSetting("covid",    100, 3e-2,   1_000,     50,     354),
)
# fmt: on

BATCH, MRM_BATCH = 64, 96
_WEIGHTS = {
    "mrm": "MRM's weights of ViT-B/16",
    "mae": "weights of ViT-B/16 that an MAE learned on radiographs",
}
_STATISTICS = {"mrm": (0.4978, 0.2449), "mae": (0.4785, 0.2834)}


def _recipes() -> Iterator[ShippedRecipe]:
    for row in LORA:
        config = {"alpha": 32.0, "dropout": 0.1, "targets": ["qv"], "pool": "mean", "drop_path": 0.1}
        lr = _absolute(row.mae_base_lr)
        yield _of_lian(
            "lora", row.data, row.percent, "mrm", row.mrm_epochs, row.mrm_lr, config | {"rank": row.mrm_rank}
        )
        yield _of_lian(
            "lora", row.data, row.percent, "mae", row.mae_epochs, lr, config | {"rank": row.mae_rank}
        )
    config = {"pool": "mean", "drop_path": 0.1}
    yield _of_lian("full", "nih", 1, "mrm", 200, 0.01, config)
    exempt = {"decay_vectors": False, "decay_embeddings": False}
    yield _of_lian("full", "nih", 1, "mae", 400, _absolute(5e-4), config | exempt)
    for steps in MRM:
        yield _of_zhou(steps)


def _absolute(base_lr: float) -> float:
    """Scales a learning rate for batches of 256 to batches of 64."""
    return base_lr * BATCH / 256


def _of_lian(
    method: str, data: str, percent: int, family: str, epochs: int, lr: float, config: dict[str, Any]
) -> ShippedRecipe:
    """A recipe of the benchmark by Lian et al., for one of its two kinds of weights."""
    if family == "mrm":
        training: dict[str, Any] = {
            "optimizer": "sgd",
            "momentum": 0.9,
            "nesterov": False,
            "weight_decay": 0.0,
            "augment": "radiograph",
        }
    else:
        training = {
            "optimizer": "adamw",
            "betas": [0.9, 0.999],
            "weight_decay": 0.05,
            "augment": "radiograph_strong",
        }
        config = config | {"layer_decay": 0.65}
    training |= {
        "epochs": epochs,
        "batch_size": BATCH,
        "lr": lr,
        "schedule": "cosine",
        "warmup_epochs": 5.0,
        "min_lr": 1e-6,
        "clip_norm": 0.0,
    }
    rank = f"rank {config['rank']}, " if "rank" in config else ""
    how = "low-rank updates" if method == "lora" else "full fine-tuning"
    return ShippedRecipe(
        name=f"cxr/{method}_{data}_{percent}pct" + ("_mae" if family == "mae" else ""),
        summary=f"{how} of {_WEIGHTS[family]}, {_labels(data, percent)}: {rank}{epochs} epochs, "
        f"{training['optimizer']} {lr:g}",
        source=LIAN,
        weights=_WEIGHTS[family],
        values=_values(method, percent, family, training, config, seed=0, filter="bicubic"),
    )


def _of_zhou(row: StepSetting) -> ShippedRecipe:
    """A recipe of MRM (Zhou et al.): its steps as the nearest number of epochs over the published list."""
    per_epoch = row.images // MRM_BATCH
    training = {
        "optimizer": "sgd",
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 0.0,
        "augment": "radiograph",
        "epochs": round(row.steps / per_epoch),
        "batch_size": MRM_BATCH,
        "lr": row.lr,
        "schedule": "cosine",
        "warmup_epochs": round(row.warmup / per_epoch, 4),
        "clip_norm": 1.0,
    }
    return ShippedRecipe(
        name=f"cxr/mrm_{row.data}_{row.percent}pct",
        summary=f"full fine-tuning of {_WEIGHTS['mrm']}, {_labels(row.data, row.percent)}: "
        f"{training['epochs']} epochs ({row.steps:,} steps), sgd {row.lr:g}",
        source=ZHOU,
        weights=_WEIGHTS["mrm"],
        values=_values(
            "full",
            row.percent,
            "mrm",
            training,
            {"pool": "mean", "drop_path": 0.1},
            seed=42,
            filter="bilinear",
        ),
    )


def _labels(data: str, percent: int) -> str:
    share = "all labels" if percent == 100 else f"{percent} % of the labels"
    return f"{TITLES[data]}, {share}"


def _values(
    method: str,
    percent: int,
    family: str,
    training: dict[str, Any],
    config: dict[str, Any],
    *,
    seed: int,
    filter: str,
) -> dict[str, Any]:
    """Settings shared by all recipes: the network, its input, selection by the mean AUROC of all validation images."""
    mean, std = _STATISTICS[family]
    return {
        "method": method,
        "data": {"label_fraction": percent / 100},
        "image": {"size": [224, 224], "resize": "crop", "filter": filter},
        "backbone": {"name": "vit_base_patch16_224", "mean": [mean] * 3, "std": [std] * 3},
        "training": training | {"select": "best", "monitor": "auroc"},
        "config": config,
        "seed": seed,
    }


RECIPES = tuple(_recipes())
