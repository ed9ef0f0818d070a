"""Reads PNG, JPEG, BMP, WebP and GIF; TIFF and PNM share the second half.

Decisions: an EXIF orientation is applied. Transparency is composed on black, the background of medical
images. Palette, CMYK and YCbCr images become RGB; a GIF, which always has a palette, becomes grey if the palette
contains only greys. Of an animation the first frame is read by default. The dots per inch of
these files are for printing, not the size of the body: the spacing is unknown.
"""

import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from modicum.data.image import MedicalImage, Source
from modicum.data.readers.codestream import unusual_jpeg
from modicum.data.readers.content import format_of_name
from modicum.data.readers.intensity import TURNED, grey_or_colour, upright
from modicum.data.readers.request import Request, Unreadable

_HEADERS = 2**18  # bytes: more than the segments before a JPEG's frame header usually have
Decoded = Shaped[np.ndarray, "height width *samples"]
# The classes, not Image.open, which has a global pixel limit with warnings.
_OPENERS: dict[str, Callable[[BinaryIO], Image.Image]] = {
    "png": PngImagePlugin.PngImageFile,
    "jpeg": JpegImagePlugin.JpegImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
}


def read_raster(file: BinaryIO, form: str, request: Request) -> MedicalImage:
    """Reads a PNG, JPEG, BMP, WebP or GIF file.

    Raises:
        Unreadable: for what it cannot use; other exceptions come from the decoders and mean damaged data.
    """
    request.allow_only("such an image", "frame")
    if form == "webp":
        # Pillow allocates two whole frames on opening.
        request.check_size(*webp_size(file.read(30)))
        file.seek(0)
    image = _opened(file, form)
    width, height = image.size
    request.check_size(height, width)
    # Further images in a JPEG (MPO) are previews and gain maps, not frames.
    frames = 1 if form == "jpeg" else int(getattr(image, "n_frames", 1))
    frame = request.choose("frame", request.ref.frame, frames, 0)
    if frame:
        image.seek(frame)
    orientation = exif_orientation(image)
    palette: tuple[np.ndarray, np.ndarray] | None = None
    if orientation in TURNED:
        height, width = width, height
    if form == "png":
        _check_png(file)
    if form == "png" and (deep := _deep_colour(file)):
        image.load()  # checks for truncation and damage, which OpenCV only logs
        file.seek(0)
        values, mode, bits = opencv_page(file.read(), 0), deep, 16
        if deep == "LA;16":
            values = values[..., [0, 3]]  # OpenCV repeats the grey channel
    else:
        if request.at_least is not None and form == "jpeg":
            rows, columns = request.at_least[::-1] if orientation in TURNED else request.at_least
            image.draft(image.mode, (columns, rows))
        values, mode = pillow_values(image)
        palette = _palette(image) if mode == "P" and form == "png" else None  # GIF writers number anew
        if form == "gif":
            values = _grey_where_it_is(values)
        bits = {"1": 1, "I": 32, "F": 32}.get(mode, 16 if mode.startswith("I;") else 8)
    values = upright(values, orientation)
    if palette is not None:
        palette = np.ascontiguousarray(upright(palette[0], orientation)), palette[1]
    source = Source(
        path=request.ref.path,
        format=form,
        bits=bits,
        mode=mode,
        height=height,
        width=width,
        slices=frames,
        mislabelled=format_of_name(request.ref.path) not in (None, form),
        orientation=str(orientation) if orientation != 1 else None,
    )
    finished = finish(values, source, request)
    return finished if palette is None else replace(finished, palette=palette)


def size_of(file: BinaryIO, form: str) -> tuple[int, int]:
    """Rows and columns of a PNG or JPEG as stored, by its header."""
    width, height = _opened(file, form).size
    return height, width


def frames_of_animation(file: BinaryIO, form: str) -> int:
    """The number of pictures of a GIF or WebP file."""
    return int(getattr(_OPENERS[form](file), "n_frames", 1))


def _opened(file: BinaryIO, form: str) -> Image.Image:
    """Raises Unreadable for a JPEG of a kind that is not read, which its decoder would call damaged."""
    try:
        return _OPENERS[form](file)
    except Exception:
        file.seek(0)
        what = unusual_jpeg(file.read(_HEADERS)) if form == "jpeg" else None
        if what is None:
            raise
    raise Unreadable(f"is {what}, which is not read: save it as PNG or TIFF of 8 or 16 bits")


def _palette(
    image: Image.Image,
) -> tuple[UInt8[np.ndarray, "height width"], UInt8[np.ndarray, "colours 3"]] | None:
    """The indices of a decoded palette image, and its colours."""
    colours = image.getpalette("RGB")
    if colours is None:
        return None
    return np.array(image, np.uint8), np.array(colours, np.uint8).reshape(-1, 3)


