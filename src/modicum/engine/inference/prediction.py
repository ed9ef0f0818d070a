"""Predicts any number of images in bounded memory; a broken one is a row with an error, and nothing is lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from modicum.atomic_files import raise_if_disk_full
from modicum.data.image import ImageRef
from modicum.data.prepared import StoreSettings, expand, read_prepared
from modicum.engine.devices import autocast
from modicum.engine.inputs.batches import to_unit_range
from modicum.engine.inputs.decoding import read_ahead
from modicum.errors import BrokenImageError, InputError
from modicum.progress import bar, say
from modicum.tasks import ImageLevelTask

_TOLD = 5
"""Broken images that are named on the terminal; the table names them all."""


@dataclass(frozen=True)
class PredictionSummary:
    """How many images were predicted, how many could not be read, and where the rows are."""

    predicted: int
    broken: int
    out: Path


@torch.no_grad()
def predict_images(
    network: nn.Module,
    task: ImageLevelTask,
    refs: Sequence[ImageRef],
    names: Sequence[str],
    settings: StoreSettings,
    out: Path,
    *,
    batch_size: int,
    precision: str,
    device: torch.device,
) -> PredictionSummary:
    """Predicts images in their order and writes one row each to ``out`` (CSV, or Parquet by its suffix).

    Rows are written as they come to ``<out>.part``, which takes the name ``out`` at the end; after Ctrl-C or a
    full disk the rows done so far are in the part file.

    Args:
        network: from images to outputs.
        task: names the columns.
        refs: the images.
        names: what each is called in the table.
        settings: the preprocessing the network was trained with.
        out: the table.
        batch_size: images in one forward pass.
        precision: the run's precision setting.
        device: where to compute.
    """
    network.to(device).eval()
    predicted = broken = told = 0
    empty = task.prediction_table(np.zeros((0, task.num_outputs)))
    columns, numbers = ["image", *empty.columns, "error"], list(empty.select_dtypes("number").columns)
    with TableWriter(out, columns, numbers) as table, bar("predicting", len(refs)) as shown:
        read = partial(_record, settings)
        for part in read_ahead(zip(names, refs, strict=True), read, batch_size):
            rows = pd.DataFrame({"image": [name for name, _ in part]})
            errors = [item.reason if isinstance(item, BrokenImageError) else None for _, item in part]
            good = [number for number, error in enumerate(errors) if error is None]
            records = [item for _, item in part if not isinstance(item, BrokenImageError)]
            for (name, _), reason in zip(part, errors, strict=True):
                if reason is not None and (told := told + 1) <= _TOLD:
                    say(f"broken: {name}: {reason}")
            if good:
                pixels = np.empty(
                    (len(good), settings.height, settings.width, settings.channels), dtype=settings.dtype
                )
                for place, record in enumerate(records):
                    expand(record, pixels[place])
                with autocast(precision, device):
                    outputs = network(to_unit_range(torch.from_numpy(pixels).to(device)))
                found = task.prediction_table(task.activate(outputs).cpu().numpy().astype(np.float64))
                found.index = pd.Index(good)
                rows = rows.join(found)
            rows = rows.reindex(columns=columns)
            rows["error"] = errors
            table.write(rows)
            predicted += len(good)
            broken += len(part) - len(good)
            shown.advance(len(part))
            shown.note(f"{broken} broken" if broken else "")
    return PredictionSummary(predicted, broken, out)


def _record(settings: StoreSettings, ref: ImageRef) -> np.ndarray:
    return read_prepared(ref, settings)[1]


class TableWriter:
    """Appends rows to a CSV or Parquet file that takes its name when the block ends well.

    Args:
        path: the file.
        columns: of the table.
        numbers: those that hold numbers; the others hold text.
    """

    def __init__(self, path: Path, columns: Sequence[str], numbers: Sequence[str] = ()) -> None:
        if path.suffix.lower() not in {".csv", ".parquet"}:
            raise InputError(f"--out '{path}' has an unknown suffix", "end it with .csv or .parquet")
        if not path.parent.is_dir():
            raise InputError(f"--out '{path}': folder '{path.parent}' does not exist", "make it first")
        self.path = path
        self.part = path.with_name(path.name + ".part")
        self._columns = list(columns)
        self._numbers = set(numbers)
        self._parquet: Any = None
        self._csv: Any = None

    def __enter__(self) -> "TableWriter":
        if self.path.suffix.lower() == ".csv":
            self._csv = self.part.open("w", encoding="utf-8", newline="")
            self._csv.write(pd.DataFrame(columns=self._columns).to_csv(index=False))
        return self

    def write(self, rows: pd.DataFrame) -> None:
        """Appends rows. Raises :class:`~modicum.errors.ResourceError` on a full disk."""
        try:
            if self._csv is not None:
                self._csv.write(rows.to_csv(index=False, header=False, float_format="%.9g"))
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
            types = [(n, pa.float64() if n in self._numbers else pa.string()) for n in self._columns]
            schema = pa.schema(types)
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
