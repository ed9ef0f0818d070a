"""From a file of boxes, whatever its format, to boxes by image."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modicum.data.boxes.box_file import BoxFile, read_mapping
from modicum.data.boxes.coco import is_coco, read_coco
from modicum.data.boxes.options import BoxOptions
from modicum.data.boxes.table import read_box_table
from modicum.data.boxes.yolo import read_yolo_data, read_yolo_folder
from modicum.errors import InputError

_KINDS = "a CSV or TSV table, COCO's or a plain JSON, YOLO's folder of labels or its data.yaml"


def read_boxes(
    source: Path | str | Mapping[Any, Any], options: BoxOptions | Mapping[str, Any] | None = None
) -> BoxFile:
    """Boxes by image, of a file, a folder or a mapping.

    Args:
        source: a CSV or TSV table with a row a box; a JSON file of COCO or with ``{image: [[x0, y0, x1, y1], ...]}``;
            YOLO's folder of text files or its ``data.yaml``; or such a mapping itself.
        options: how it is read, see :class:`BoxOptions`.

    Raises:
        InputError: it cannot be read; with the row, the value and the remedy.
    """
    options = BoxOptions.of(options)
    if isinstance(source, Mapping):
        if is_coco(source):
            return read_coco(source, "boxes", options)
        return read_mapping(source, "boxes", options)
    path = Path(source)
    if path.is_dir():
        return read_yolo_folder(path, options)
    if not path.is_file():
        raise InputError(f"the file of boxes '{source}' is not there", f"give {_KINDS}")
    name = path.name.lower()
    if name.endswith((".yaml", ".yml")):
        return read_yolo_data(path, options)
    if name.endswith((".csv", ".tsv", ".csv.gz", ".tsv.gz")):
        return read_box_table(path, options)
    if not name.endswith(".json"):
        raise InputError(f"'{path.name}' is no file of boxes that can be read", f"give {_KINDS}")
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path.name} is not JSON ({error})", f"give {_KINDS}") from None
    if is_coco(document):
        return read_coco(document, path.name, options)
    if not isinstance(document, Mapping):
        raise InputError(f"{path.name} is neither COCO's nor a mapping of images to boxes", f"give {_KINDS}")
    return read_mapping(document, path.name, options)
