"""What a metric needs of the images that it is measured on."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool


def needs_some(
    names: Iterable[str], has: Bool[np.ndarray, "images"]
) -> dict[str, Bool[np.ndarray, "1 images"]]:
    """What metrics need that some images have and others have not: nothing where all have it.

    For :attr:`~modicum.tasks.bootstrap.Statistic.needs` of means over the images that have a value.
    """
    return {} if has.all() else dict.fromkeys(names, has[None])