def finish(values: Decoded, source: Source, request: Request) -> MedicalImage:
    """Converts upright decoded values (grey, grey and alpha, RGB or RGBA) to an image in [0, 1]."""
    alpha = None
    if values.ndim == 3 and values.shape[-1] in (2, 4):
        values, alpha = values[..., :-1], values[..., -1]
    pixels, value_range = grey_or_colour(values, source.bits, request)
    if alpha is not None and int(alpha.min()) < (opaque := np.iinfo(alpha.dtype).max):
        opacity = alpha.astype(np.float32) / np.float32(opaque)
        # Black everywhere with a shape cut out: the shape is the picture, as some programs write masks.
        pixels = pixels * opacity if values.any() or alpha.min() == alpha.max() else pixels + opacity
    return MedicalImage(pixels=pixels, spacing=None, source=source, value_range=value_range)


def pillow_values(image: Image.Image) -> tuple[Decoded, str]:
    """Decodes with Pillow: grey, grey and alpha, RGB or RGBA values, and the mode in the file."""
    mode = image.mode
    # A truncated or damaged file raises here.
    image.load()
    if mode == "1":
        return np.asarray(image).astype(np.uint8), mode
    if mode in ("I", "F") or mode.startswith("I;"):
        return np.asarray(image), mode
    if mode in ("LA", "La") or (mode == "L" and image.has_transparency_data):
        wanted = "LA"
    elif image.has_transparency_data:
        wanted = "RGBA"
    else:
        wanted = "L" if mode == "L" else "RGB"
    try:
        return np.asarray(image if mode == wanted else image.convert(wanted)), mode
    except ValueError:
        raise Unreadable(f"its kind of pixel ({mode}) is not supported") from None


def _grey_where_it_is(values: Decoded) -> Shaped[np.ndarray, "height width *channels"]:
    """Reduces red, green and blue to one channel if they are equal everywhere; keeps transparency."""
    if values.ndim == 2 or values.shape[-1] < 3 or bool((values[..., :1] != values[..., 1:3]).any()):
        return values
    return values[..., 0] if values.shape[-1] == 3 else values[..., [0, 3]]


def exif_orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) if missing or invalid."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:
        # EXIF is often invalid, which must not make the image unreadable.
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def webp_size(head: bytes) -> tuple[int, int]:
    """Height and width from the first 30 bytes (RFC 9649, sections 2.5 to 2.7)."""
    kind = head[12:16]
    if len(head) == 30 and kind == b"VP8X":
        width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
    elif len(head) == 30 and kind == b"VP8L":
        packed = int.from_bytes(head[21:25], "little")
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    elif len(head) == 30 and kind == b"VP8 ":
        width, height = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    else:
        raise Unreadable("the WebP data are damaged or incomplete")
    return height, width


def _check_png(file: BinaryIO) -> None:
    """Checks the checksums of the image data, which Pillow does not: a changed byte would go unnoticed."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind != b"IDAT":
            file.seek(length + 4, os.SEEK_CUR)
            continue
        checksum = zlib.crc32(kind)
        while length > 0 and (piece := file.read(min(length, 2**20))):
            checksum = zlib.crc32(piece, checksum)
            length -= len(piece)
        stored = file.read(4)
        if length > 0 or len(stored) < 4:
            raise Unreadable("ends too early: the PNG data are truncated")
        if stored != checksum.to_bytes(4, "big"):
            raise Unreadable("the PNG data are damaged (checksum)")


def _deep_colour(file: BinaryIO) -> str | None:
    """The mode of a 16-bit PNG with several samples per pixel, which Pillow would reduce to 8 bits."""
    file.seek(0)
    depth, colour = struct.unpack("BB", file.read(26)[24:])
    return {2: "RGB;16", 4: "LA;16", 6: "RGBA;16"}.get(colour) if depth == 16 else None


def opencv_page(data: bytes, page: int) -> Decoded:
    """Decodes with OpenCV, which keeps 16-bit colour; channels in the order red, green, blue, alpha."""
    import cv2

    raw = np.frombuffer(data, np.uint8)
    logging = cv2.utils.logging
    level = logging.setLogLevel(logging.LOG_LEVEL_SILENT)  # otherwise it writes to the terminal
    try:
        if page:
            done, pages = cv2.imdecodemulti(raw, cv2.IMREAD_UNCHANGED, range=(page, page + 1))
            values = pages[0] if done and pages else None
        else:
            values = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED)
    finally:
        logging.setLogLevel(level)
    if values is None:
        raise Unreadable("its pixel data are damaged or of a kind that is not supported")
    if values.ndim == 3 and values.shape[-1] >= 3:
        order = [2, 1, 0, 3][: values.shape[-1]]
        values = values[..., order]
    return values
