"""A tiny honest method, and for each promise of the contract one like it that breaks it."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.methods import Context, Decision, Method, MethodConfig, Rows, TrainStage, Update
from modicum.tasks.base import Batch


class Colours(nn.Module):
    """Logits from the mean colour of each quarter of an image."""

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self.head = nn.Linear(12, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(F.adaptive_avg_pool2d(images, 2).flatten(1))


class TuneStage(TrainStage):
    """Cross entropy on the labels."""

    name = "tune"

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def updates(self) -> Sequence[Update]:
        return [Update("network", list(self.network.parameters()), self.losses)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"classification": F.cross_entropy(self(batch), batch["label"])}

    def forward(self, batch: Batch) -> Tensor:
        return self.network(batch["image"])


class Honest(Method):
    """Learns to tell colours."""

    name: ClassVar[str] = "checked"
    summary: ClassVar[str] = "a linear layer on the mean colours of an image"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    training: ClassVar[Mapping[str, Any]] = {"lr": 0.05, "augment": "none"}
    Stage: ClassVar[type[TuneStage]] = TuneStage

    def __init__(self, config: MethodConfig, context: Context) -> None:
        super().__init__(config, context)
        self._network = Colours(context.task.num_outputs)
        self._stage = self.Stage(self._network)

    def stages(self) -> Sequence[TrainStage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return self._network


# --- what it says of itself ------------------------------------------------------------------------------------------


class OtherName(Honest):
    name = "another"


class LongSummary(Honest):
    summary = "first\nsecond"


class UnknownTask(Honest):
    tasks = ("classification", "clasification")


class SilentSetting(Honest):
    class Config(MethodConfig):
        """Settings."""

        width: int = 3


class LooseSettings(Honest):
    class Config(MethodConfig):
        """Settings."""

        model_config = ConfigDict(extra="ignore", frozen=True)
        width: int = Field(3, description="Of nothing.")


class StageNotNamed(Honest):
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tune": {}, "pretrain": {}}


class NewStages(Honest):
    def stages(self):
        return [self.Stage(self._network)]


# --- how it is trained -----------------------------------------------------------------------------------------------


class Crashes(Honest):
    class Stage(TuneStage):
        def losses(self, batch):
            return {"classification": batch["lable"].sum()}


class RowsByChance(Honest):
    class Stage(TuneStage):
        def learns_from(self, targets):
            rows = len(targets["label"])
            return np.random.default_rng().permutation(rows) < rows // 2


class RowNumbers(Honest):
    class Stage(TuneStage):
        def learns_from(self, targets):
            return np.flatnonzero(targets["label"] == 0)


class ChangingOptions(Honest):
    class Stage(TuneStage):
        asked = 0

        def updates(self):
            type(self).asked += 1
            options = {"weight_decay": 0.001 * type(self).asked}
            return [Update("network", list(self.network.parameters()), self.losses, options=options)]


class Counts(Honest):
    """The loss depends on how many steps this process has seen."""

    class Stage(TuneStage):
        seen = 0

        def losses(self, batch):
            self.seen += 1
            return {"classification": super().losses(batch)["classification"] * (1 + 0.1 * self.seen)}


class EpochAttribute(Honest):
    """What is set at the beginning of an epoch is lost when it is killed in the middle."""

    class Stage(TuneStage):
        factor = 1.0

        def on_epoch_start(self, epoch):
            self.factor = 1.0 + epoch

        def losses(self, batch):
            return {"classification": super().losses(batch)["classification"] * self.factor}


class Unseeded(Honest):
    class Stage(TuneStage):
        def losses(self, batch):
            noise = float(np.random.default_rng().random())
            return {"classification": super().losses(batch)["classification"] * (1 + noise)}


class NotRegistered(Honest):
    """What learns is in a list, where neither the optimiser's owner nor the run's weights find it."""

    class Stage(TuneStage):
        def __init__(self, network):
            super().__init__(nn.Identity())
            self._networks = [network]

        def updates(self):
            return [Update("network", list(self._networks[0].parameters()), self.losses)]

        def forward(self, batch):
            return self._networks[0](batch["image"])


class OtherAnswers(Honest):
    """The predictor says something else than the stage that was validated."""

    def __init__(self, config: MethodConfig, context: Context) -> None:
        super().__init__(config, context)
        self._predictor = nn.Sequential(self._network, nn.Softmax(1))

    def predictor(self):
        return self._predictor


class BatchCentred(Honest):
    """The answer depends on the images beside it."""

    class Centred(Colours):
        def forward(self, images):
            outputs = super().forward(images)
            return outputs if len(images) == 4 or self.training else outputs - outputs.mean(0) + outputs[0]

    def __init__(self, config: MethodConfig, context: Context) -> None:
        super().__init__(config, context)
        self._network = self.Centred(context.task.num_outputs)
        self._stage = self.Stage(self._network)


class NothingForOne(Honest):
    """The spread over a set is not a number for a set of one."""

    decides_over = "set"

    class Stage(TuneStage):
        decided = True

    def decide(self, outputs: Tensor, rows: Rows) -> Decision:
        return Decision((outputs - outputs.mean(0)) / outputs.std(0))


class ExplainsNothing(Honest):
    class Explained(Colours):
        def explain(self, image, output):
            return None

    def __init__(self, config: MethodConfig, context: Context) -> None:
        super().__init__(config, context)
        self._network = self.Explained(context.task.num_outputs)
        self._stage = self.Stage(self._network)
