"""Features from the images as they come, then a classifier that counts all classes alike.

Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition" (ICLR 2020, arXiv 1910.09217):
classifier re-training (cRT) and tau-normalised classifiers.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modicum.methods.base import Context, Method, MethodConfig, Stage
from modicum.methods.long_tail import check_one_class
from modicum.methods.supervised import SupervisedStage
from modicum.nn import Classifier, linear_head
from modicum.tasks.base import Batch


class DecoupledConfig(MethodConfig):
    """Settings of the classifier."""

    classifier: Literal["crt", "tau_norm"] = Field(
        "crt",
        description="crt: a new one is trained on frozen features with class-balanced sampling; tau_norm: the vectors of "
        "the one that was learned with them are brought towards one length.",
    )
    tau: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Of tau_norm: 0 leaves the vectors as they are, 1 makes them equally long.",
    )


class TauNormalised(nn.Module):
    """Logits of class vectors divided by ``length ** tau``, without biases.

    Args:
        network: with a linear head.
        tau: from 0 to 1.
    """

    def __init__(self, network: Classifier, tau: float) -> None:
        super().__init__()
        self.network = network
        self.tau = tau

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b classes"]:
        return self.network.backbone(images) @ self.weight().T

    def weight(self) -> Float[Tensor, "classes d"]:
        """The class vectors."""
        weight = _linear(self.network).weight
        return weight / weight.norm(dim=1, keepdim=True).clamp_min(1e-12) ** self.tau

    def plain(self) -> Classifier:
        """The same as a backbone and a linear layer."""
        weight = self.weight().detach()
        head = nn.Linear(weight.shape[1], weight.shape[0]).to(weight)
        with torch.no_grad():
            head.weight.copy_(weight)
            head.bias.zero_()
        return Classifier(self.network.backbone, head)


class FeaturesStage(SupervisedStage):
    """Learns features and a classifier from the images as they come."""

    name = "features"

    def __init__(self, network: Classifier, answers: nn.Module, loss: nn.Module) -> None:
        super().__init__(loss)
        self.network = network
        self._answers = [answers]  # not a module of this stage: it has the network's tensors

    def parameter_groups(self) -> Sequence[Any]:
        return list(self.network.parameters())

    def forward(self, batch: Batch) -> Tensor:
        return self._answers[0](batch["image"])

    def validate(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        if self.training:
            outputs = self.network(batch["image"])
            return outputs, {"classification": self.loss(outputs, batch)}
        return self(batch), {}


class ClassifierStage(SupervisedStage):
    """Learns a new classifier on the features, which stay as they are with their batch statistics."""

    name = "classifier"

    def __init__(self, network: Classifier, loss: nn.Module) -> None:
        super().__init__(loss)
        self.network = network

    def train(self, mode: bool = True) -> "ClassifierStage":
        super().train(mode)
        self.network.backbone.eval()
        return self

    def parameter_groups(self) -> Sequence[Any]:
        return list(self.network.head.parameters())

    def forward(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            features = self.network.backbone(batch["image"])
        return self.network.head(features)


class Decoupled(Method):
    """Features first, then the classifier."""

    name: ClassVar[str] = "decoupled"
    summary: ClassVar[str] = (
        "long tails: features from all images, then a class-balanced classifier (cRT, tau-norm)"
    )
    source: ClassVar[str] = "Kang et al., ICLR 2020 (arXiv 1910.09217)"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    Config: ClassVar[type[MethodConfig]] = DecoupledConfig
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "features": {},
        "classifier": {"sampling": "balanced", "epochs": 10, "lr": 1e-3},
    }

    def __init__(self, config: DecoupledConfig, context: Context) -> None:
        super().__init__(config, context)
        check_one_class(self.name, context, None)
        backbone = context.backbone()
        outputs = context.task.num_outputs
        network = Classifier(backbone, linear_head(backbone.num_features, outputs))
        self._again: ClassifierStage | None = None
        self._normalised: TauNormalised | None = None
        if config.classifier == "crt":
            second = Classifier(backbone, linear_head(backbone.num_features, outputs))
            self._again = ClassifierStage(second, context.loss())
        else:
            self._normalised = TauNormalised(network, config.tau)
        self._features = FeaturesStage(network, self._normalised or network, context.loss())

    def stages(self) -> Sequence[Stage]:
        return [self._features] if self._again is None else [self._features, self._again]

    def predictor(self) -> nn.Module:
        if self._again is not None:
            return self._again.network
        assert self._normalised is not None
        return self._normalised

    def merge(self) -> nn.Module:
        if self._again is not None:
            return self._again.network.eval()
        assert self._normalised is not None
        return self._normalised.plain().eval()


def _linear(network: Classifier) -> nn.Linear:
    layer = network.head[-1]  # type: ignore[index]
    assert isinstance(layer, nn.Linear)
    return layer
