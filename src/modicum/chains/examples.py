"""Small pictures of images before and after a step, for the page."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32

from modicum.atomic_files import atomic_file
from modicum.data.image import ImageRef
from modicum.data.manifest import Manifest
from modicum.data.readers import read_image
from modicum.engine.inference.earlier_outputs import pixels_as_written
from modicum.errors import ModicumError

MOST = 6
_SIDE = 256
_QUALITY = 85


def write_examples(folder: Path, manifest: Manifest, files: Mapping[str, str], outputs: Path) -> None:
    """Writes pictures of some images and of their outputs, evenly over the rows: ``00_before.jpg``, ``00_after.jpg``.

    Args:
        folder: of the pictures.
        manifest: the rows that were predicted.
        files: the output of each image, relative to ``outputs``.
        outputs: their folder.
    """
    rows = [row for row, name in enumerate(manifest.table["image"]) if name in files]
    refs = manifest.refs()
    chosen = [rows[at] for at in np.linspace(0, len(rows) - 1, min(MOST, len(rows))).round().astype(int)]
    for number, row in enumerate(chosen):
        with suppress(ModicumError):  # a picture that cannot be shown is no reason to stop
            output = ImageRef.parse(files[manifest.table["image"].iloc[row]], outputs)
            before = read_image(refs[row], empty=True).pixels
            after = (
                pixels_as_written(output.path) if output.part == "" else read_image(output, empty=True).pixels
            )
            for name, pixels in (("before", before), ("after", after)):
                _write(folder / f"{number:02d}_{name}.jpg", pixels)


def _write(path: Path, pixels: Float32[np.ndarray, "channels height width"]) -> None:
    levels = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    picture = levels[0] if len(levels) != 3 else np.ascontiguousarray(levels[::-1].transpose(1, 2, 0))
    factor = _SIDE / max(picture.shape[:2])
    if factor < 1:
        height, width = (max(1, round(side * factor)) for side in picture.shape[:2])
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    done, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if done:
        with atomic_file(path, durable=False) as file:
            file.write(encoded.tobytes())
