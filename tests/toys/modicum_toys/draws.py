"""A predictor that draws: answers are the mean over a few noisy copies of an image, drawn from the image's seed."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from modicum.methods import Context, Method, MethodConfig, Stage
from modicum.methods.supervised import SupervisedStage
from modicum.nn import Classifier, linear_head
from modicum.tasks.base import Batch


class NoiseStage(SupervisedStage):
    """Learns from noisy images."""

    def __init__(self, network: Classifier, loss: nn.Module, noise: float) -> None:
        super().__init__(loss)
        self.network = network
        self._noise = noise

    def parameter_groups(self) -> Sequence[Any]:
        return list(self.network.parameters())

    def forward(self, batch: Batch) -> Tensor:
        return self.network(batch["image"] + self._noise * torch.randn_like(batch["image"]))


class NoisyMean(nn.Module):
    """The mean of the logits of noisy copies."""

    draws = True

    def __init__(self, network: Classifier, noise: float, copies: int) -> None:
        super().__init__()
        self.network = network
        self._noise, self._copies = noise, copies

    def forward(self, images: Tensor, seeds: Tensor) -> Tensor:
        noise = torch.stack([self._drawn(images.shape[1:], int(seed)) for seed in seeds]).to(images)
        copies = [self.network(images + self._noise * noise[:, number]) for number in range(self._copies)]
        return torch.stack(copies).mean(0)

    def _drawn(self, shape: Sequence[int], seed: int) -> Tensor:
        return torch.randn(self._copies, *shape, generator=torch.Generator().manual_seed(seed))


class ToyDrawsConfig(MethodConfig):
    """Settings of the noise."""

    noise: float = Field(0.1, ge=0, description="Standard deviation of the noise on images in [0, 1].")
    copies: int = Field(3, ge=1, description="Noisy copies that an answer is the mean of.")


class ToyDraws(Method):
    """Fine-tunes on noisy images, and answers with the mean over noisy copies."""

    name: ClassVar[str] = "toy_draws"
    summary: ClassVar[str] = "fine-tune on noisy images; an answer is the mean over noisy copies"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    Config: ClassVar[type[MethodConfig]] = ToyDrawsConfig
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tune": {}}

    def __init__(self, config: ToyDrawsConfig, context: Context) -> None:
        super().__init__(config, context)
        backbone = context.backbone()
        network = Classifier(backbone, linear_head(backbone.num_features, context.task.num_outputs))
        self._stage = NoiseStage(network, context.loss(), config.noise)
        self._predictor = NoisyMean(network, config.noise, config.copies)

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return self._predictor
