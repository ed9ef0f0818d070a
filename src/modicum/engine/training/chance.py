"""Says where a stage's training ended at the loss of a stage that has learned nothing."""

from collections.abc import Mapping
from typing import Any

from modicum.progress import say

SHARE = 0.95
"""Of chance: where contrast of 298 photographs had ended (0.97), a linear layer on it was no better than on random
weights (``benchmarks/learning/dr/results.md``)."""


def near_chance(
    losses: Mapping[str, float], chance: Mapping[str, float], stage: str
) -> dict[str, Any] | None:
    """The first loss whose last epoch's mean is at least :data:`SHARE` of chance, said and as plain values.

    Args:
        losses: means over the last epoch, by name.
        chance: their values where nothing is learned; see :meth:`~modicum.methods.TrainStage.chance_losses`.
        stage: its name.
    """
    for name, value in chance.items():
        if name in losses and losses[name] >= SHARE * value:
            say(
                f"{stage}: the loss '{name}' ended at {losses[name]:.3f}, and {value:.3f} is chance: next to nothing was "
                "learned. More epochs, another learning rate or weaker augmentation may help"
            )
            return {"loss": name, "value": losses[name], "chance": value}
    return None
