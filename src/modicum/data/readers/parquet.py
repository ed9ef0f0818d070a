"""Images inside a Parquet table, as Hugging Face writes them: ``train.parquet#array=image&index=5``.

A cell is the bytes of an image file, or a struct of ``bytes`` and ``path``.
"""

import io
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from modicum.data.readers.recent import Recent, file_key
from modicum.data.readers.request import Request, Unreadable

# Images are read in the order of the rows, so that a group of rows is kept while its images are.
_groups: Recent[pa.ChunkedArray] = Recent(512 * 2**20, lambda column: column.nbytes)


class CellFile(io.BytesIO):
    """The content of a cell as an open file."""

    name = ""
    mode = "rb"


def is_image_type(kind: pa.DataType) -> bool:
    """Whether a column's cells can hold image files: bytes, or a struct with ``bytes``."""
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return any(
        is_kind(kind)
        for is_kind in (
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_fixed_size_binary,
            pa.types.is_binary_view,
        )
    )


def image_bytes(file: BinaryIO, request: Request) -> bytes:
    """The content of the image file in one cell.

    Raises:
        Unreadable: no such column or row, or an empty cell.
    """
    request.allow_only("a Parquet table", "array", "index")
    table = pq.ParquetFile(file)
    name = request.ref.array
    if name is None or name not in table.schema_arrow.names:
        raise Unreadable(f"has no column '{name}' (it has {', '.join(table.schema_arrow.names[:8])})")
    if not is_image_type(table.schema_arrow.field(name).type):
        raise Unreadable(f"column '{name}' holds no images")
    index = request.choose("index", request.ref.index, table.metadata.num_rows, 0)
    group = 0
    while index >= table.metadata.row_group(group).num_rows:
        index -= table.metadata.row_group(group).num_rows
        group += 1
    key = (key_of_file, name, group) if (key_of_file := file_key(file)) else None
    cells = _groups.get(key, lambda: table.read_row_group(group, columns=[name])[name])
    cell = cells[index].as_py()
    data = cell["bytes"] if isinstance(cell, dict) else cell
    if not data:
        raise Unreadable(f"column '{name}' is empty in this row")
    return data
