"""Answers that are decided over a set of images: both eyes of a patient, a test batch that is clustered."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """What is known of the images of a set, each sequence in the order of the outputs.

    Attributes:
        images: how each image is called in the data, unique.
        patients: by image; None where it is not known.
        eyes: ``L`` or ``R`` by image; None where it is not known.
        domains: camera or site by image; None where it is not known.
    """

    images: Sequence[str]
    patients: Sequence[str | None]
    eyes: Sequence[str | None]
    domains: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: np.ndarray) -> "Rows":
        """Some of the rows, in the order asked for."""
        columns = (self.images, self.patients, self.eyes, self.domains)
        return Rows(*([column[index] for index in indices] for column in columns))

    def fellow(self) -> np.ndarray:
        """The index of each image's fellow: the same patient's other eye, or -1 where the set has none.

        Of several images of that eye the first counts.
        """
        first: dict[tuple[str, str], int] = {}
        for index, (patient, eye) in enumerate(zip(self.patients, self.eyes, strict=True)):
            if patient is not None and eye is not None:
                first.setdefault((patient, eye), index)
        return np.array(
            [
                -1 if patient is None or eye is None else first.get((patient, OTHER_EYE.get(eye, "")), -1)
                for patient, eye in zip(self.patients, self.eyes, strict=True)
            ],
            dtype=np.int64,
        )

    def repeated_eyes(self) -> int:
        """How many eyes have several images, of which :meth:`fellow` takes the first."""
        eyes = Counter(zip(self.patients, self.eyes, strict=True))
        return sum(
            count > 1 for (patient, eye), count in eyes.items() if patient is not None and eye in OTHER_EYE
        )


OTHER_EYE = {"L": "R", "R": "L"}


@dataclass(frozen=True)
class Decision:
    """What a method decides of a set of images.

    Attributes:
        outputs: the task's outputs, in the order of the rows.
        columns: further columns of the predictions' table, by name, one value a row.
    """

    outputs: Float[Tensor, "n outputs"]
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
