"""One annotated image: the mean colour inside its masks, and how much of that colour is in other images."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.methods import Context, Method, MethodConfig, Stage
from modicum.methods.supervised import SupervisedStage
from modicum.tasks.base import AuxiliaryImage, Batch


class ColourMatch(nn.Module):
    """Logits from how near an image's nearest pixel, and its mean, come to a colour."""

    def __init__(self, colour: Tensor, num_outputs: int) -> None:
        super().__init__()
        self.register_buffer("colour", colour)
        self.head = nn.Linear(2, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        distance = (images - self.colour[:, None, None]).abs().mean(1)
        return self.head(torch.stack([distance.amin((1, 2)), distance.mean((1, 2))], 1))


class MatchStage(SupervisedStage):
    """Learns how much of the colour makes which class."""

    def __init__(self, network: ColourMatch, loss: nn.Module) -> None:
        super().__init__(loss)
        self.network = network

    def parameter_groups(self) -> Sequence[Any]:
        return list(self.network.head.parameters())

    def forward(self, batch: Batch) -> Tensor:
        return self.network(batch["image"])


class ToyReference(Method):
    """Classifies by the colour of what is marked in one annotated image."""

    name: ClassVar[str] = "toy_reference"
    summary: ClassVar[str] = "how much of the colour that is marked in one annotated image an image has"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    training: ClassVar[Mapping[str, Any]] = {"lr": 0.1}
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tune": {}}

    def __init__(self, config: MethodConfig, context: Context) -> None:
        super().__init__(config, context)
        network = ColourMatch(marked_colour(context), context.task.num_outputs)
        self._stage = MatchStage(network, context.loss())

    @classmethod
    def auxiliary_images(cls, config: MethodConfig) -> tuple[AuxiliaryImage, ...]:
        return (AuxiliaryImage("masks:*", "label_map", required=False),)

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return self._stage.network


def marked_colour(context: Context) -> Tensor:
    """The mean colour inside the masks of the reference rows."""
    if not context.has_data:  # the weights bring it
        return torch.zeros(context.task.channels)
    batch = context.reference()
    masks = [tensor for name, tensor in batch.items() if name.startswith("masks:")]
    marked = torch.stack([(mask > 0).any(1) for mask in masks]).any(0) if masks else torch.zeros(0)
    if not marked.any():
        raise InputError(
            "no mask marks anything in an image of split 'reference'",
            "mark one: a row with split 'reference' and a file in column masks:NAME",
        )
    return batch["image"].movedim(1, 3)[marked].mean(0)
