"""Full fine-tuning: every parameter of the backbone and a new head learn."""

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from modicum.methods.base import Context, Method, MethodConfig, Stage
from modicum.methods.supervised import SupervisedStage
from modicum.nn import Classifier, linear_head
from modicum.tasks.base import Batch


class FullConfig(MethodConfig):
    """Settings of full fine-tuning."""

    dropout: float = Field(
        0.0, ge=0, lt=1, description="Share of features set to zero before the head in training."
    )
    backbone_lr_scale: float = Field(
        1.0, gt=0, description="Learning rate of the backbone as a multiple of the head's."
    )


class FineTuneStage(SupervisedStage):
    """Minimises the task's loss over all parameters of one network."""

    def __init__(self, network: Classifier, loss: nn.Module, backbone_lr_scale: float) -> None:
        super().__init__(loss)
        self.network = network
        self._lr_scale = backbone_lr_scale

    def parameter_groups(self) -> Sequence[Any]:
        return [
            {"params": list(self.network.backbone.parameters()), "lr_scale": self._lr_scale},
            {"params": list(self.network.head.parameters())},
        ]

    def forward(self, batch: Batch) -> Tensor:
        return self.network(batch["image"])


class Full(Method):
    """Fine-tunes everything."""

    name: ClassVar[str] = "full"
    summary: ClassVar[str] = "fine-tune every parameter; the reference, and the most memory"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    Config: ClassVar[type[MethodConfig]] = FullConfig

    def __init__(self, config: FullConfig, context: Context) -> None:
        super().__init__(config, context)
        backbone = context.backbone()
        head = linear_head(backbone.num_features, context.task.num_outputs, config.dropout)
        self._stage = FineTuneStage(Classifier(backbone, head), context.loss(), config.backbone_lr_scale)

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return self._stage.network

    def merged(self) -> nn.Module:
        return self._stage.network.eval()
