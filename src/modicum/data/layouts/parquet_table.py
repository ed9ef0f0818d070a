"""Reads Parquet files as tables, those with the images inside too, as Hugging Face writes them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from modicum.data.image import ImageRef
from modicum.data.manifest import text_column
from modicum.data.readers.parquet import is_image_type
from modicum.errors import InputError
from modicum.wording import listed

Columns = Mapping[str, str | Sequence[str]]
_PROBES = 16
_LONGEST_TEXT = 1000
_MASKS = ("mask", "masks", "label", "labels", "annotation", "segmentation", "seg", "gt", "label_map")
"""Columns of images that are masks, where another column of images is there."""


def image_columns(file: pq.ParquetFile) -> list[str]:
    """The columns that hold image files; columns of bytes that are short texts do not."""
    return [
        field.name
        for field in file.schema_arrow
        if is_image_type(field.type) and (pa.types.is_struct(field.type) or not _is_text(file, field.name))
    ]


def holds_images(path: Path) -> bool:
    """Whether a Parquet file has a column of images; not where it cannot be read."""
    try:
        return bool(image_columns(pq.ParquetFile(path)))
    except (OSError, ValueError, pa.ArrowException):
        return False


def _is_text(file: pq.ParquetFile, name: str) -> bool:
    """Whether the first cell of a column of bytes is a text, as some programs write texts."""
    for batch in file.iter_batches(batch_size=_PROBES, columns=[name]):
        for cell in batch.column(0).drop_null()[:1].to_pylist():
            return len(cell) < _LONGEST_TEXT and cell.isascii() and cell.decode("ascii").isprintable()
    return False


def _roles(
    pictures: Sequence[str], names: Sequence[str], columns: Columns | None
) -> tuple[dict[str, str | Sequence[str]], list[str]]:
    """The columns of roles, with the one that holds the images and the one that holds masks, where it is plain."""
    roles, notes = dict(columns or {}), []
    named = {name for given in roles.values() for name in ([given] if isinstance(given, str) else given)}
    lower = {name.lower() for name in names}
    masks = [name for name in pictures if name.lower() in _MASKS and name not in named]
    if len(pictures) > 1 and len(masks) == 1 and "mask" not in lower and "mask" not in roles:
        roles["mask"] = masks[0]
        notes.append(f"column '{masks[0]}' holds images: read as masks")
    left = [name for name in pictures if name not in (*named, *masks)] or (
        masks if len(pictures) == 1 else []
    )
    if "image" not in lower and "image" not in roles and len(left) == 1:
        roles["image"] = left[0]
        notes.append(f"the images are those in column '{left[0]}'")
    return roles, notes


def _class_names(schema: pa.Schema) -> list[str]:
    """What the numbers of a column stand for, where the file says it as Hugging Face does."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        found = {
            name: feature["names"]
            for name, feature in features.items()
            if isinstance(feature, dict) and isinstance(feature.get("names"), list)
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return []
    return [
        f"column '{name}': {listed([f'{number} is {word}' for number, word in enumerate(words)], 8)}"
        for name, words in found.items()
    ]


def _refuse_other_forms(schema: pa.Schema, name: str | Sequence[str], source: str) -> None:
    """Raises InputError where the images are lists of images, or numbers."""
    index = schema.get_field_index(name) if isinstance(name, str) else -1
    kind = schema.field(index).type if index >= 0 else pa.null()
    depth = 0
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind, depth = kind.value_type, depth + 1
    if not depth:
        return
    if is_image_type(kind):
        raise InputError(
            f"{source}: column '{name}' holds lists of images", "write a row an image, with one image each"
        )
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise InputError(
            f"{source}: column '{name}' holds lists of numbers, not image files",
            "write the images as PNG or TIFF files, or their bytes into the cells",
        )


def read_parquet(
    path: Path, columns: Columns | None
) -> tuple[pd.DataFrame, list[str], Columns | None, list[str]]:
    """A Parquet file as text, with references in place of the images inside it.

    Returns:
        The table, where each row comes from, the columns of roles with those that hold the images, and notes.

    Raises:
        InputError: it cannot be read, or holds images in a form that is not read.
    """
    try:
        file = pq.ParquetFile(path)
        pictures = image_columns(file)
        table = pd.read_parquet(path, columns=[n for n in file.schema_arrow.names if n not in pictures])
        table = pd.DataFrame(table, index=range(file.metadata.num_rows))
        for name in reversed(pictures):
            table.insert(0, name, _references(file, path, name))
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{path.name} cannot be read as Parquet ({reason})", "write it again, or pass a CSV file"
        ) from None
    table.columns = [str(name) for name in table.columns]
    if not table.columns.is_unique:
        raise InputError(f"{path.name} has two columns with the same name", "rename one of them")
    for name in table.columns:
        table[name] = [
            value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in table[name]
        ]
        if _holds_lists(file, name):  # an empty list says that nothing is there, a missing one nothing
            table[name] = ["[]" if value is not None and len(value) == 0 else value for value in table[name]]
    table = pd.DataFrame({name: text_column(table[name]) for name in table.columns})
    roles, notes = _roles(pictures, list(table.columns), columns)
    notes += _class_names(file.schema_arrow)
    _refuse_other_forms(file.schema_arrow, {**roles}.get("image", "image"), path.name)
    return table, [f"row {number + 1}" for number in range(len(table))], roles or columns, notes


def _holds_lists(file: pq.ParquetFile, name: str) -> bool:
    """Whether a column holds lists of names or whole numbers."""
    index = file.schema_arrow.get_field_index(name)
    kind = file.schema_arrow.field(index).type if index >= 0 else pa.null()
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    inner = kind.value_type
    return pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_integer(inner)


def _references(file: pq.ParquetFile, path: Path, column: str) -> list[str | None]:
    """The images in a column of a Parquet file; a cell without bytes is the path that it names, if any."""
    kind = file.schema_arrow.field(column).type
    has_path = pa.types.is_struct(kind) and kind.get_field_index("path") >= 0
    references: list[str | None] = []
    for batch in file.iter_batches(batch_size=1024, columns=[column]):
        cells = batch.column(0)
        contents = cells.field("bytes") if pa.types.is_struct(kind) else cells
        paths = cells.field("path").to_pylist() if has_path else [None] * len(cells)
        for is_there, name in zip(contents.is_valid().to_pylist(), paths, strict=True):
            inside = str(ImageRef(Path(path.name), array=column, index=len(references)))
            references.append(inside if is_there else name)
    return references
