"""Says where a stage's training ended at the loss of a stage that has learned nothing."""

from collections.abc import Mapping
from typing import Any

from modicum.progress import say

SHARE = 0.95
"""Of chance: where contrast of 298 photographs had ended (0.97), a linear layer on it was no better than on random
weights (``benchmarks/learning/dr/results.md``)."""


def near_chance(
    trained: Mapping[str, float], validated: Mapping[str, float], chance: Mapping[str, float], stage: str
) -> dict[str, Any] | None:
    """The first loss that ends at :data:`SHARE` of chance or above, said and as plain values.

    Validation images tell it better than training images, which a network also learns by heart.

    Args:
        trained: means over the last epoch, by name.
        validated: the same of the validation images, as far as the stage has losses there.
        chance: their values where nothing is learned; see :meth:`~modicum.methods.TrainStage.chance_losses`.
        stage: its name.
    """
    for name, value in chance.items():
        found = validated.get(name, trained.get(name))
        if found is not None and found >= SHARE * value:
            of = "on validation images " if name in validated else ""
            say(
                f"{stage}: the loss '{name}' ended {of}at {found:.3f}, and {value:.3f} is chance: next to nothing was "
                "learned. More epochs, another learning rate or weaker augmentation may help"
            )
            return {"loss": name, "value": found, "chance": value}
    return None
