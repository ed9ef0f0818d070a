"""Reads array files like those of MedMNIST: ``train_images``, ``train_labels``, ..."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from modicum.data.image import ImageRef
from modicum.data.layouts.columns import split_of
from modicum.data.layouts.table import short_name
from modicum.data.manifest import LABELS_PREFIX, Manifest, text_column
from modicum.data.readers.arrays import array_header, unpacked_bytes
from modicum.data.readers.request import Unreadable
from modicum.errors import InputError

# Errors of zipfile, zlib and numpy for files that are damaged, encrypted or not archives.
_UNREADABLE = (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error, Unreadable)
MOST_LABEL_BYTES = 2**30
"""Of an array of labels or other values, of which all are read at once."""
MOST_IMAGES = 20_000_000
_REMEDY = "MedMNIST's names are train_images, train_labels, val_images, ..."


def read_npz(path: Path) -> Manifest:
    """Reads the images in an ``.npz`` file as a manifest: ``file.npz#array=train_images&index=5``.

    The split comes from an array's name (none for plain ``images``). Labels are ``[n]`` or ``[n, 1]``; ``[n,
    k]`` of 1, 0 and -1 are k findings named 0, 1, ... Other arrays with one number or word per image become
    columns. Images themselves are not loaded, and pickled arrays never are.

    Raises:
        InputError: no such arrays, or different numbers of labels and images.
    """
    parts = []
    try:
        with np.load(path, allow_pickle=False) as arrays:
            shapes = _shapes(path)
            sizes = unpacked_bytes(path)
            for name in arrays.files:
                prefix = name.removesuffix("images")
                if name.endswith("images") and (not prefix or split_of(prefix.rstrip("_"))):
                    _check_sizes(path, shapes, sizes, prefix)
                    parts.append(_part(path, arrays, shapes, prefix))
    except FileNotFoundError:
        raise InputError(f"'{path}' does not exist", "check the path") from None
    except _UNREADABLE as error:
        raise InputError(
            f"{path.name} cannot be read as an array file ({error})", "load it with numpy and save it again"
        ) from None
    if not parts:
        raise InputError(f"{path.name} contains no array of images", _REMEDY)
    table = pd.concat(parts, ignore_index=True)
    return Manifest(table, path.absolute().parent, source=path.name, name=short_name(path))


def is_array_data(path: Path) -> bool:
    """Whether a file has arrays of images with the names of :func:`read_npz`."""
    try:
        names = list(_shapes(path))
    except _UNREADABLE:
        return False
    return any(name.endswith("images") for name in names)


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of all arrays, from their headers."""
    shapes = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as file:
                shapes[member.removesuffix(".npy")] = array_header(file)[0]
    return shapes


def _check_sizes(path: Path, shapes: dict[str, tuple[int, ...]], sizes: dict[str, int], prefix: str) -> None:
    """Raises :class:`InputError` for labels that unpack to more than one would write for so many images."""
    count = (shapes[f"{prefix}images"] or (0,))[0]
    for name, needed in sizes.items():
        if name.startswith(prefix) and not name.endswith("images") and needed > MOST_LABEL_BYTES:
            raise InputError(
                f"{path.name}: array '{name}' unpacks to {needed / 1e9:,.1f} GB beside {count:,} images",
                "save one label per image, shape [n], or [n, findings]",
            )
    if count > MOST_IMAGES:
        raise InputError(
            f"{path.name}: array '{prefix}images' declares {count:,} images",
            f"split it into files of {MOST_IMAGES:,} images at most",
        )


def _part(
    path: Path, arrays: np.lib.npyio.NpzFile, shapes: dict[str, tuple[int, ...]], prefix: str
) -> pd.DataFrame:
    count = shapes[f"{prefix}images"][0] if shapes[f"{prefix}images"] else 0
    file = Path(path.name)
    images = [str(ImageRef(file, array=f"{prefix}images", index=index)) for index in range(count)]
    columns: dict[str, pd.Series] = {"image": text_column(images)}
    if f"{prefix}labels" in shapes:
        columns |= _label_columns(arrays[f"{prefix}labels"], count, f"{path.name} {prefix}labels")
    own_arrays = {f"{prefix}images", f"{prefix}labels"}
    for name, shape in shapes.items():
        column = name.removeprefix(prefix)
        if name.startswith(prefix) and name not in own_arrays and shape == (count,) and column not in columns:
            columns[column] = text_column(arrays[name].tolist())
    if prefix:
        columns["split"] = text_column([split_of(prefix.rstrip("_"))] * count)
    return pd.DataFrame(columns)


def _label_columns(labels: Shaped[np.ndarray, "..."], count: int, name: str) -> dict[str, pd.Series]:
    if labels.ndim not in (1, 2) or len(labels) != count:
        raise InputError(
            f"{name} has shape {labels.shape} for {count} images", "save it as [n], [n, 1] or [n, findings]"
        )
    if labels.ndim == 1 or labels.shape[1] == 1:
        return {"label": text_column(labels.reshape(-1).tolist())}
    if not np.isin(labels, (-1, 0, 1)).all():
        raise InputError(
            f"{name} has several columns with values other than 1, 0 and -1",
            "save one label per image, shape [n]",
        )
    values = np.where(labels < 0, np.nan, labels.astype(np.float64))
    return {f"{LABELS_PREFIX}{index}": pd.Series(column) for index, column in enumerate(values.T)}
