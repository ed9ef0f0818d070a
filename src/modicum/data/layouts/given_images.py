"""Images named by the user for prediction: files, folders and data sets, in any mixture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from modicum.data.image import ImageRef
from modicum.data.layouts import load_manifest
from modicum.data.layouts.npz import is_array_data
from modicum.data.layouts.table import TABLE_SUFFIXES
from modicum.data.manifest import Manifest
from modicum.data.readers import list_images
from modicum.errors import InputError

FACTS = ("patient", "eye", "domain")
"""What predictions that are decided over a set of images go by."""
FIELD = "fov"
"""Of pictures: the file of the field of view, an :class:`ImageRef`, or None."""


def images_of(
    sources: Sequence[str | Path], *, columns: Mapping[str, str] | None = None, allow_outside: bool = False
) -> tuple[list[str], list[ImageRef]]:
    """Lists images of files, folders and data sets: names for a table, and references.

    Names are relative to the folder or table if it is the only one; with several, they begin with its path.

    Raises:
        InputError: a path does not exist, or there is no image at all.
    """
    names, refs, _ = images_with_facts(sources, columns=columns, allow_outside=allow_outside)
    return names, refs


def images_with_facts(
    sources: Sequence[str | Path], *, columns: Mapping[str, str] | None = None, allow_outside: bool = False
) -> tuple[list[str], list[ImageRef], pd.DataFrame]:
    """As :func:`images_of`, with what data sets say of images: columns ``patient``, ``eye``, ``domain`` and ``fov``."""
    names: list[str] = []
    refs: list[ImageRef] = []
    tables: list[pd.DataFrame] = []
    for item in sources:
        path = Path(item)
        if path.is_dir():
            images = [ImageRef(image, root=path) for image in list_images(path)]
            names += _named(images, path if len(sources) > 1 else None)
            refs += images
            tables.append(_facts(len(images)))
        elif _is_data_set(path):
            is_table = path.suffix.lower() in TABLE_SUFFIXES
            manifest = load_manifest(
                path,
                columns=columns if is_table else None,
                allow_outside=allow_outside,
                missing="keep",
                unlabelled="keep",
            )
            names += _named(manifest.refs(), path.parent if len(sources) > 1 else None)
            refs += manifest.refs()
            tables.append(_facts(len(manifest), manifest.table).assign(**{FIELD: fields_given(manifest)}))
        else:
            ref = ImageRef.parse(str(item), None)
            if not ref.path.exists():
                raise InputError(f"image '{item}' does not exist", "check the path")
            names.append(str(item))
            refs.append(ref)
            tables.append(_facts(1))
    if not refs:
        raise InputError("no images found", "pass image files, a folder of images, or a table")
    return names, refs, pd.concat(tables, ignore_index=True)


def _facts(count: int, table: pd.DataFrame | None = None) -> pd.DataFrame:
    facts = pd.DataFrame(index=range(count), columns=[*FACTS, FIELD], dtype=object)
    facts[FIELD] = pd.Series([None] * count, dtype=object)
    for name in FACTS:
        if table is not None and name in table:
            facts[name] = table[name].to_numpy(dtype=object)
    return facts


def fields_given(manifest: Manifest) -> pd.Series:
    """The file of each image's field of view, where the table names one; else None."""
    texts = manifest.table[FIELD] if FIELD in manifest.table else [None] * len(manifest)
    files = [ImageRef.parse(text, manifest.root) if isinstance(text, str) else None for text in texts]
    return pd.Series(files, dtype=object)


def _is_data_set(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return is_array_data(path)
    return suffix in (*TABLE_SUFFIXES, ".json") and path.is_file()


def _named(refs: Sequence[ImageRef], folder: Path | None) -> list[str]:
    return [str(ref) if folder is None else (folder / str(ref)).as_posix() for ref in refs]
