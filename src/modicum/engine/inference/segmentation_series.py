"""Predicted masks of DICOM images as segmentation objects: one for each series, where its images make one stack."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float
from pydicom.uid import generate_uid

from modicum.data.writers.segmentation_object import REMEDY, SegmentationObject, can_write_segmentation
from modicum.engine.inference.dense_jobs import Job
from modicum.errors import BrokenImageError
from modicum.progress import say
from modicum.tasks import DenseTask


@dataclass
class SegmentationSeries:
    """The segmentation objects of one source series, while its images are predicted.

    Images that no object can have in common (of another orientation, at the same place, of unknown place) are in
    several. Each object's file is named after the first of its images.

    Args:
        task: the predicted task.
        out: the folder of predictions.
        model: name of the model.
        pseudonym: name of the patient.
        number: SeriesNumber.
    """

    task: DenseTask
    out: Path
    model: str
    pseudonym: str
    number: int
    _study_uid: str = field(default_factory=lambda: str(generate_uid(prefix=None)), init=False, repr=False)
    _objects: dict[PurePosixPath, SegmentationObject] = field(default_factory=dict, init=False, repr=False)

    def add(self, job: Job, activated: Float[np.ndarray, "channels height width"]) -> PurePosixPath:
        """Adds one image's prediction; returns the file that it will be in.

        Raises:
            InputError: the pseudonym is the patient's own name or id.
            BrokenImageError: the image is no longer a DICOM image.
        """
        regions = self.task.foreground_regions(activated)
        for file, segmented in self._objects.items():
            if segmented.add(job.refs[0], regions):
                return file
        segmented = SegmentationObject(
            self.task.foreground, self.model, self.pseudonym, number=self.number, study_uid=self._study_uid
        )
        segmented.add(job.refs[0], regions)
        self._objects[job.file] = segmented
        return job.file

    def write(self) -> dict[str, str]:
        """Writes all objects; returns, by file, why some could not be written."""
        failed = {}
        for file, segmented in self._objects.items():
            try:
                segmented.write(self.out / file)
            except BrokenImageError as error:
                failed[str(file)] = error.reason
        return failed


def makes_objects(task: DenseTask) -> bool:
    """Whether predictions for DICOM images become segmentation objects."""
    return bool(task.foreground) and can_write_segmentation()


def in_writing_order(task: DenseTask, jobs: Sequence[Job]) -> list[Job]:
    """Jobs with the images of what becomes one file next to each other, in the order of the first of each.

    Says how to get segmentation objects where highdicom is missing.
    """
    if not makes_objects(task):
        if task.output_kind == "label_map" and any(job.kind == "dicom" for job in jobs):
            say(f"masks of DICOM images become DICOM images of their codes; for SEG objects: {REMEDY}")
        return list(jobs)
    first: dict[str, int] = {}
    places = [first.setdefault(job.series, at) if job.series else at for at, job in enumerate(jobs)]
    return [jobs[at] for at in sorted(range(len(jobs)), key=lambda at: places[at])]
