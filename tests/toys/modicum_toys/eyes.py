"""Both eyes of a patient: first one eye alone, then what the two say together, with the encoder held."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from modicum.methods import Context, Decision, Method, Rows, Stage, TrainStage, Update
from modicum.methods.supervised import NetworkStage
from modicum.nn import Backbone, Classifier, linear_head
from modicum.tasks.base import Batch


class BothEyesStage(TrainStage):
    """Learns the label of an image from its features and those of the fellow eye.

    Its outputs are the features of each image; :meth:`ToyEyes.decide` pairs them.
    """

    name = "both_eyes"
    reads = ("image", "fellow_image")
    decided = True

    def __init__(self, encoder: Backbone, head: nn.Module, loss: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.loss = loss

    def train(self, mode: bool = True) -> "BothEyesStage":
        super().train(mode)
        self.encoder.eval()  # its batch statistics stay as they are, too
        return self

    def updates(self) -> Sequence[Update]:
        return [Update("pair", list(self.head.parameters()), self.losses)]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        pair = [self.encoder(batch[name]) for name in ("image", "fellow_image")]
        return {"classification": self.loss(self.head(torch.cat(pair, 1)), batch)}

    def forward(self, batch: Batch) -> Tensor:
        return self.encoder(batch["image"])


class ToyEyes(Method):
    """Grades an eye by both eyes of the patient; one without a fellow is its own."""

    name: ClassVar[str] = "toy_eyes"
    summary: ClassVar[str] = "learn from one eye, then from both eyes of a patient with the encoder held"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "one_eye": {},
        "both_eyes": {"epochs": 5, "lr": 1e-3},
    }
    decides_over: ClassVar[str] = "set"

    def __init__(self, config: Any, context: Context) -> None:
        super().__init__(config, context)
        self._encoder = context.backbone()
        width, outputs = self._encoder.num_features, context.task.num_outputs
        network = Classifier(self._encoder, linear_head(width, outputs))
        self._one = NetworkStage(network, context.loss(), "one_eye")
        self._both = BothEyesStage(self._encoder, linear_head(2 * width, outputs), context.loss())

    def stages(self) -> Sequence[Stage]:
        return [self._one, self._both]

    def predictor(self) -> nn.Module:
        return self._encoder

    def decide(self, outputs: Tensor, rows: Rows) -> Decision:
        fellow = torch.from_numpy(rows.fellow())
        missing = fellow < 0
        other = torch.where(missing, torch.arange(len(fellow)), fellow)
        head = self._both.head
        pairs = torch.cat([outputs, outputs[other]], 1).to(next(head.parameters()).device)
        return Decision(head(pairs), {"fellow_missing": missing.numpy()})
