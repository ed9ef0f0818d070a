"""Several runs as one: the mean of scores, probabilities or pictures, or fused boxes, before anything is decided."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.methods.base import Context, FitStage, Method, MethodConfig, Stage
from modicum.methods.decision import Decision, Rows
from modicum.methods.ensemble_outputs import EveryOutput, joined_predictor
from modicum.methods.exported import exported_method
from modicum.nn.frozen import deduplicated
from modicum.nn.whole_state import load_whole_state
from modicum.tasks.base import Batch


class EnsembleConfig(MethodConfig):
    """Settings of an ensemble."""

    members: list[dict[str, Any]] = Field(
        default_factory=list,
        description="What each run's networks are made from; `modicum ensemble RUN RUN` writes it.",
    )
    scales: list[tuple[float, float]] = Field(
        default_factory=list,
        description="Location and scale of each run's outputs, where these differ in scale; written with the members.",
    )


class MembersStage(FitStage):
    """The networks of all members, which are learned elsewhere; nothing is fitted here.

    Args:
        members: the methods of the runs.
    """

    name = "members"

    def __init__(self, members: Sequence[Method]) -> None:
        super().__init__()
        self.predictors = nn.ModuleList(member.predictor() for member in members)
        self.deciders = nn.ModuleList(
            nn.ModuleList(member.stages() if member.decides_over == "set" else []) for member in members
        )

    def see(self, batch: Batch) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing more."""

    def fitted(self) -> dict[str, Tensor]:
        state = self.state_dict(keep_vars=True)
        return deduplicated({name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)})

    def load_fitted(self, tensors: Mapping[str, Tensor]) -> None:
        load_whole_state(self, tensors)


class Ensemble(Method):
    """Several runs as one."""

    name: ClassVar[str] = "ensemble"
    summary: ClassVar[str] = "the mean of several runs; made by `modicum ensemble RUN RUN ...`, not trained"
    tasks: ClassVar[tuple[str, ...]] = (
        "classification",
        "segmentation",
        "anomaly",
        "detection",
        "image-to-image",
    )
    Config: ClassVar[type[MethodConfig]] = EnsembleConfig
    stage_training: ClassVar[Mapping[str, Mapping[str, Any]]] = {"members": {}}
    decides_over: Literal["image", "set"]  # type: ignore[misc]  # of its members
    caution: str  # type: ignore[misc]  # of its members

    def __init__(self, config: EnsembleConfig, context: Context) -> None:
        super().__init__(config, context)
        if len(config.members) < 2:
            raise InputError(
                "method 'ensemble' is not trained",
                "make one of finished runs: modicum ensemble RUN RUN --name NAME",
            )
        self.members = [exported_method({**card, "part": "predictor"}) for card in config.members]
        self.caution = "; ".join(dict.fromkeys(member.caution for member in self.members if member.caution))
        self._task = context.task
        over_sets = any(member.decides_over == "set" for member in self.members)
        self.decides_over = "set" if over_sets else "image"
        self._stage = MembersStage(self.members)
        self._scales = config.scales
        self._widths: list[int] = []
        """Of each member's outputs in the last call of the predictor, where they are decided over sets."""
        members = list(self._stage.predictors)
        self._predictor = (
            EveryOutput(members, self._side_by_side) if over_sets else joined_predictor(members, self._joined)
        )

    def stages(self) -> Sequence[Stage]:
        return [self._stage]

    def predictor(self) -> nn.Module:
        return self._predictor

    def tile(self) -> tuple[int, int] | None:
        """That of the members, which are all made for images of one size."""
        return self.members[0].tile()

    def decide(self, outputs: Float[Tensor, "n every"], rows: Rows) -> Decision:
        if self.decides_over == "image":
            return Decision(outputs)
        decisions = []
        for member, part in zip(self.members, outputs.split(self._widths, 1), strict=True):
            decisions.append(member.decide(part, rows) if member.decides_over == "set" else Decision(part))
        mean = self._joined([decision.outputs.cpu() for decision in decisions])
        return Decision(mean, {name: v for decision in decisions for name, v in decision.columns.items()})

    def _joined(self, outputs: Sequence[Tensor]) -> Tensor:
        if self._scales:
            outputs = [
                (part - location) / scale
                for part, (location, scale) in zip(outputs, self._scales, strict=True)
            ]
        return self._task.joined(outputs)

    def _side_by_side(self, outputs: Sequence[Tensor]) -> Tensor:
        self._widths = [part.shape[1] for part in outputs]
        return torch.cat(list(outputs), 1)
