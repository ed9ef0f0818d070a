"""SIIM-ACR Pneumothorax: run-length encoded masks in a table."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from modicum.atomic_files import atomic_file
from modicum.data.layouts.public.chest_tables import files_below, table_named
from modicum.data.layouts.public.contents import stem_of
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import LayoutRows, Row
from modicum.data.run_length import NOTHING, SIIM_SIZE, Mask, RunLengthRow, encoded, mask_of, read_run_lengths
from modicum.progress import bar
from modicum.wording import count_of

MASK_FOLDER = "masks"
_EMPTY = "none.png"


def is_siim(folder: Path) -> bool:
    """A table with ``ImageId`` and ``EncodedPixels``, ignoring blanks around the names."""
    return _table(folder) is not None


def read_siim(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads SIIM-ACR Pneumothorax: label 1 with a region, else 0; images are searched by the stem of their names.

    ``mask_runs`` is the union of an image's rows, in the table's encoding. With ``write_masks`` they are also written
    as PNG files of :data:`~modicum.data.run_length.SIIM_SIZE`, and are the column ``mask``.

    Raises:
        InputError: a row of the table is invalid.
    """
    table = _table(folder)
    regions = read_run_lengths(table) if table is not None else {}
    stems = {stem_of(path): path for path in files_below(folder, (MASK_FOLDER,)).values()}
    result = LayoutRows([], source=table.name if table else "")
    for name, rows in regions.items():
        has_any = any(row.text not in ("", NOTHING) for row in rows)
        row: Row = {
            "image": stems.get(name, folder / f"{name}.dcm"),
            "label": str(int(has_any)),
            "mask_runs": _union(rows),
        }
        result.rows.append(row)
        result.origins.append(rows[0].origin.removeprefix(f"{result.source} "))
    spare = len(stems.keys() - regions.keys())
    if spare:
        result.notes.append(f"left out: {count_of(spare, 'image')} that {result.source} does not name")
    if options.write_masks:
        for row, path in zip(result.rows, write_masks(folder / MASK_FOLDER, regions), strict=True):
            row["mask"] = path
    else:
        result.notes.append("masks are run-length encoded; layout option write_masks writes them as files")
    return result


def write_masks(folder: Path, regions: Mapping[str, Sequence[RunLengthRow]]) -> list[Path]:
    """Writes a PNG (0 and 255) for each image with a region, and one for all without; existing files are kept.

    Args:
        folder: created if missing.
        regions: rows by image.

    Returns:
        The file of each image, in order.

    Raises:
        InputError: a text is not a mask.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with bar("masks", len(regions)) as progress:
        for name, rows in regions.items():
            has_any = any(row.text not in ("", NOTHING) for row in rows)
            path = folder / (f"{name}.png" if has_any else _EMPTY)
            if not path.exists():
                with atomic_file(path, durable=False) as file:
                    file.write(_png(mask_of(rows, SIIM_SIZE, "relative")))
            paths.append(path)
            progress.advance()
    return paths


def _union(rows: Sequence[RunLengthRow]) -> str:
    """One text for an image. A single row is kept, so that only several regions need decoding."""
    if len(rows) == 1:
        return rows[0].text or NOTHING
    return encoded(mask_of(rows, SIIM_SIZE, "relative"), "relative")


def _png(mask: Mask) -> bytes:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(data, "PNG")
    return data.getvalue()


def _table(folder: Path) -> Path | None:
    # A sample submission has the same columns, but no masks.
    return table_named(folder, r"(?!.*submission).*\.csv", ("ImageId", "EncodedPixels"))
