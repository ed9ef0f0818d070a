"""Predicts any number of images in bounded memory; a broken image is a row with an error."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from modicum.atomic_files import raise_if_disk_full
from modicum.data.image import ImageRef, MedicalImage
from modicum.data.placement import placed
from modicum.data.prepared import StoreSettings, expand, read_prepared
from modicum.data.slice_notes import leaves_slice_open, middle_note
from modicum.data.table_cells import safe_cells
from modicum.engine.devices import autocast
from modicum.engine.inference.guards import COLUMN, ImageGuard, Seen
from modicum.engine.inference.maps import check_makes_maps, write_maps
from modicum.engine.inference.prediction_sets import SET_COLUMN
from modicum.engine.inference.predictor_calls import predictor_outputs
from modicum.engine.inputs.batches import to_unit_range
from modicum.engine.inputs.decoding import read_ahead
from modicum.errors import BrokenImageError, InputError
from modicum.methods.decision import Decision, Rows
from modicum.progress import Bar, bar, say
from modicum.tasks import ImageLevelTask
from modicum.tasks.classification.conformal import PredictionSets

_TOLD = 5
"""Number of broken images that are named on the terminal; the table names them all."""


@dataclass(frozen=True)
class PredictionSummary:
    """How many images were predicted, how many could not be read, and where the rows are.

    Attributes:
        unlike: of those that were compared with the training images, how many are unlike them.
        refused: how many of these got no answer (``strict``).
    """

    predicted: int
    broken: int
    out: Path
    unlike: int = 0
    refused: int = 0


@dataclass(frozen=True)
class _Read:
    ref: ImageRef
    image: MedicalImage
    record: np.ndarray

    @property
    def of_several(self) -> bool:
        """Whether it is one slice of several, and the reference does not say which."""
        source = self.image.source
        return source.slices > 1 and leaves_slice_open(self.ref, source.format)


@dataclass(frozen=True)
class _Part:
    """A batch: names and errors, the indices of what can be read, and their outputs."""

    table: pd.DataFrame
    good: list[int]
    outputs: torch.Tensor | None
    refused: int = 0


@dataclass(frozen=True)
class TablePredictor:
    """Predicts a few numbers per image, in bounded memory.

    Attributes:
        network: maps images to outputs.
        task: names the columns.
        settings: the preprocessing that the network was trained with.
        batch_size: images in one forward pass.
        precision: the run's precision setting.
        device: where to compute.
        seed: the run's seed, for stochastic predictors.
        decide: computes predictions from the outputs of all images; None if each output is a prediction.
        maps: folder for the network's maps; None for no maps.
        guard: compares images with those of the training; None where these are not known.
        sets: makes prediction sets; None for none.
    """

    network: nn.Module
    task: ImageLevelTask
    settings: StoreSettings
    batch_size: int
    precision: str
    device: torch.device
    seed: int = 0
    decide: Callable[[torch.Tensor, Rows], Decision] | None = None
    maps: Path | None = None
    guard: ImageGuard | None = None
    sets: PredictionSets | None = None

    @torch.no_grad()
    def write(self, refs: Sequence[ImageRef], rows: Rows, out: Path) -> PredictionSummary:
        """Predicts images in their order and writes one row each to ``out`` (CSV, or Parquet by its suffix).

        Rows are written as they come to ``<out>.part``, which takes the name ``out`` at the end; after Ctrl-C or a
        full disk the rows done so far are in the part file. Answers that are decided over all images are written
        together, at the end.

        Args:
            refs: the images.
            rows: known columns of each image, by their names in the table.
            out: the table.

        Raises:
            InputError: maps were asked for, and the network makes none.
        """
        self.network.to(self.device).eval()
        names = list(rows.images)
        if self.maps is not None:
            check_makes_maps(self.network)
            self.maps.mkdir(parents=True, exist_ok=True)
        with nullcontext() if self.guard is None else self.guard.listening(self.network):
            if self.decide is not None:
                return self._decided_together(refs, names, rows, out)
            return self._one_by_one(refs, names, out)

    def _one_by_one(self, refs: Sequence[ImageRef], names: Sequence[str], out: Path) -> PredictionSummary:
        good = refused = 0
        with (
            TableWriter(out, self._columns(), self._numbers()) as table,
            bar("predicting", len(refs)) as progress,
        ):
            for part in self._parts(refs, names, progress):
                answers = pd.DataFrame() if part.outputs is None else self._answers(part.outputs)
                answers.index = pd.Index(part.good)
                table.write(part.table.join(answers).reindex(columns=self._columns()))
                good, refused = good + len(part.good), refused + part.refused
        return self._summary(good, len(refs) - good - refused, refused, out)

    def _summary(self, good: int, broken: int, refused: int, out: Path) -> PredictionSummary:
        unlike = 0 if self.guard is None else self.guard.unlike
        return PredictionSummary(good, broken, out, unlike, refused)

    def _decided_together(
        self, refs: Sequence[ImageRef], names: Sequence[str], rows: Rows, out: Path
    ) -> PredictionSummary:
        assert self.decide is not None
        with bar("predicting", len(refs)) as progress:
            parts = list(self._parts(refs, names, progress))
        table = pd.concat([part.table for part in parts], ignore_index=True)
        outputs = [part.outputs for part in parts if part.outputs is not None]
        good = np.flatnonzero(table["error"].isna())
        further: list[str] = []
        numbers = self._numbers()
        if outputs:
            decision = self.decide(torch.cat(outputs), rows.take(good))
            answers = self._answers(decision.outputs).assign(**decision.columns)
            answers.index = pd.Index(good)
            further = list(decision.columns)
            kinds = {name: np.asarray(values).dtype.kind for name, values in decision.columns.items()}
            numbers += [name for name, kind in kinds.items() if kind in "iuf"]
            for name in (name for name, kind in kinds.items() if kind == "b"):
                answers[name] = answers[name].astype("boolean")  # which knows of rows without a value
            table = table.join(answers)
        columns = self._columns(further)
        with TableWriter(out, columns, numbers) as writer:
            writer.write(table.reindex(columns=columns))
        refused = sum(part.refused for part in parts)
        return self._summary(len(good), len(refs) - len(good) - refused, refused, out)

    def _columns(self, further: Sequence[str] = ()) -> list[str]:
        answers = self.task.prediction_table(np.zeros((0, self.task.num_outputs))).columns
        sets = [] if self.sets is None else [SET_COLUMN]
        return ["image", *answers, *sets, *further, *self._noted(), "error"]

    def _noted(self) -> list[str]:
        """Columns that are known of an image beside its answers."""
        return [*([] if self.maps is None else ["map"]), *([] if self.guard is None else [COLUMN])]

    def _numbers(self) -> list[str]:
        answers = self._answers(
            torch.zeros(1, self.task.num_outputs)
        )  # without a row, texts look like numbers
        return [str(name) for name in answers if pd.api.types.is_numeric_dtype(answers[name])]

    def _answers(self, outputs: torch.Tensor) -> pd.DataFrame:
        activated = self.task.activate(outputs).cpu().numpy().astype(np.float64)
        table = self.task.prediction_table(activated)
        return table if self.sets is None else table.assign(**{SET_COLUMN: self.sets.texts(activated)})

    def _parts(self, refs: Sequence[ImageRef], names: Sequence[str], progress: Bar) -> Iterator[_Part]:
        """Batch by batch, the rows' names and errors, and the outputs of those that can be read."""
        broken = number = open_slices = 0
        for part in read_ahead(zip(names, refs, strict=True), self._read, self.batch_size):
            errors = [item.reason if isinstance(item, BrokenImageError) else None for _, item in part]
            for (name, _), reason in zip(part, errors, strict=True):
                if reason is not None and (broken := broken + 1) <= _TOLD:
                    say(f"broken: {name}: {reason}")
            good = [index for index, error in enumerate(errors) if error is None]
            table = pd.DataFrame({"image": [name for name, _ in part], "error": errors}, dtype=object)
            table = table.assign(**{name: np.array([None] * len(part)) for name in self._noted()})
            outputs, refused = None, 0
            if good:
                read = [item for _, item in part if not isinstance(item, BrokenImageError)]
                open_slices += sum(one.of_several for one in read)
                outputs, files, reasons = self._outputs(read, number)
                if files:
                    table.loc[good, "map"] = [file or None for file in files]
                if self.guard is not None:
                    good, outputs, refused = self._kept(self.guard, table, reasons, good, outputs)
            yield _Part(table, good, outputs, refused)
            number += len(part)
            progress.advance(len(part))
            progress.note(f"{broken} broken" if broken else "")
        for note in middle_note(open_slices, len(refs)):
            say(note)

    def _kept(
        self,
        guard: ImageGuard,
        table: pd.DataFrame,
        reasons: Sequence[str],
        good: list[int],
        outputs: torch.Tensor,
    ) -> tuple[list[int], torch.Tensor | None, int]:
        """Notes in the table which images are unlike the training's; returns those that get an answer, and it."""
        table.loc[good, COLUMN] = [text or None for text in reasons]
        errors = [guard.refuses(text) for text in reasons]
        table.loc[good, "error"] = errors
        kept = [index for index, error in enumerate(errors) if error is None]
        if len(kept) == len(good):
            return good, outputs, 0
        answers = outputs[kept] if kept else None
        return [good[index] for index in kept], answers, len(good) - len(kept)

    def _outputs(self, read: Sequence[_Read], number: int) -> tuple[torch.Tensor, list[str], list[str]]:
        """Outputs of one batch, on the CPU, the names of its maps' files, if maps are written, and why each image is
        unlike those of the training, if these are known.
        """
        settings = self.settings
        shape = (len(read), settings.height, settings.width, settings.channels)
        pixels = np.empty(shape, dtype=settings.dtype)
        for index, one in enumerate(read):
            expand(one.record, pixels[index])
        images = to_unit_range(torch.from_numpy(pixels).to(self.device))
        with autocast(self.precision, self.device):
            outputs = predictor_outputs(self.network, images, [str(one.ref) for one in read], self.seed)
            features = None if self.guard is None else self.guard.features(images)
            maps = self.network.maps(images) if self.maps is not None else None  # type: ignore[operator]
        reasons = []
        if self.guard is not None:
            reasons = self.guard.judge([Seen(one.record, one.image) for one in read], features)
        files = []
        if maps is not None and self.maps is not None:
            for index, one in enumerate(read):
                if self.guard is not None and self.guard.refuses(reasons[index]):
                    files.append("")
                    continue
                of_one = {name: values[index : index + 1] for name, values in maps.items()}
                place = placed(one.image, settings)
                files += write_maps(self.maps, of_one, [one.ref], [place], number + index)
        return outputs.float().cpu(), files, reasons

    def _read(self, ref: ImageRef) -> _Read:
        image, record = read_prepared(ref, self.settings)
        return _Read(ref, image, record)


