"""The last stage of most methods: minimise the task's loss on the outputs of one network."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from modicum.methods.base import TrainStage, Update
from modicum.tasks.base import Batch


class SupervisedStage(TrainStage):
    """A training stage with one update, which minimises the task's loss.

    Args:
        loss: the task's loss, ``(outputs, batch) -> scalar``. Where it has a method ``on_epoch_start(epoch)``, a pure
            function of the epoch's number, that is called before the first batch of an epoch, and where one is resumed.
    """

    name = "tune"

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    @abstractmethod
    def parameter_groups(self) -> Sequence[Any]:
        """Parameters, or PyTorch parameter groups (``lr_scale`` multiplies the run's learning rate)."""

    def updates(self) -> Sequence[Update]:
        return [Update("network", self.parameter_groups(), lambda batch: self.validate(batch)[1])]

    def on_epoch_start(self, epoch: int) -> None:
        self._tell_loss(epoch)

    def on_epoch_resume(self, epoch: int) -> None:
        self._tell_loss(epoch)

    def _tell_loss(self, epoch: int) -> None:
        if (on_epoch_start := getattr(self.loss, "on_epoch_start", None)) is not None:
            on_epoch_start(epoch)

    def validate(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        outputs = self(batch)
        return outputs, {"classification": self.loss(outputs, batch)}


class NetworkStage(SupervisedStage):
    """Minimises the task's loss over all parameters of one network, from images to outputs.

    Args:
        network: images ``[b, c, h, w]`` to outputs.
        loss: the task's loss.
        name: of the stage.
    """

    def __init__(self, network: nn.Module, loss: nn.Module, name: str = "tune") -> None:
        super().__init__(loss)
        self.name = name
        self.network = network

    def parameter_groups(self) -> Sequence[Any]:
        return list(self.network.parameters())

    def forward(self, batch: Batch) -> Tensor:
        return self.network(batch["image"])
