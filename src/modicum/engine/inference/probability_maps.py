"""Probability maps beside predicted masks: one for each class, at the size and with the geometry of the image.

=========================  =========================================================================================
source                     map of a class
=========================  =========================================================================================
PNG, JPEG, TIFF, ...       PNG of 16 bits: 65535 is 1
a NIfTI file               NIfTI of float32 with the source's shape, affine and voxel sizes
a DICOM image              a derived DICOM image, values from 0 to 1; one new series a class for each of the sources'
=========================  =========================================================================================
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float

from modicum.data.writers import DerivedSeries, nifti_writer, write_png
from modicum.engine.inference.dense_jobs import SUFFIX, Job
from modicum.errors import InputError
from modicum.tasks import DenseTask

BITS = 16
_WORD = "_probability_"


@dataclass
class ProbabilityMaps:
    """Writes the probabilities of each class below a folder.

    Args:
        task: whose classes they are.
        out: the folder.
        model: name of the model, as DICOM files can hold it.
        pseudonym: name of the patient in DICOM files.

    Raises:
        InputError: the task predicts no classes for pixels.
    """

    task: DenseTask
    out: Path
    model: str
    pseudonym: str
    _series: dict[tuple[str, int], DerivedSeries] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.task.foreground:
            raise InputError(
                f"--probabilities: predictions of task '{self.task.name}' are not classes",
                "leave --probabilities out",
            )

    def files(self, job: Job) -> list[PurePosixPath]:
        """The files of a job, a class each, below the folder."""
        words = [re.sub(r"[^\w.-]+", "-", name) for name in self.task.foreground]
        words = [
            word if words.count(word) == 1 else f"{word}-{number}" for number, word in enumerate(words, 1)
        ]
        before, _, after = job.file.name.rpartition(SUFFIX)
        return [job.file.with_name(f"{before}{_WORD}{word}{after}") for word in words]

    def write(self, job: Job, activated: Float[np.ndarray, "channels height width"]) -> None:
        """Writes the maps of a single image."""
        probabilities = self.task.probabilities(activated)
        for index, (file, values) in enumerate(zip(self.files(job), probabilities, strict=True)):
            if job.kind == "dicom":
                self._series_of(job, index).write(self.out / file, job.refs[0], values[None])
            else:
                write_png(self.out / file, values[None], BITS)

    @contextmanager
    def volume(self, job: Job) -> Iterator[Callable[[int, Float[np.ndarray, "channels height width"]], None]]:
        """A function that writes the maps of one slice of a volume; the files are there when the block succeeds."""
        like, axis = job.refs[0].path, job.refs[0].axis
        with ExitStack() as stack:
            volumes = [
                stack.enter_context(nifti_writer(self.out / file, like, axis=2 if axis is None else axis))
                for file in self.files(job)
            ]

            def write(index: int, activated: Float[np.ndarray, "channels height width"]) -> None:
                for volume, values in zip(volumes, self.task.probabilities(activated), strict=True):
                    volume.write(index, values)

            yield write

    def describe(self) -> dict[str, Any]:
        """Description of the files, for readers without this program."""
        return {
            "classes": list(self.task.foreground),
            "suffix": f"{_WORD}CLASS",
            "png_value": f"level / {2**BITS - 1}",
        }

    def _series_of(self, job: Job, index: int) -> DerivedSeries:
        key = job.series, index
        if key not in self._series:
            number = len(self._series) + 1
            name = self.task.foreground[index]
            note = f"values are the probability of {name}" if name.isascii() and "\\" not in name else ""
            self._series[key] = DerivedSeries(
                self.model, self.pseudonym, (0.0, 1.0), units="US", number=100 + number, note=note
            )
        return self._series[key]
