"""What is known of each image before any training: its file, its size, its grey levels, a thumbnail.

Each file is read once. Images that cannot be read are collected, not raised, so that a scan always comes to its end.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, UInt8

from modicum.data.image import ImageRef, MedicalImage
from modicum.data.processes import in_processes
from modicum.data.readers import read_image
from modicum.data.resize import resized
from modicum.errors import BrokenImageError
from modicum.progress import bar

THUMBNAIL = 32
# A JPEG is decoded at no more than about this size: the statistics hardly change, and it takes a fifth of the time.
DECODED_SIDE = 256
FEW = 100  # images; for fewer, starting processes takes longer than reading
_MOST_VALUES = 100_000
_Bytes = bytes  # the name is a field below
_REC_601 = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class ImageFacts:
    """One image, without its pixels.

    Attributes:
        ref: the image's reference as the manifest gives it.
        sha256: of the file's content; for a part of a file, of the file's hash and the part.
        bytes: size of the file.
        format, bits, mode, height, width, slices, mislabelled: see :class:`modicum.data.image.Source`.
        mean, std: of the grey levels, in [0, 1].
        low, high: their 1st and 99th percentile.
        spacing: millimetres between rows and between columns, or None where not known.
        thumbnail: 32 x 32 grey levels of 8 bits, row by row, each the mean over its area.
    """

    ref: str
    sha256: str
    bytes: int
    format: str
    bits: int
    mode: str
    height: int
    width: int
    slices: int
    mislabelled: bool
    mean: float
    std: float
    low: float
    high: float
    spacing: tuple[float, float] | None
    thumbnail: _Bytes


@dataclass(frozen=True)
class KnownFacts:
    """Facts from an earlier scan, and the time at which the file had last changed (nanoseconds)."""

    facts: ImageFacts
    mtime_ns: int


@dataclass(frozen=True)
class ScanResult:
    """What a scan found.

    Attributes:
        facts: of the readable images, in the order asked.
        broken: the others, with reasons, in the order asked.
        mtimes_ns: times of change of the files, by reference; empty where the facts come from elsewhere.
    """

    facts: list[ImageFacts]
    broken: list[BrokenImageError]
    mtimes_ns: dict[str, int] = field(default_factory=dict)


def scan(
    refs: Sequence[ImageRef], workers: int | None = None, known: Mapping[str, KnownFacts] | None = None
) -> ScanResult:
    """Reads every image once.

    Args:
        refs: the images. One that stands there twice is read once.
        workers: processes; 0 for this one, None for as many as there are processors, or 0 for few images.
        known: what :func:`modicum.data.facts_file.load_facts` gave; files that have not changed since are not read.
    """
    known = known or {}
    unique = list({str(ref): ref for ref in refs}.values())
    answers: dict[str, KnownFacts | BrokenImageError] = {}
    for ref in unique:
        earlier = known.get(str(ref))
        if earlier is not None and _state(ref.path) == (earlier.facts.bytes, earlier.mtime_ns):
            answers[str(ref)] = earlier
    todo = [ref for ref in unique if str(ref) not in answers]
    with bar("Reading images", len(todo)) as shown:
        found = in_processes(facts_of_file, todo, _workers(workers, len(todo)), _lost)
        for ref, answer in zip(todo, found, strict=True):
            answers[str(ref)] = answer
            shown.advance()
    result = ScanResult([], [])
    for ref in refs:
        answer = answers[str(ref)]
        if isinstance(answer, BrokenImageError):
            result.broken.append(answer)
        else:
            result.facts.append(answer.facts)
            result.mtimes_ns[str(ref)] = answer.mtime_ns
    return result


def facts_of_file(ref: ImageRef) -> KnownFacts | BrokenImageError:
    """The facts of one image; one that cannot be read is an answer too."""
    try:
        image = read_image(ref, at_least=(DECODED_SIDE, DECODED_SIDE))
        state = _state(ref.path)
        if state is None:
            raise BrokenImageError(str(ref), "file not found")
        size, mtime_ns = state
        digest = _file_sha256(ref.path, size, mtime_ns)
        return KnownFacts(facts_of(image, str(ref), digest, size), mtime_ns)
    except BrokenImageError as error:
        return error
    except MemoryError:
        return BrokenImageError(str(ref), "needs more memory to decode than there is")
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "input/output error"
        return BrokenImageError(str(ref), f"cannot be read from disk ({reason})")


def facts_of(image: MedicalImage, ref: str, file_sha256: str, file_bytes: int) -> ImageFacts:
    """The facts of an image that was read (at reduced size too: see :func:`read_image`'s ``at_least``).

    Args:
        image: the image.
        ref: its reference in the manifest.
        file_sha256: of the content of its file, as a hexadecimal number.
        file_bytes: size of the file.
    """
    part = str(ImageRef.parse(ref)).removeprefix(ImageRef.parse(ref).path.as_posix())
    digest = hashlib.sha256((file_sha256 + part).encode()).hexdigest() if len(part) > 1 else file_sha256
    grey = grey_levels(image.pixels)
    # Evenly spaced values of a large image give the same percentiles, sooner.
    few = grey.ravel()[:: max(1, grey.size // _MOST_VALUES)]
    low, high = np.percentile(few, (1, 99))
    source = image.source
    return ImageFacts(
        ref=ref,
        sha256=digest,
        bytes=file_bytes,
        format=source.format,
        bits=source.bits,
        mode=source.mode,
        height=source.height,
        width=source.width,
        slices=source.slices,
        mislabelled=source.mislabelled,
        mean=float(grey.mean(dtype=np.float64)),
        std=float(grey.std(dtype=np.float64)),
        low=float(low),
        high=float(high),
        spacing=image.spacing,
        thumbnail=picture_of(grey, THUMBNAIL).tobytes(),
    )


def grey_levels(pixels: Float[np.ndarray, "channels height width"]) -> Float32[np.ndarray, "height width"]:
    """Brightness in [0, 1]; of a colour image by the weights of ITU-R BT.601."""
    if len(pixels) == 3:
        return np.tensordot(_REC_601, pixels.astype(np.float32, copy=False), 1)
    return pixels.mean(0, dtype=np.float32) if len(pixels) > 1 else pixels[0].astype(np.float32, copy=False)


def picture_of(grey: Float32[np.ndarray, "height width"], side: int) -> UInt8[np.ndarray, "{side} {side}"]:
    """A square picture of 8 bits, each pixel the mean over its area; the aspect ratio is not kept."""
    return np.rint(255 * np.clip(resized(grey[None], side, side)[0], 0, 1)).astype(np.uint8)


def _workers(asked: int | None, images: int) -> int:
    if asked is not None:
        return asked
    return 0 if images < FEW else len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4


def _state(path: Path) -> tuple[int, int] | None:
    """Size and time of change: what tells that a file is the same as before."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=64)
def _file_sha256(path: Path, size: int, mtime_ns: int) -> str:
    """SHA-256 of a file's content; remembered, as the parts of a file follow each other."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lost(ref: ImageRef) -> BrokenImageError:
    return BrokenImageError(
        str(ref), "decoding it ended the process (out of memory, or a crash in a decoder)"
    )
