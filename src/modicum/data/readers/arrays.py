"""Reads images from arrays in NPZ files, like those of MedMNIST: ``data.npz#array=train_images&index=5``.

The array is [items, height, width] or [items, height, width, channels] with 1, 3 or 4 channels, or a single
image [height, width]. Nothing is unpickled. Values of more than 8 bits are scaled by the item's own range, as for
any other single image.
"""

import math
import zipfile
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Shaped

from modicum.data.image import MedicalImage, Source
from modicum.data.readers.content import format_of_name
from modicum.data.readers.raster import finish
from modicum.data.readers.recent import Recent, file_key
from modicum.data.readers.request import Request, Unreadable

Array = Shaped[np.ndarray, "*sides"]
# Arrays up to this size are decompressed once and kept; items of larger ones are read separately.
KEEP_BYTES = 512 * 2**20
_arrays: Recent[Array] = Recent(KEEP_BYTES, lambda array: array.nbytes)


def read_npz(file: BinaryIO, request: Request) -> MedicalImage:
    """Reads one item of one array of an NPZ file.

    Raises:
        Unreadable: unusable content; other exceptions come from the decoders and mean damaged data.
    """
    request.allow_only("an NPZ file", "array", "index")
    with zipfile.ZipFile(file) as archive:
        name = _array_name(archive, request)
        member = f"{name}.npy"
        with archive.open(member) as stream:
            shape, fortran, dtype = array_header(stream)
            start = stream.tell()
        if dtype.hasobject or dtype.kind not in "buif":
            raise Unreadable(f"array '{name}' holds no plain numbers")
        if start + math.prod(shape) * dtype.itemsize > archive.getinfo(member).file_size:
            raise Unreadable(f"array '{name}' is shorter than it declares (truncated)")
        items, sides = _items(name, shape, request)
        index = request.choose("index", request.ref.index, 1 if items is None else items, 0)
        if math.prod(shape) * dtype.itemsize <= KEEP_BYTES:
            make = lambda: _whole(archive, member, start, shape, fortran, dtype)  # noqa: E731
            array = _arrays.get((key, name) if (key := file_key(file)) else None, make)
            values = array if items is None else array[index]
        elif fortran:
            raise Unreadable(
                f"array '{name}' is too large to be read in column-major order; save it in C order"
            )
        else:
            values = _item(archive, member, start, sides, index, dtype)
    values = (
        values.astype(np.uint8) if dtype.kind == "b" else values.astype(dtype.newbyteorder("="), copy=False)
    )
    source = Source(
        path=request.ref.path,
        format="npz",
        bits=1 if dtype.kind == "b" else dtype.itemsize * 8,
        mode=dtype.newbyteorder("=").name,
        height=sides[0],
        width=sides[1],
        slices=1 if items is None else items,
        mislabelled=format_of_name(request.ref.path) not in (None, "npz"),
    )
    return finish(values, source, request)


def _array_name(archive: zipfile.ZipFile, request: Request) -> str:
    names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    requested = request.ref.array
    if not names:
        raise Unreadable("is a zip archive without NumPy arrays")
    if requested is None and len(names) == 1:
        return names[0]
    examples = ", ".join(sorted(names)[:8])
    if requested is None:
        raise Unreadable(f"holds several arrays; name one of them with #array= ({examples})")
    if requested not in names:
        raise Unreadable(f"has no array '{requested}' (it has {examples})")
    return requested


def _items(name: str, shape: tuple[int, ...], request: Request) -> tuple[int | None, tuple[int, ...]]:
    """The number of images in an array (None for a single image), and the shape of one."""
    may_be_colour = len(shape) == 3 and shape[-1] in (1, 3, 4)
    if len(shape) < 3 or (may_be_colour and request.ref.index is None):
        items, sides = None, shape
    else:
        items, sides = shape[0], shape[1:]
    if len(sides) not in (2, 3) or (len(sides) == 3 and sides[-1] not in (1, 3, 4)):
        raise Unreadable(
            f"array '{name}' has shape {list(shape)}, not [items, height, width(, 1, 3 or 4 channels)]"
        )
    request.check_size(*sides[:2])
    if items is not None and request.ref.index is None:
        raise Unreadable(f"array '{name}' holds {items} images; name one of them (#array={name}&index=0)")
    return items, sides


def array_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Reads shape, column-major order and dtype of an open ``.npy`` member; leaves it at its first value.

    Raises:
        Unreadable: the header is missing or damaged.
    """
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(stream)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(stream)
    except (ValueError, TypeError, SyntaxError, TokenError):
        # The header is the text of a Python dictionary; numpy passes on the parser's errors.
        raise Unreadable("the NPZ data are damaged or incomplete") from None
    raise Unreadable(f"is in NumPy file format {version[0]}.{version[1]}, which is not supported")


def unpacked_bytes(path: Path) -> dict[str, int]:
    """Bytes of each array of an NPZ file in memory, by its header.

    Raises:
        Unreadable: a header is damaged, or says more than the archive holds.
        OSError, BadZipFile, zlib.error: the file is damaged.
    """
    sizes = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as stream:
                shape, _, dtype = array_header(stream)
                needed = math.prod(shape) * dtype.itemsize
                if not dtype.hasobject and stream.tell() + needed > member.file_size:
                    raise Unreadable(f"array '{member.filename}' is shorter than it declares (truncated)")
                sizes[member.filename.removesuffix(".npy")] = needed
    return sizes


def _whole(
    archive: zipfile.ZipFile, member: str, start: int, shape: tuple[int, ...], fortran: bool, dtype: np.dtype
) -> Array:
    with archive.open(member) as stream:
        stream.read(start)
        data = stream.read()  # to the end, so that zipfile checks the checksum
    flat = np.frombuffer(data, dtype, count=math.prod(shape))
    return flat.reshape(shape, order="F" if fortran else "C")


def _item(
    archive: zipfile.ZipFile, member: str, start: int, sides: tuple[int, ...], index: int, dtype: np.dtype
) -> Array:
    size = math.prod(sides) * dtype.itemsize
    with archive.open(member) as stream:
        stream.seek(
            start + index * size
        )  # at once where stored, by decompressing in small pieces where compressed
        data = stream.read(size)
    return np.frombuffer(data, dtype).reshape(sides)
