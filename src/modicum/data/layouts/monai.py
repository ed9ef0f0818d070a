"""Reads MONAI (and Medical Segmentation Decathlon) data lists in JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from modicum.data.layouts.columns import finding_columns, split_of, uncertain_notes
from modicum.data.layouts.table import short_name
from modicum.data.manifest import LABELS_PREFIX, Manifest
from modicum.errors import InputError
from modicum.wording import count_of

_REMEDY = "see MONAI's load_decathlon_datalist for the format"


def read_datalist(path: Path) -> Manifest:
    """Reads a data list as a manifest: ``{"training": [{"image": .., "label": ..}], "validation": [..]}``.

    A whole number or a word is the label; a list of 1, 0 and -1 are findings, named by the file's ``labels``
    if it has the same length; a list of words are the findings that are present; a path is the mask. Other keys
    become columns.

    Raises:
        InputError: not a data list, or an entry that cannot be used, with its origin.
    """
    document = _load(path)
    rows: list[dict[str, Any]] = []
    origins: list[str] = []
    for key, entries in document.items():
        split = split_of(key)
        if split is None or not isinstance(entries, list):
            continue
        for number, entry in enumerate(entries):
            origin = f"{key}[{number}]"
            rows.append({**_row(entry, f"{path.name} {origin}", document.get("labels")), "split": split})
            origins.append(origin)
    if not rows:
        raise InputError(f"{path.name} lists no images under training, validation or test", _REMEDY)
    listed = pd.DataFrame(rows)
    table = finding_columns(listed, origins, path.name)
    return Manifest(
        table,
        path.absolute().parent,
        notes=uncertain_notes(listed),
        source=path.name,
        name=short_name(path),
        origins=origins,
    )


def set_aside_unlabelled(manifest: Manifest) -> Manifest:
    """Leaves out whole lists without any label, as the Decathlon's ``test`` is, where another list has them; noted."""
    table = manifest.table
    columns = [
        str(name)
        for name in table
        if name in ("mask", "label", "labels") or str(name).startswith(LABELS_PREFIX)
    ]
    if not columns or "split" not in table:
        return manifest
    is_known = table[columns].notna().any(axis=1)
    known_of_split = is_known.groupby(table["split"]).transform("any")
    if known_of_split.all() or not is_known.any():
        return manifest
    made = manifest.subset(known_of_split.to_numpy(dtype=bool))
    for split in table.loc[~known_of_split, "split"].unique():
        count = int((table["split"] == split).sum())
        made.notes.append(
            f"left out: {count_of(count, 'image')} of the {split} list of {manifest.source}, without labels"
        )
    return made


def is_datalist(path: Path) -> bool:
    """Whether a JSON file is a data list."""
    try:
        return isinstance(_load(path).get("training"), list)
    except InputError:
        return False


def _load(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name} is not JSON ({error})", _REMEDY) from None
    if not isinstance(document, dict):
        raise InputError(f"{path.name} is not a data list: it has no 'training'", _REMEDY)
    return document


def _row(entry: Any, origin: str, names: Any) -> dict[str, Any]:
    if isinstance(entry, str):
        return {"image": entry}
    if not isinstance(entry, Mapping) or "image" not in entry:
        raise InputError(f"{origin} names no image", _REMEDY)
    image = entry["image"]
    if isinstance(image, list):
        if len(image) != 1:
            raise InputError(
                f"{origin} has {len(image)} images",
                "write one image per entry; several channels cannot be read",
            )
        image = image[0]
    if not isinstance(image, str):
        raise InputError(f"{origin} has '{image}' as its image", "write a path, for instance images/001.png")
    metadata = {str(key): value for key, value in entry.items() if key not in ("image", "label", "split")}
    return {**metadata, "image": image, **_label(entry.get("label"), origin, names)}


def _label(label: Any, origin: str, names: Any) -> dict[str, Any]:
    """The columns for an entry's label."""
    from modicum.data.readers import IMAGE_SUFFIXES

    if isinstance(label, str):
        is_path = label.lower().endswith(tuple(IMAGE_SUFFIXES))
        return {"mask" if is_path else "label": label}
    if isinstance(label, list) and all(isinstance(item, str) for item in label):
        return {"labels": "|".join(label) or "none"}
    if isinstance(label, list) and all(isinstance(item, int | float) for item in label):
        finding_names = (
            [str(names[key]) for key in sorted(names, key=str)] if isinstance(names, Mapping) else names
        )
        if not isinstance(finding_names, list) or len(finding_names) != len(label):
            finding_names = list(map(str, range(len(label))))
        return {
            f"{LABELS_PREFIX}{name}": str(value) for name, value in zip(finding_names, label, strict=True)
        }
    if label is None or isinstance(label, int | float):
        return {} if label is None else {"label": label}
    raise InputError(
        f"{origin} has '{label}' as its label", "write a number, a list of numbers or words, or a path"
    )
