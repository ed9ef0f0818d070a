"""Pictures of boxes over their image."""

import numpy as np
from jaxtyping import Bool, Float, UInt8

Colour = tuple[int, int, int]
HIT, FALSE, MISSED, TRUE = (64, 220, 96), (255, 90, 70), (255, 210, 60), (80, 190, 255)
"""Red, green, blue of boxes: found and right, found and wrong, not found; true ones by themselves."""
_SIDE = 640


def boxed(
    picture: UInt8[np.ndarray, "h w 3"],
    groups: list[tuple[Float[np.ndarray, "_ 4"], Colour]],
    enlarge: bool = True,
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """A picture, enlarged if it is small, with the outlines of boxes, each group in its colour.

    Args:
        picture: the image.
        groups: boxes in its pixels, and their colour (red, green, blue); later groups are drawn over earlier ones.
        enlarge: whether a small picture is enlarged.
    """
    import cv2

    scale = max(1, round(_SIDE / max(picture.shape[:2]))) if enlarge else 1
    size = picture.shape[1] * scale, picture.shape[0] * scale
    canvas = cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST) if scale > 1 else picture.copy()
    canvas = np.ascontiguousarray(canvas)
    width = max(1, max(canvas.shape[:2]) // 320)
    for boxes, colour in groups:
        for x0, y0, x1, y1 in np.rint(boxes * scale).astype(int).tolist():
            cv2.rectangle(canvas, (x0, y0), (max(x0, x1 - 1), max(y0, y1 - 1)), colour, width)
    return np.asarray(canvas, np.uint8)


def split_by(
    boxes: Float[np.ndarray, "n 4"], right: Bool[np.ndarray, "n"], yes: Colour, no: Colour
) -> list[tuple[np.ndarray, Colour]]:
    """Boxes as two groups, those that are not right first."""
    return [(boxes[~right], no), (boxes[right], yes)]
