"""Small pictures on one sheet, as text that a page can show."""

import base64
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor


def picture_sheet(
    pictures: Sequence[Float[Tensor, "_ _ _"]], columns: int, side: int, gap: int = 2
) -> UInt8[np.ndarray, "height width 3"]:
    """Pictures of any size in rows, each made as large as fits into a square; grey between them.

    Args:
        pictures: in ``[0, 1]``.
        columns: pictures in a row.
        side: of the squares, in pixels.
        gap: pixels between them.
    """
    import cv2

    rows = -(-len(pictures) // columns)
    sheet = np.full(
        (rows * (side + gap) - gap, min(columns, len(pictures)) * (side + gap) - gap, 3), 128, np.uint8
    )
    for number, picture in enumerate(pictures):
        values = (255 * picture.float().clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()
        values = np.ascontiguousarray(values if values.shape[2] == 3 else np.repeat(values[:, :, :1], 3, 2))
        scale = side / max(values.shape[:2])
        size = (max(1, round(scale * values.shape[1])), max(1, round(scale * values.shape[0])))
        fitted = cv2.resize(values, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
        top, left = number // columns * (side + gap), number % columns * (side + gap)
        sheet[top : top + size[1], left : left + size[0]] = fitted
    return sheet


def as_data_url(picture: UInt8[np.ndarray, "h w 3"]) -> str:
    """A picture as a JPEG in a ``data:`` address."""
    import cv2

    _, encoded = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
