"""Finds boxes in any number of images in bounded memory; a broken image is a row with an error."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from modicum.data.boxes.boxes import Boxes
from modicum.data.image import ImageRef, MedicalImage
from modicum.data.placement import Placement, placed
from modicum.data.prepared import StoreSettings, expand, read_prepared
from modicum.data.slice_notes import leaves_slice_open, middle_note
from modicum.engine.devices import autocast
from modicum.engine.inference.box_files import (
    COLUMNS,
    NUMBERS,
    FoundBoxes,
    box_table,
    check_box_file,
    found_boxes,
    write_coco,
)
from modicum.engine.inference.guards import COLUMN, REFUSED, ImageGuard, Seen
from modicum.engine.inference.prediction import PredictionSummary, TableWriter
from modicum.engine.inference.predictor_calls import predictor_outputs
from modicum.engine.inputs.batches import to_unit_range
from modicum.engine.inputs.decoding import read_ahead
from modicum.errors import BrokenImageError
from modicum.progress import bar, say
from modicum.tasks.box_lists import BoxListTask

_TOLD = 5


@dataclass(frozen=True)
class _Read:
    record: np.ndarray
    placement: Placement
    of_several: bool
    image: MedicalImage


@dataclass(frozen=True)
class BoxPredictor:
    """Finds boxes in images and writes them in pixels of the images' files.

    Attributes:
        network: maps images to outputs ``[b, k, 6]``, see :class:`~modicum.tasks.box_lists.BoxListTask`.
        task: names the classes.
        settings: the preprocessing that the network was trained with.
        batch_size: images in one forward pass.
        precision: the run's precision setting.
        device: where to compute.
        seed: the run's seed, for stochastic predictors.
        guard: compares images with those of the training; None where these are not known.
    """

    network: nn.Module
    task: BoxListTask
    settings: StoreSettings
    batch_size: int
    precision: str
    device: torch.device
    seed: int = 0
    guard: ImageGuard | None = None

    def write(self, refs: Sequence[ImageRef], names: Sequence[str], out: Path) -> PredictionSummary:
        """Predicts images in their order and writes their boxes to ``out``: CSV, Parquet or COCO's JSON, by its suffix.

        A table's rows are written as they come, to ``<out>.part``; a JSON file at the end.

        Raises:
            InputError: another suffix.
        """
        check_box_file(out)
        self.network.to(self.device).eval()
        with nullcontext() if self.guard is None else self.guard.listening(self.network):
            if out.suffix.lower() == ".json":
                every = [one for part in self._parts(refs, names) for one in part]
                write_coco(out, every, self.task.box_classes)
                return self._summary([one.error for one in every], out)
            errors: list[str | None] = []
            columns = [*COLUMNS[:-1], *([] if self.guard is None else [COLUMN]), COLUMNS[-1]]
            with TableWriter(out, columns, NUMBERS) as table:
                for part in self._parts(refs, names):
                    table.write(box_table(part, columns))
                    errors += [one.error for one in part]
        return self._summary(errors, out)

    def _summary(self, errors: Sequence[str | None], out: Path) -> PredictionSummary:
        failed = [error for error in errors if error is not None]
        refused = sum(error.startswith(REFUSED) for error in failed)
        unlike = 0 if self.guard is None else self.guard.unlike
        good, broken = len(errors) - len(failed), len(failed) - refused
        return PredictionSummary(good, broken, out, unlike, refused)

    @torch.no_grad()
    def _parts(self, refs: Sequence[ImageRef], names: Sequence[str]) -> Iterator[list[FoundBoxes]]:
        broken = open_slices = 0
        with bar("predicting", len(refs)) as progress:
            for part in read_ahead(zip(names, refs, strict=True), self._read, self.batch_size):
                read = [(name, one) for name, one in part if isinstance(one, _Read)]
                answers = self._outputs(read) if read else ((), ())
                outputs, reasons = iter(answers[0]), iter(answers[1])
                open_slices += sum(one.of_several for _, one in read)
                images = []
                for name, one in part:
                    if isinstance(one, BrokenImageError):
                        images.append(FoundBoxes(name, Boxes.none(), error=one.reason))
                        if (broken := broken + 1) <= _TOLD:
                            say(f"broken: {name}: {one.reason}")
                        continue
                    why, output = next(reasons), next(outputs)
                    error = None if self.guard is None else self.guard.refuses(why)
                    found = found_boxes(name, self.task, output, one.placement)
                    if error is not None:
                        found = FoundBoxes(name, Boxes.none(), error=error)
                    images.append(replace(found, unlike=None if self.guard is None else why))
                yield images
                progress.advance(len(part))
                progress.note(f"{broken} broken" if broken else "")
        for note in middle_note(open_slices, len(refs)):
            say(note)

    def _outputs(self, read: Sequence[tuple[str, _Read]]) -> tuple[np.ndarray, list[str]]:
        """Outputs, and why each image is unlike those of the training, if these are known."""
        settings = self.settings
        shape = (len(read), settings.height, settings.width, settings.channels)
        pixels = np.empty(shape, dtype=settings.dtype)
        for index, (_, one) in enumerate(read):
            expand(one.record, pixels[index])
        images = to_unit_range(torch.from_numpy(pixels).to(self.device))
        with autocast(self.precision, self.device):
            outputs = predictor_outputs(self.network, images, [name for name, _ in read], self.seed)
            features = None if self.guard is None else self.guard.features(images)
        reasons = [""] * len(read)
        if self.guard is not None:
            reasons = self.guard.judge([Seen(one.record, one.image) for _, one in read], features)
        return self.task.activate(outputs.float()).cpu().numpy(), reasons

    def _read(self, ref: ImageRef) -> _Read:
        image, record = read_prepared(ref, self.settings)
        of_several = image.source.slices > 1 and leaves_slice_open(ref, image.source.format)
        return _Read(record, placed(image, self.settings), of_several, image)
