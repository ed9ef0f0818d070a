"""Small pictures of examples, for the report."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from modicum.atomic_files import atomic_file

PICTURE_SIDE = 320


def fitted_picture(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Resizes an image so that its longer side has 320 pixels."""
    scale = PICTURE_SIDE / max(picture.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return cv2.resize(picture, size, interpolation=how)


def write_png(path: Path, picture: UInt8[np.ndarray, "h w 3"]) -> None:
    """Writes a colour image atomically."""
    done, content = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert done
    with atomic_file(path) as file:
        file.write(content.tobytes())
