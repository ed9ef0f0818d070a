"""Writes dense predictions to files, named like their sources, in their format, with their geometry.

=========================  =========================================================================================
source                     prediction
=========================  =========================================================================================
PNG, JPEG, TIFF, ...       PNG: of 8 bits where the training targets had no more, else of 16; masks as their codes
a NIfTI file               NIfTI with the source's shape, affine and voxel sizes, in the source's number type (masks:
                           uint8), made slice by slice
a slice of a NIfTI file    PNG
a DICOM image              a derived DICOM image; one new series for each of the sources'. Masks: a segmentation object
                           (SEG) for each series; codes as values of derived images where highdicom is not installed
=========================  =========================================================================================

Values go back to the units of the training targets where these are known; see :mod:`modicum.tasks.value_range`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import count, groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped

from modicum.data.image import MedicalImage
from modicum.data.intensity_window import IntensityWindow
from modicum.data.writers import DerivedSeries, nifti_writer, write_labels, write_png
from modicum.engine.inference.dense_jobs import SUFFIX, Job
from modicum.engine.inference.dense_maps import CHANGE, DenseMaps
from modicum.engine.inference.dense_prediction import DensePredictor, Predicted
from modicum.engine.inference.guards import COLUMN, REFUSED
from modicum.engine.inference.prediction import PredictionSummary, TableWriter
from modicum.engine.inference.probability_maps import ProbabilityMaps
from modicum.engine.inference.segmentation_series import SegmentationSeries, in_writing_order, makes_objects
from modicum.engine.run_folder import write_json
from modicum.errors import BrokenImageError, InputError
from modicum.progress import Bar, bar, say
from modicum.wording import count_of

TABLE = "predictions.csv"
ACCOUNT = "predictions.json"
PSEUDONYM = "predicted"
_TOLD = 5
_UNIT = IntensityWindow(0.0, 1.0)


@dataclass
class DenseOutput:
    """Writes predictions below a folder.

    Args:
        predictor: the predictor.
        out: the folder.
        made_by: name of the model, for descriptions.
        pseudonym: name of the patient in DICOM files.
        probabilities: whether to write probability maps too, for tasks that predict classes.
        about: further facts for ``predictions.json``.
        maps: writes maps beside pictures; None for none.
        caution: what readers of the files must know, for ``predictions.json`` and DICOM files.
    """

    predictor: DensePredictor
    out: Path
    made_by: str
    pseudonym: str = PSEUDONYM
    probabilities: bool = False
    about: dict[str, Any] = field(default_factory=dict)
    maps: DenseMaps | None = None
    caution: str = ""
    _maps: ProbabilityMaps | None = field(default=None, init=False, repr=False)
    _series: dict[str, DerivedSeries] = field(default_factory=dict, init=False, repr=False)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1), init=False, repr=False)

    def __post_init__(self) -> None:
        if self.probabilities:
            name = dicom_name(self.made_by)
            self._maps = ProbabilityMaps(self.predictor.task, self.out, name, self.pseudonym)

    def files(self, job: Job) -> list[Path]:
        """The files of a job."""
        further = [] if self._maps is None else self._maps.files(job)
        maps = [] if self.maps is None else self.maps.files(job)
        return [*(self.out / file for file in (job.file, *further)), *maps]

    def write(self, jobs: Sequence[Job]) -> PredictionSummary:
        """Predicts all jobs into their files, and writes ``predictions.csv`` and ``predictions.json`` next to them.

        Files of an earlier prediction are replaced. Each appears when it is whole; after Ctrl-C or a kill what was
        done so far is there, and its rows are in ``predictions.csv.part``.

        Raises:
            InputError: files that cannot be written, or numbers that no file can hold.
            ResourceError: the disk is full.
        """
        self._check(jobs)
        self.out.mkdir(parents=True, exist_ok=True)
        write_json(self.out / ACCOUNT, self._account())
        guard = self.predictor.guard
        unlike = [] if guard is None else [COLUMN]
        columns = ["image", "file", *self._summary_columns(), *unlike, "error"]
        predicted = broken = refused = 0
        total = sum(len(job.refs) for job in jobs)
        with TableWriter(self.out / TABLE, columns) as table, bar("predicting", total) as progress:
            self.predictor = replace(self.predictor, tell=progress.note)
            for rows_of, some in groupby(in_writing_order(self.predictor.task, jobs), self._way):
                for rows in rows_of(list(some), progress):
                    failed = [row for row in rows if row["error"] is not None]
                    own = [row for row in failed if REFUSED not in row["error"]]
                    refused, failed = refused + len(failed) - len(own), own
                    for row in failed[: max(0, _TOLD - broken)]:
                        say(f"broken: {row['image']}: {row['error']}")
                    good = sum(row["error"] is None for row in rows)
                    predicted, broken = predicted + good, broken + len(failed)
                    table.write(pd.DataFrame(rows, columns=columns))
                    progress.note(f"{broken} broken" if broken else "")
        return PredictionSummary(predicted, broken, self.out, 0 if guard is None else guard.unlike, refused)

    def _way(self, job: Job) -> Callable[[list[Job], Bar], Any]:
        if job.kind == "dicom" and makes_objects(self.predictor.task):
            return self._segmented
        return self._volumes if job.whole else self._singles

    def _singles(self, jobs: list[Job], progress: Bar) -> Any:
        """Rows of single images, one batch after another."""
        numbered = iter(self.predictor.predict((job, job.refs[0]) for job in jobs if job.error is None))
        for job in jobs:
            yield [self._single(job, None if job.error is not None else next(numbered))]
            progress.advance(len(job.refs))

    def _segmented(self, jobs: list[Job], progress: Bar) -> Any:
        """Rows of DICOM images whose masks become segmentation objects: those of a series when its files are whole."""
        task, name = self.predictor.task, dicom_name(self.made_by)
        assert makes_objects(task)
        predictions = iter(self.predictor.predict((job, job.refs[0]) for job in jobs))
        for _, some in groupby(jobs, lambda job: job.series):
            series, rows = SegmentationSeries(task, self.out, name, self.pseudonym, next(self._numbers)), []
            for job in some:
                rows.append(self._single(job, next(predictions), series))
                progress.advance()
            failed = series.write()
            yield [
                {"image": row["image"], "error": failed[row["file"]]} if row.get("file") in failed else row
                for row in rows
            ]

    def _single(
        self, job: Job, predicted: "Predicted[Job] | None", series: SegmentationSeries | None = None
    ) -> dict[str, Any]:
        error = job.error if predicted is None else predicted.error
        if predicted is None or error is not None:
            unlike = "" if predicted is None else predicted.unlike
            reason = error.reason if error is not None else "cannot be read"
            return {"image": job.name, COLUMN: unlike or None, "error": reason}
        image, kept = self._kept(predicted)
        try:
            if series is None:
                self._write_single(job, self.predictor.task.to_file(kept))
            if self._maps is not None:
                self._maps.write(job, kept)
            if series is not None:
                job = replace(job, file=series.add(job, kept))
            means = {} if self.maps is None else self.maps.write(job, image, kept, dict(predicted.maps))
        except BrokenImageError as at_writing:
            return {"image": job.name, "error": at_writing.reason}
        return self._row(job, job.name, image, kept) | means | {COLUMN: predicted.unlike or None}

    def _volumes(self, jobs: list[Job], progress: Bar) -> Any:
        """Rows of volumes, a row a slice; one row with the error where a volume cannot be read."""
        for job in jobs:
            try:
                yield self._volume(job, progress)
            except BrokenImageError as error:
                reason = error.reason if error.image == str(job.refs[0]) else f"{error.image}: {error.reason}"
                yield [{"image": job.name, "error": reason}]

    def _volume(self, job: Job, progress: Bar) -> list[dict[str, Any]]:
        first, rows = job.refs[0], []
        masks = self.predictor.task.output_kind == "label_map"
        maps: AbstractContextManager[Any] = nullcontext() if self._maps is None else self._maps.volume(job)
        self.predictor.network_input(first)  # so that the volume's range is computed once, not by each thread
        with (
            nifti_writer(
                self.out / job.file,
                like=first.path,
                axis=2 if first.axis is None else first.axis,
                kind="labels" if masks else "source",
                window=None if masks else self._window,
            ) as volume,
            maps as write_maps,
        ):
            for predicted in self.predictor.predict(enumerate(job.refs)):
                progress.advance()
                if predicted.error is not None:
                    raise predicted.error
                image, kept = self._kept(predicted)
                finished = self.predictor.task.to_file(kept)
                volume.write(predicted.name, finished if masks else self._window.values(finished[0]))
                if write_maps is not None:
                    write_maps(predicted.name, kept)
                row = self._row(job, _slice_name(job, predicted.name), image, kept)
                rows.append(row | {COLUMN: predicted.unlike or None})
        return rows

    def _write_single(self, job: Job, finished: Shaped[np.ndarray, "*channels height width"]) -> None:
        path, masks = self.out / job.file, self.predictor.task.output_kind == "label_map"
        if job.kind == "picture":
            write_labels(path, finished) if masks else write_png(path, finished, self._bits)
            return
        if masks:
            values = finished[None].astype(np.float32)
        else:
            values = self._window.values(finished) if len(finished) == 1 else finished
        self._series_of(job).write(path, job.refs[0], values)

    def _series_of(self, job: Job) -> DerivedSeries:
        if job.series not in self._series:
            value_range = self.predictor.task.value_range
            if self.predictor.task.output_kind == "label_map":
                ends, units, note = (0.0, 255.0), "US", "values are the codes of a mask"
            elif value_range is None:
                ends, units, note = (0.0, 1.0), "US", "values are relative, from 0 to 1"
            else:
                ends, units, note = value_range.ends, value_range.units, value_range.described
            note = "; ".join(part for part in (self.caution, note) if part)
            self._series[job.series] = DerivedSeries(
                dicom_name(self.made_by),
                self.pseudonym,
                ends,
                units=units,
                number=len(self._series) + 1,
                note=note,
            )
        return self._series[job.series]

    def _kept(
        self, predicted: "Predicted[Any]"
    ) -> tuple[MedicalImage, Float[np.ndarray, "channels height width"]]:
        """The image and its prediction, with the source's background kept if it has a separate value."""
        image, activated = predicted.image, predicted.activated
        assert image is not None
        assert activated is not None
        value_range = self.predictor.task.value_range
        if value_range is not None and value_range.background is not None:
            outside = background_of(image.pixels)
            if outside.shape == activated.shape[1:]:
                activated = np.where(outside, np.float32(0), activated)
        return image, activated

    def _row(
        self, job: Job, name: str, image: MedicalImage, kept: Float[np.ndarray, "channels height width"]
    ) -> dict[str, Any]:
        summary = self.predictor.task.summary(kept, image.spacing)
        return {"image": name, "file": str(job.file), **summary, "error": None}

    @property
    def _window(self) -> IntensityWindow:
        value_range = self.predictor.task.value_range
        return _UNIT if value_range is None else value_range.window

    @property
    def _bits(self) -> int:
        value_range = self.predictor.task.value_range
        return 8 if value_range is not None and value_range.bits <= 8 else 16

    def _summary_columns(self) -> list[str]:
        task = self.predictor.task
        nothing = np.zeros((task.num_outputs, 1, 1), np.float32)
        maps = [] if self.maps is None else [CHANGE, *self.maps.names]
        return list(dict.fromkeys([*task.summary(nothing, None), *task.summary(nothing, (1.0, 1.0)), *maps]))

    def _account(self) -> dict[str, Any]:
        """Description of the files, for readers without this program."""
        task, value_range = self.predictor.task, self.predictor.task.value_range
        objects = makes_objects(task)
        pixels: dict[str, Any] = {"kind": "codes", "dicom": "segmentation objects" if objects else "codes"}
        if task.output_kind == "image":
            top = 2**self._bits - 1
            pixels = {
                "kind": "image",
                "range": None if value_range is None else value_range.as_dict(),
                "png_bits": self._bits,
                "png_value": f"low + level / {top} * (high - low)"
                if value_range is not None
                else f"level / {top}",
            }
        return {
            "schema": 1,
            "made_by": self.made_by,
            "task": task.to_dict(),
            "suffix": SUFFIX,
            "values": pixels,
            "native": self.predictor.native,
            "tile": self.predictor.tile,
            "overlap": self.predictor.overlap if self.predictor.tile is not None else None,
            **({} if self._maps is None else {"probabilities": self._maps.describe()}),
            **({} if self.maps is None else {"maps": self.maps.describe()}),
            **({} if not self.caution else {"caution": self.caution}),
            **self.about,
        }

    def _check(self, jobs: Sequence[Job]) -> None:
        task = self.predictor.task
        if self.maps is not None:
            self.maps.check(list(jobs))
        if task.output_kind == "image" and task.num_outputs == 3:
            volume = next((job for job in jobs if job.whole), None)
            if volume is not None:
                raise InputError(
                    f"'{volume.name}' is a NIfTI volume, and this run makes pictures in colour",
                    "give its slices one by one: 'FILE#axis=2&index=N'",
                )
        sources = {ref.path.resolve() for job in jobs for ref in job.refs[:1]}
        files = [file for job in jobs if job.error is None for file in self.files(job)]
        there = [file for file in files if file.exists()]
        own_files = [file for file in there if file.resolve() in sources]
        if own_files:
            raise InputError(
                f"'{own_files[0]}' would be replaced by a prediction of itself", "choose another --out"
            )
        if there:
            say(f"{count_of(len(there), 'file')} of an earlier prediction in '{self.out}' will be replaced")


def background_of(pixels: Float[np.ndarray, "channels height width"]) -> Bool[np.ndarray, "height width"]:
    """The background around the body: pixels of exactly 0 that are connected with the image's border.

    Dark places inside the body may be 0 too (the window cuts them off), and have a value of their own in another
    modality.
    """
    zero = (pixels == 0).all(0)
    framed = np.pad(zero, 1, constant_values=True).astype(np.uint8)
    _, parts = cv2.connectedComponents(framed, connectivity=4)
    return np.asarray(parts == parts[0, 0])[1:-1, 1:-1]


def _slice_name(job: Job, index: int) -> str:
    """A slice of a volume in the table."""
    name, _, _ = job.name.partition("#axis=")
    return f"{name}{job.refs[index].part}"


def dicom_name(text: str) -> str:
    """A name as DICOM files can hold it."""
    return "".join(c for c in text if c.isascii() and c.isprintable() and c != "\\")[:48] or "modicum"