class TableWriter:
    """Appends rows to a CSV or Parquet file that takes its name when the block ends well.

    Args:
        path: ends in ``.csv`` or ``.parquet``.
        columns: columns of the table.
        numbers: which of them are numeric in a Parquet file; the rest is text or boolean.
    """

    def __init__(self, path: Path, columns: Sequence[str], numbers: Collection[str] = ()) -> None:
        if path.suffix.lower() not in {".csv", ".parquet"}:
            raise InputError(f"--out '{path}' has an unknown suffix", "end it with .csv or .parquet")
        if not path.parent.is_dir():
            raise InputError(f"--out '{path}': folder '{path.parent}' does not exist", "make it first")
        self.path = path
        self.part = path.with_name(path.name + ".part")
        self._columns = list(columns)
        self._numbers = frozenset(numbers)
        self._parquet: Any = None
        self._csv: Any = None

    def __enter__(self) -> "TableWriter":
        if self.path.suffix.lower() == ".csv":
            self._csv = self.part.open("w", encoding="utf-8", newline="")
            self._csv.write(safe_cells(pd.DataFrame(columns=self._columns)).to_csv(index=False))
        return self

    def write(self, rows: pd.DataFrame) -> None:
        """Appends rows. Raises :class:`~modicum.errors.ResourceError` on a full disk."""
        try:
            if self._csv is not None:
                self._csv.write(safe_cells(rows).to_csv(index=False, header=False, float_format="%.9g"))
                self._csv.flush()
            else:
                self._write_parquet(rows)
        except OSError as error:
            raise_if_disk_full(error, self.part)
            raise

    def _write_parquet(self, rows: pd.DataFrame) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._parquet is None:
            flags = {name for name in self._columns if pd.api.types.is_bool_dtype(rows[name])}
            kinds = {**dict.fromkeys(flags, pa.bool_()), **dict.fromkeys(self._numbers, pa.float64())}
            schema = pa.schema([(name, kinds.get(name, pa.string())) for name in self._columns])
            self._parquet = pq.ParquetWriter(self.part, schema)
        self._parquet.write_table(
            pa.Table.from_pandas(rows, schema=self._parquet.schema, preserve_index=False)
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._csv, self._parquet):
            if file is not None:
                file.close()
        if kind is None and self.part.exists():
            self.part.replace(self.path)
