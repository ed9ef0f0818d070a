"""Fine-tuning on mixtures of two images: mixup, CutMix, and their relatives for long tails, Remix and CMO.

mixup: Zhang et al., ICLR 2018 (arXiv 1710.09412). CutMix: Yun et al., ICCV 2019 (arXiv 1905.04899). Remix: Chou et al.,
"Remix: Rebalanced Mixup" (ECCV workshops 2020, arXiv 2007.03943). CMO: Park et al., "The Majority Can Help The Minority:
Context-rich Minority Oversampling for Long-tailed Classification" (CVPR 2022, arXiv 2112.00412).
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modicum.batch import PARTNER
from modicum.distributed import of_first
from modicum.methods.base import Context, Method, MethodConfig, Stage, TrainStage, Update
from modicum.methods.long_tail import check_one_class
from modicum.nn import Classifier, linear_head
from modicum.tasks.base import Batch
from modicum.transforms.cutmix import paste_box, random_box

Mixer = Literal["mixup", "cutmix", "remix", "cmo"]


class MixedConfig(MethodConfig):
    """Settings of the mixtures."""

    mixer: Mixer = Field(
        "mixup",
        description="mixup: two images of a batch, blended with their labels; cutmix: a box of one on the other; remix: "
        "as mixup, with the rarer class's label alone where both differ much in number; cmo: a box of an image of a "
        "class-balanced sampler on one as they come.",
    )
    mix_alpha: float = Field(1.0, gt=0, description="Shares are drawn from Beta(mix_alpha, mix_alpha).")
    mix_p: float | None = Field(
        None, ge=0, le=1, description="Share of the batches that are mixed; by default 1, of cmo 0.5."
    )
    remix_kappa: float = Field(
        3.0, ge=1, description="Of remix: from which ratio of numbers of images on a label may win."
    )
    remix_tau: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Of remix: the rarer class's label wins where its image has a larger share.",
    )


class MixedStage(TrainStage):
    """The loss of a mixture is the mixture of the losses, by the labels' shares.

    Args:
        network: a classifier.
        loss: the task's loss.
        config: the method's settings.
        counts: training images of each class.
    """

    name = "tune"
    partner_sampling = "balanced"
    counts: Tensor

    def __init__(self, network: Classifier, loss: nn.Module, config: MixedConfig, counts: Tensor) -> None:
        super().__init__()
        self.reads = ("image", PARTNER + "image") if config.mixer == "cmo" else ("image",)
        self.network = network
        self.loss = loss
        self._config = config
        self._p = config.mix_p if config.mix_p is not None else (0.5 if config.mixer == "cmo" else 1.0)
        self.register_buffer("counts", counts, persistent=False)

    def updates(self) -> Sequence[Update]:
        return [Update("network", list(self.network.parameters()), self.losses)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        drawn = float(torch.rand(()))
        # The losses of a mixture are two, and each may need the other processes.
        if self._p < 1 and of_first(drawn) >= self._p:
            return {"classification": self.loss(self.network(batch["image"]), batch)}
        images, labels = batch["image"], batch["label"]
        if self._config.mixer == "cmo":
            others, other_labels = batch[PARTNER + "image"], batch[PARTNER + "label"]
        else:
            order = torch.randperm(len(images)).to(images.device)
            others, other_labels = images[order], labels[order]
        share = float(torch.distributions.Beta(self._config.mix_alpha, self._config.mix_alpha).sample())
        if self._config.mixer in ("cutmix", "cmo"):
            box = random_box((images.shape[2], images.shape[3]), share)
            mixed, share = paste_box(images, others, box)
        else:
            mixed = torch.lerp(others, images, share)
        outputs = self.network(mixed)
        if self._config.mixer == "remix":
            return {"classification": self._of_shares(outputs, labels, other_labels, share)}
        first = self.loss(outputs, batch)
        second = self.loss(outputs, {**batch, "label": other_labels})
        return {"classification": share * first + (1 - share) * second}

    def _of_shares(self, outputs: Tensor, labels: Tensor, others: Tensor, share: float) -> Tensor:
        """Cross-entropy by Remix's shares of the labels."""
        config, number = self._config, self.counts.to(torch.float32)
        shares = remix_shares(number[labels], number[others], share, config.remix_kappa, config.remix_tau)
        logs = outputs.float().log_softmax(1)
        first, second = (-logs.gather(1, of[:, None]).squeeze(1) for of in (labels, others))
        return (shares * first + (1 - shares) * second).mean()

    def forward(self, batch: Batch) -> Tensor:
        return self.network(batch["image"])


def remix_shares(
    number: Float[Tensor, "b"], other: Float[Tensor, "b"], share: float, kappa: float = 3.0, tau: float = 0.5
) -> Float[Tensor, "b"]:
    """The first labels' shares in Remix (equation 5): 0 where the first class is ``kappa`` times as common and its image
    has less than ``tau``, 1 where it is as much rarer and the other image has less; else the image's own share.

    Args:
        number: training images of the first images' classes.
        other: of the others'.
        share: of the first images.
        kappa: ratio of the numbers.
        tau: share of an image.

    >>> remix_shares(torch.tensor([90.0, 10.0, 10.0]), torch.tensor([10.0, 90.0, 20.0]), 0.75).tolist()
    [0.75, 1.0, 0.75]
    """
    shares = torch.full_like(number, share)
    if share < tau:
        shares = torch.where(number >= kappa * other, 0.0, shares)
    if 1 - share < tau:
        shares = torch.where(number * kappa <= other, 1.0, shares)
    return shares


class Mixed(Method):
    """Fine-tunes everything on mixtures."""

    name: ClassVar[str] = "mixed"
    summary: ClassVar[str] = (
        "fine-tune on mixtures of two images: mixup, CutMix, and for long tails Remix and CMO"
    )
    source: ClassVar[str] = "arXiv 1710.09412, 1905.04899, 2007.03943 and 2112.00412"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    Config: ClassVar[type[MethodConfig]] = MixedConfig
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tune": {}}

    def __init__(self, config: MixedConfig, context: Context) -> None:
        super().__init__(config, context)
        check_one_class(
            self.name, context, "cross-entropy of mixed labels" if config.mixer == "remix" else None
        )
        backbone = context.backbone()
        outputs = context.task.num_outputs
        network = Classifier(backbone, linear_head(backbone.num_features, outputs))
        labels = context.targets.get("label", np.zeros(0, dtype=np.int64))
        counts = torch.from_numpy(np.bincount(labels, minlength=outputs))
        self._stage = MixedStage(network, context.loss(), config, counts)

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return self._stage.network

    def merge(self) -> nn.Module:
        return self._stage.network.eval()
