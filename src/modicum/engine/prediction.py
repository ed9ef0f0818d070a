"""Predicts any number of images in bounded memory; a broken one is a row with an error, and nothing is lost."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
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
from modicum.engine.batches import to_unit_range
from modicum.engine.devices import autocast
from modicum.errors import BrokenImageError, InputError
from modicum.progress import bar, say
from modicum.tasks import Task

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
    task: Task,
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
    columns = ["image", *task.prediction_table(np.zeros((0, task.num_outputs))).columns, "error"]
    with TableWriter(out, columns) as table, bar("predicting", len(refs)) as shown:
        for part in _decoded_batches(zip(names, refs, strict=True), settings, batch_size):
            rows = pd.DataFrame({"image": [name for name, _ in part]})
            errors = [item.reason if isinstance(item, BrokenImageError) else None for _, item in part]
            good = [number for number, error in enumerate(errors) if error is None]
            for (name, _), reason in zip(part, errors, strict=True):
                if reason is not None and (told := told + 1) <= _TOLD:
                    say(f"broken: {name}: {reason}")
            if good:
                pixels = np.empty(
                    (len(good), settings.height, settings.width, settings.channels), dtype=np.uint8
                )
                for place, number in enumerate(good):
                    expand(part[number][1], pixels[place])
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


def _decoded_batches(
    items: Iterable[tuple[str, ImageRef]], settings: StoreSettings, batch_size: int
) -> Iterator[list[tuple[str, Any]]]:
    """Batches of decoded images (or their errors) in order, decoding ahead by two batches at the most."""
    workers = min(4, os.cpu_count() or 1)
    waiting: deque[tuple[str, Future[Any]]] = deque()
    batch: list[tuple[str, Any]] = []
    with ThreadPoolExecutor(workers) as pool:
        try:
            for name, ref in items:
                waiting.append((name, pool.submit(_decode_or_error, ref, settings)))
                if len(waiting) < 2 * batch_size:
                    continue
                first, future = waiting.popleft()
                batch.append((first, future.result()))
                if len(batch) == batch_size:
                    yield batch
                    batch = []
            while waiting:
                first, future = waiting.popleft()
                batch.append((first, future.result()))
                if len(batch) == batch_size:
                    yield batch
                    batch = []
            if batch:
                yield batch
        finally:
            for _, future in waiting:
                future.cancel()


def _decode_or_error(ref: ImageRef, settings: StoreSettings) -> np.ndarray | BrokenImageError:
    try:
        return read_prepared(ref, settings)[1]
    except BrokenImageError as error:
        return error


class TableWriter:
    """Appends rows to a CSV or Parquet file that takes its name when the block ends well."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        if path.suffix.lower() not in {".csv", ".parquet"}:
            raise InputError(f"--out '{path}' has an unknown suffix", "end it with .csv or .parquet")
        if not path.parent.is_dir():
            raise InputError(f"--out '{path}': folder '{path.parent}' does not exist", "make it first")
        self.path = path
        self.part = path.with_name(path.name + ".part")
        self._columns = list(columns)
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
            numbers = [name for name in self._columns if name.startswith("p_")]
            schema = pa.schema([(n, pa.float64() if n in numbers else pa.string()) for n in self._columns])
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
