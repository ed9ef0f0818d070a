"""LesionPaste as a method: the annotated rows become a bank, the bank makes abnormal images."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from modicum.batch import Batch
from modicum.data.manifest import MASKS_PREFIX
from modicum.errors import InputError
from modicum.methods.base import Context, Method, MethodConfig, Stage
from modicum.methods.lesionpaste.config import MEAN, STD, LesionPasteConfig
from modicum.methods.lesionpaste.network import AbnormalScore, FindingScore, PasteNetwork
from modicum.methods.lesionpaste.stage import PasteStage
from modicum.progress import say
from modicum.tasks.base import AuxiliaryImage
from modicum.transforms.lesion_bank import LesionBank
from modicum.transforms.lesion_draws import (
    NO_AUGMENTATION,
    LesionAugmentation,
    LesionRule,
    published_order,
    usual_rules,
)
from modicum.transforms.lesion_paste import LesionPaste

ONE_TYPE = "lesion"
"""What lesions of a column ``mask`` are called."""


class LesionPasteMethod(Method):
    """Lesions of the annotated images are pasted into normal ones, and a classifier tells these from normal ones."""

    name: ClassVar[str] = "lesionpaste"
    summary: ClassVar[str] = "find abnormal images after normal ones and one with its lesions annotated"
    source: ClassVar[str] = "Huang et al., arXiv 2203.06354 (AugPaste, LNCS 13576, 2022)"
    tasks: ClassVar[tuple[str, ...]] = ("anomaly",)
    Config: ClassVar[type[MethodConfig]] = LesionPasteConfig
    training: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "momentum": 0.9,
        "lr": 1e-3,
        "weight_decay": 3e-5,
        "schedule": "cosine",
        "schedule_by": "epoch",
        "warmup_epochs": 0,
        "epochs": 200,
        # 32 normal images and 32 with lesions: the release's 64.
        "batch_size": 32,
        "clip_norm": 0.0,
        "augment": "none",
    }
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paste": {}}
    image: ClassVar[Mapping[str, Any]] = {"size": 512}
    backbone: ClassVar[Mapping[str, Any]] = {"name": "vgg16", "mean": MEAN, "std": STD}

    def __init__(self, config: LesionPasteConfig, context: Context) -> None:
        super().__init__(config, context)
        backbone = context.backbone()
        vgg = "vgg" in backbone.name if config.head == "auto" else config.head == "vgg"
        segments = config.segmentation_weight > 0
        network = PasteNetwork(backbone, vgg, config.input_size, config.contrast == "fundus", segments)
        paste = _paste_of(network, context.reference(), config) if context.has_data else None
        self._stage = PasteStage(network, paste, config)
        self._predictor = FindingScore(network) if segments else AbnormalScore(network)

    @classmethod
    def task_options(cls, config: MethodConfig) -> Mapping[str, Any]:
        return {"output": "logit"}

    @classmethod
    def auxiliary_images(cls, config: MethodConfig) -> tuple[AuxiliaryImage, ...]:
        assert isinstance(config, LesionPasteConfig)
        masks = [AuxiliaryImage(name, "label_map", required=False) for name in (f"{MASKS_PREFIX}*", "mask")]
        field = [AuxiliaryImage("fov", "label_map")] if config.organ == "fov" else []
        return (*masks, *field)

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return self._predictor


def _paste_of(network: PasteNetwork, reference: Batch, config: LesionPasteConfig) -> LesionPaste:
    """The transform with the lesions of the reference rows.

    Raises:
        InputError: there is no reference row, or none has a mask that marks something.
    """
    if not reference:
        raise InputError(
            "lesionpaste needs an annotated abnormal image, and no row has the split 'reference'",
            "write 'reference' in column 'split' of that image's row, and name its mask in column 'mask' (or one a type "
            "of lesion: masks:MA, masks:HE); a row of a table with labels needs a label too",
        )
    masks = {
        name.removeprefix(MASKS_PREFIX) if name != "mask" else ONE_TYPE: reference[name][:, 0].numpy() > 0
        for name in sorted(reference, key=lambda name: published_order(name.removeprefix(MASKS_PREFIX)))
        if name == "mask" or name.startswith(MASKS_PREFIX)
    }
    if not masks:
        raise InputError(
            "the reference rows have no mask of their lesions",
            "name the column with --mask COLUMN, or have one column a type of lesion: masks:MA, masks:HE",
        )
    if not any(mask.any() for mask in masks.values()):
        raise InputError(
            "the masks of the reference rows mark nothing", "mark at least one lesion, with values above 0"
        )
    images = network.enhanced(reference["image"])
    bank = LesionBank.from_masks(images, masks)
    say(f"bank of {bank.describe()} from {len(images)} reference image{'s' if len(images) != 1 else ''}")
    augmentation = LesionAugmentation(
        config.scale, degrees=config.degrees, shift=config.colour, colour=config.colour
    )
    return LesionPaste(
        bank,
        rules=_rules(bank, config.severity),
        blend=config.blend,
        augmentation=augmentation if config.augment_lesions else NO_AUGMENTATION,
        rim=config.rim,
        feather=config.feather,
    )


def _rules(bank: LesionBank, severity: Mapping[str, int]) -> Mapping[str, LesionRule] | None:
    """The usual rules with other severities."""
    if not severity:
        return None
    usual = dict(zip(bank.types, usual_rules(bank), strict=True))
    for name in severity:
        if name not in usual:
            raise InputError(
                f"severity of '{name}', and no lesion of that type is annotated", f"known: {', '.join(usual)}"
            )
    return {name: LesionRule(severity.get(name, rule.above), rule.margin) for name, rule in usual.items()}
