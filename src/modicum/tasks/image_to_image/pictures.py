"""Pictures of a translation: source, output, target, error map, and displacement grid."""

import numpy as np
from jaxtyping import Float, UInt8

ERROR_AT_WHITE = 0.5
"""Absolute error, as a share of the scale, that an error map shows brightest."""
GRID_LINES = 12
"""Spaces between the lines of a displacement grid along the image's shorter side."""
GRID_COLOUR = (86, 180, 233)
LINE_HALF_WIDTH = 0.5
UNDER_GRID = 0.7
"""Brightness factor of the image under a grid, so that the lines stand out."""


def comparison_pictures(
    image: Float[np.ndarray, "image_channels height width"],
    output: Float[np.ndarray, "channels height width"],
    target: Float[np.ndarray, "channels height width"] | None,
    change: bool = False,
) -> dict[str, UInt8[np.ndarray, "height width 3"]]:
    """Pictures by name, in display order; only source and output if there is no target.

    With ``change``, also where the output differs from the image, in the colours of :func:`error_map`.
    """
    pictures = {"source": _shown(image), "output": _shown(output)}
    if change and image.shape == output.shape:
        pictures["change"] = error_map(output, image)
    if target is not None:
        pictures |= {"target": _shown(target), "error": error_map(output, target)}
    return pictures


def error_map(
    output: Float[np.ndarray, "channels height width"], target: Float[np.ndarray, "channels height width"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Absolute differences, the mean over channels, in colours from black (none) to white (half of the scale)."""
    return error_colours(np.abs(output.astype(np.float32) - target).mean(0))


def error_colours(error: Float[np.ndarray, "height width"]) -> UInt8[np.ndarray, "height width 3"]:
    """The colours that an error map has for absolute errors, shares of the scale."""
    import cv2

    grey = (255 * np.clip(error / ERROR_AT_WHITE, 0, 1)).round().astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(grey, cv2.COLORMAP_INFERNO)[..., ::-1])


def displacement_grid(
    field: Float[np.ndarray, "2 height width"],
    under: Float[np.ndarray, "channels height width"] | None = None,
    spacing: int | float | None = None,
) -> UInt8[np.ndarray, "height width 3"]:
    """A square grid as a displacement field moves it, together with what it is drawn on.

    The field pulls, as :func:`modicum.nn.warp` does: a line is seen where ``p + field(p)`` lies on a line of the straight
    grid, so that the grid moves as a picture does. Lines keep their width wherever the field stretches or squeezes.

    Args:
        field: in pixels, rows (down) first, then columns (right); at least 2x2 pixels.
        under: an image in ``[0, 1]`` that is drawn under the grid, darkened; black by default.
        spacing: pixels from line to line; the first is half of that from the border. By default there are twelve
            spaces along the shorter side.
    """
    height, width = field.shape[1:]
    step = spacing or min(height, width) / GRID_LINES
    coordinates = np.indices((height, width)) + field.astype(np.float64)
    lines = np.zeros((height, width))
    for coordinate in coordinates:
        # From the pixel to the nearest line along the axis, in pixels of the straight grid, then of the moved one.
        distance = np.abs((coordinate + 0.5) % step - step / 2)
        stretch = np.hypot(*np.gradient(coordinate))
        lines = np.maximum(lines, np.clip(LINE_HALF_WIDTH + 0.5 - distance / np.maximum(stretch, 1e-6), 0, 1))
    ground = np.zeros((height, width, 3)) if under is None else UNDER_GRID * _shown(under)
    mixed = ground + lines[..., None] * (np.array(GRID_COLOUR) - ground)
    return mixed.round().astype(np.uint8)


def _shown(pixels: Float[np.ndarray, "channels height width"]) -> UInt8[np.ndarray, "height width 3"]:
    levels = (255 * np.clip(pixels, 0, 1)).round().astype(np.uint8).transpose(1, 2, 0)
    return np.ascontiguousarray(np.repeat(levels, 3, axis=2) if levels.shape[2] == 1 else levels)
