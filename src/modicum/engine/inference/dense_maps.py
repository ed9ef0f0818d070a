"""Maps beside predicted pictures: how far each pixel was changed, and what the predictor says of its answer.

Grey PNG files of 16 bits, whatever the format of the image: 65,535 is 1, the whole scale from black to white.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float32

from modicum.data.grey_levels import grey_levels
from modicum.data.image import ImageRef, MedicalImage
from modicum.data.prepared import StoreSettings
from modicum.data.readers import read_image
from modicum.data.writers import write_png
from modicum.engine.inference.dense_jobs import SUFFIX, Job
from modicum.errors import InputError

BITS = 16
CHANGE = "change"


@dataclass(frozen=True)
class DenseMaps:
    """Writes maps below a folder.

    Attributes:
        folder: of the maps.
        names: of what the predictor says besides.
        settings: how images are read.
    """

    folder: Path
    names: tuple[str, ...]
    settings: StoreSettings

    def files(self, job: Job) -> list[Path]:
        """The files of a job, the change first."""
        return [self.folder / self._file(job, name) for name in (CHANGE, *self.names)]

    def check(self, jobs: list[Job]) -> None:
        """Raises InputError for volumes."""
        volume = next((job for job in jobs if job.whole), None)
        if volume is not None:
            raise InputError(
                f"--maps: '{volume.name}' is a volume", "give its slices one by one: 'FILE#axis=2&index=N'"
            )

    def write(
        self,
        job: Job,
        image: MedicalImage,
        output: Float32[np.ndarray, "channels height width"],
        maps: dict[str, Float32[np.ndarray, "height width"]],
    ) -> dict[str, float]:
        """Writes the maps of one image; returns the mean of each."""
        change = np.abs(output - self._pixels(job.refs[0], image, len(output))).mean(0)
        values = {CHANGE: change, **maps}
        for name, one in values.items():
            file = self.folder / self._file(job, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_png(file, np.clip(one, 0, 1)[None].astype(np.float32), BITS)
        return {name: float(one.mean()) for name, one in values.items()}

    def describe(self) -> dict[str, Any]:
        """Description of the files, for readers without this program."""
        return {
            "folder": str(self.folder),
            "names": [CHANGE, *self.names],
            "png_value": f"level / {2**BITS - 1}",
            CHANGE: "mean over channels of |output - image|",
        }

    def _pixels(
        self, ref: ImageRef, image: MedicalImage, channels: int
    ) -> Float32[np.ndarray, "channels height width"]:
        """The image itself at its file's size."""
        if image.pixels.shape[1:] != (image.source.height, image.source.width):
            image = read_image(
                ref, window=self.settings.window, intensity=self.settings.intensity_rule, empty=True
            )
        pixels = image.pixels
        if len(pixels) == channels:
            return pixels
        return grey_levels(pixels)[None] if channels == 1 else np.repeat(pixels[:1], channels, 0)

    def _file(self, job: Job, name: str) -> PurePosixPath:
        before, _, _ = job.file.name.rpartition(SUFFIX)
        return job.file.with_name(f"{before or job.file.stem}_{name}.png")
