"""AADG as a method: the network, the domains of the training images, and the checks before the search."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from modicum.errors import InputError
from modicum.methods.aadg.config import TRAINING, AadgConfig
from modicum.methods.aadg.stage import AadgStage
from modicum.methods.base import Context, MethodConfig, Stage
from modicum.methods.segmenting import SegmentingMethod
from modicum.transforms import Augmentation
from modicum.wording import count_of

PER_DOMAIN = 8
"""Images of each domain in the paper's batch."""


class Aadg(SegmentingMethod):
    """Segments images of domains that are not in the training data, with an augmentation policy search."""

    name: ClassVar[str] = "aadg"
    summary: ClassVar[str] = (
        "segmentation for cameras it never saw: searches augmentations that set the training domains apart"
    )
    source: ClassVar[str] = "Lyu et al., IEEE TMI 2022, 41, 3699, arXiv 2207.13249"
    tasks: ClassVar[tuple[str, ...]] = ("segmentation",)
    Config: ClassVar[type[MethodConfig]] = AadgConfig
    training: ClassVar[Mapping[str, Any]] = TRAINING
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"search": {}}
    image: ClassVar[Mapping[str, Any]] = {"size": (512, 512)}
    backbone: ClassVar[Mapping[str, Any]] = {"name": "mobilenetv2_100"}

    config: AadgConfig

    def __init__(self, config: AadgConfig, context: Context) -> None:
        config = config.model_copy(update={"search_after": _search_after(config, context.training)})
        config = _without_dropped(config)
        super().__init__(config, context)
        codes = _domains(context.targets)
        if "domain" in context.targets:  # else a run is opened, whose domains are not known
            _check_batch(len(codes), context.training)
        network = self.network(context)
        self._stage = AadgStage(
            config,
            network,
            _loss(config, context),
            len(codes),
            network.num_features,
            _scale_crop(config, context.image_size),
            codes,
            None if config.tile is None else _at_most(config.tile, context.image_size),
        )

    def stages(self) -> Sequence[Stage]:
        return [self._stage]


def _search_after(config: AadgConfig, training: Mapping[str, Any]) -> int:
    """The number of epochs before the search."""
    epochs = training.get("epochs")
    if config.search_after is None:
        return 0 if epochs is None else epochs // 5
    if epochs is not None and config.search_after >= epochs:
        raise InputError(
            f"the search would begin after {config.search_after} epochs, but training has {epochs}",
            "leave search_after out (a fifth of all epochs), lower it, or raise --epochs",
        )
    return config.search_after


def _without_dropped(config: AadgConfig) -> AadgConfig:
    """The configuration with ``drop_operations`` operations, drawn at random, moved to ``exclude``.

    Draws from PyTorch's generator, which has the same seed wherever a run's method is built.
    """
    if not config.drop_operations:
        return config
    drawn = torch.randperm(len(config.operations))[: config.drop_operations].tolist()
    dropped = tuple(config.operations[number] for number in sorted(drawn))
    return config.model_copy(update={"exclude": (*config.exclude, *dropped), "drop_operations": 0})


def _domains(targets: Mapping[str, np.ndarray]) -> list[int]:
    """Numbers of the training images' domains, ascending; 0 and 1 if no images are known (an opened run).

    Raises:
        InputError: an image without a domain.
    """
    if "domain" not in targets:
        return [0, 1]
    if blank := int((targets["domain"] < 0).sum()):
        raise InputError(
            f"the column 'domain' is blank for {count_of(blank, 'training image')}, but AADG compares domains",
            "fill in the cells or delete the rows",
        )
    return np.unique(targets["domain"]).tolist()


def _check_batch(domains: int, training: Mapping[str, Any]) -> None:
    """Checks that each batch has the same number of images of each domain."""
    if training.get("sampling", "round_robin") != "round_robin":
        raise InputError(
            f"sampling is '{training['sampling']}', but AADG needs as many images of each domain in a batch",
            "leave sampling out: it is round_robin",
        )
    size = training.get("batch_size", PER_DOMAIN * domains)
    if domains >= 2 and size % domains:
        raise InputError(
            f"a batch of {size} images cannot be divided equally among the {domains} training domains",
            f"give --batch-size {PER_DOMAIN * domains} ({PER_DOMAIN} of each, as in the paper) or another multiple of "
            f"{domains}",
        )


def _loss(config: AadgConfig, context: Context) -> nn.Module:
    exclusive = context.task.kind == "multi-class"
    if exclusive and config.cutout_labels == "erase":
        raise InputError(
            "cutout_labels is 'erase', and classes that exclude each other leave no pixel without one",
            "use cutout_labels=keep",
        )
    words = config.loss if config.loss != "auto" else context.loss_options.get("loss", "auto")
    if words == "auto":
        words = "cross_entropy" if exclusive else "bce"
    return context.task.loss(context.targets, {**context.loss_options, "loss": words})


def _scale_crop(config: AadgConfig, image_size: tuple[int, int]) -> Augmentation:
    """The scaling and cropping of the copies after their policies."""
    scale = {
        "name": "random_scale_crop",
        "p": config.scale_probability,
        "factor": config.scale,
        "placement": config.placement,
    }
    patch = None if config.patch is None else _at_most(config.patch, image_size)
    return Augmentation([scale], image_size, patch)


def _at_most(side: int, size: tuple[int, int]) -> tuple[int, int]:
    return min(side, size[0]), min(side, size[1])
