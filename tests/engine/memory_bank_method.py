"""A method of somebody else's package: a memory bank that is fitted, and answers that are decided over a set."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from modicum.methods import Context, FitStage, Method, MethodConfig
from modicum.nn import Backbone, Frozen


class Bank(FitStage):
    """Keeps the features of all images; how many there are is known afterwards."""

    name = "remember"

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = Frozen(backbone)
        self.register_buffer("bank", None)
        self.register_buffer("scale", torch.zeros(0))
        self._seen: list[Tensor] = []

    def see(self, batch):
        with torch.no_grad():
            self._seen.append(self.backbone(batch["image"]))

    def finish(self):
        self.bank = torch.cat(self._seen)
        self.scale = self.bank.std(0)
        self._seen = []


class Nearest(nn.Module):
    """Distance to what is nearest in the bank, for each of three outputs the same."""

    def __init__(self, stage: Bank) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, images: Tensor) -> Tensor:
        bank, scale = self.stage.bank, self.stage.scale
        distance = torch.cdist(self.stage.backbone(images) / scale, bank / scale).amin(1)
        return distance[:, None].expand(-1, 3)


class MemoryBank(Method):
    """Fitted by streaming."""

    name: ClassVar[str] = "memory_bank"
    summary: ClassVar[str] = "the nearest of all training images"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    stage_training: ClassVar = {"remember": {}}
    decides_over: ClassVar = "set"

    def __init__(self, config: MethodConfig, context: Context) -> None:
        super().__init__(config, context)
        self._stage = Bank(context.backbone())

    def stages(self):
        return [self._stage]

    def predictor(self):
        return Nearest(self._stage)


class Forgetful(MemoryBank):
    """What it predicts with is in no buffer of the predictor, as somebody may get it wrong."""

    name: ClassVar[str] = "forgetful"

    def predictor(self):
        stage, head = self._stage, nn.Linear(1, 1)
        head.forward = lambda images: Nearest(stage)(images)  # a closure is no submodule
        return head
