"""Boxes of one image: rectangles in its pixels, with names of classes and scores where these are known.

The convention: a box is the four edges x0, y0, x1, y1 of a rectangle, x to the right and y down, measured from the
outer corner of the first pixel. A box over the whole of an image of w x h pixels is 0, 0, w, h, and the box of the one
pixel in column 3 and row 5 is 3, 5, 4, 6. So are width and height x1 - x0 and y1 - y0, as in COCO and in torchvision.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from modicum.data.readers.intensity import TURNED


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes in pixels of the image file, upright as :func:`modicum.data.readers.read_image` gives it.

    Attributes:
        xyxy: the edges x0, y0, x1, y1 of each box.
        class_names: of each box; None where boxes have no classes.
        scores: of each box, as a detector gives them; None where there are none.
    """

    xyxy: Float32[np.ndarray, "n 4"]
    class_names: tuple[str, ...] | None = None
    scores: Float32[np.ndarray, "n"] | None = None

    def __post_init__(self) -> None:
        for name in ("class_names", "scores"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.xyxy):
                raise ValueError(f"{len(values)} {name} for {len(self.xyxy)} boxes")

    def __len__(self) -> int:
        return len(self.xyxy)

    @classmethod
    def none(cls) -> "Boxes":
        """The boxes of an image that has none."""
        return cls(np.zeros((0, 4), np.float32))

    def subset(self, kept: Bool[np.ndarray, "n"]) -> "Boxes":
        """The boxes where a mask is true."""
        names = self.class_names
        return Boxes(
            self.xyxy[kept],
            None
            if names is None
            else tuple(name for name, is_kept in zip(names, kept, strict=True) if is_kept),
            None if self.scores is None else self.scores[kept],
        )


def count_of_boxes(number: int) -> str:
    """``1 box``, ``2,000 boxes``."""
    return f"{number:,} {'box' if number == 1 else 'boxes'}"


def turned_boxes(xyxy: np.ndarray, orientation: int, size: tuple[int, int]) -> np.ndarray:
    """Boxes ``[n, 4]`` of the pixels as they lie in a file, on the image that its EXIF orientation turns upright.

    Args:
        xyxy: edges in pixels as they lie in the file.
        orientation: 1 to 8, see :func:`modicum.data.readers.intensity.upright`.
        size: height and width of the upright image.
    """
    x0, y0, x1, y1 = xyxy.T
    if orientation in TURNED:
        x0, y0, x1, y1 = y0, x0, y1, x1
    if orientation in (3, 4, 7, 8):
        y0, y1 = size[0] - y1, size[0] - y0
    if orientation in (2, 3, 6, 7):
        x0, x1 = size[1] - x1, size[1] - x0
    return np.stack([x0, y0, x1, y1], axis=1)
