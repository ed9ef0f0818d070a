"""An encoder: learned from images alone, by whatever a method asks of them; it predicts nothing by itself."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from modicum.data.manifest import Manifest
from modicum.errors import InputError
from modicum.tasks.base import Example, Scores, Task, TaskOptions
from modicum.tasks.metric import Metric


class Encoder(Task):
    """Images without labels. Other runs start from the encoder: ``--weights run:FOLDER``."""

    name: ClassVar[str] = "encoder"
    Options: ClassVar[type[TaskOptions]] = TaskOptions
    metric_table: ClassVar[tuple[Metric, ...]] = ()
    needs_labels: ClassVar[bool] = False
    evaluated: ClassVar[bool] = False
    kind = "images"

    @classmethod
    def from_manifest(cls, manifest: Manifest, options: Mapping[str, Any]) -> "Encoder":
        return cls()

    @classmethod
    def from_options(cls, options: Mapping[str, Any], num_classes: int | None = None) -> "Encoder":
        return cls()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Encoder":
        return cls()

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "kind": self.kind}

    def output_values(self) -> dict[str, Any]:
        """Features of an encoder."""
        return {"values": "features"}

    def graph_outputs(self) -> tuple[str, ...]:
        return ("features",)

    @property
    def num_outputs(self) -> int:
        return 1

    @property
    def monitor(self) -> str:
        return "loss"

    def targets(self, manifest: Manifest) -> dict[str, np.ndarray]:
        """None."""
        return {}

    def sampling_labels(self, targets: Mapping[str, np.ndarray]) -> np.ndarray:
        """One group: all rows are sampled equally."""
        return np.zeros(0, dtype=np.int64)

    def loss(self, targets: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> nn.Module:
        """Raises :class:`~modicum.errors.InputError`: the loss is the method's own."""
        raise InputError(
            f"task '{self.name}' has no loss of its own",
            "choose a method of this task: `modicum methods` lists them",
        )

    def activate(self, outputs: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return outputs

    def scores(self) -> Scores:
        raise TypeError("an encoder is not scored")

    def examples(self, scores: Scores, count: int) -> list[Example]:
        return []
