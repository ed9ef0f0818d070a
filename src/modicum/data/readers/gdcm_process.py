"""Decoders that may die of a file (GDCM, CharLS), in a process of their own.

GDCM is the only available decoder for JPEG Lossless and JPEG-LS, and it crashes the whole process (abort or
segmentation fault) on many damaged files. So it runs in a helper process, started on first use and reused
for further files; when it crashes, only the current file is broken.

GDCM's own file reader is asked besides its plugin in pydicom, which declines what it takes GDCM to be unable to do
(JPEG Extended of 10 and 12 bits).

Run as ``python -m modicum.data.readers.gdcm_process`` this module is that helper: a line of JSON in (path,
frame, decoder), a line of JSON out (shape and dtype, or an error), followed by the values.
"""

import atexit
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Shaped

from modicum.data.readers.request import Unreadable

WHOLE_FILE = "gdcm's own reader"
UNSUPPORTED = re.compile(r"does not support|are supported|sample\s+precision of|cannot decode .* correctly")
"""How pydicom's plugins say that they cannot do something, as against that something is wrong with the data."""
_SECONDS = 120  # for one frame; damaged data can send a decoder round in circles
_lock = threading.Lock()
_helper: subprocess.Popen | None = None
_registered = False


DECODERS = ("gdcm", "pyjpegls", WHOLE_FILE)


@contextmanager
def on_disk(file: BinaryIO, path: Path) -> Iterator[Path]:
    """Where a decoder in another process finds an open file's content: its path, or a copy of one in memory."""
    if not isinstance(file, io.BytesIO):
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="modicum-", suffix=".dcm") as copy:
        copy.write(file.getvalue())
        copy.flush()
        yield Path(copy.name)


def decode(path: Path, frame: int, decoder: str = "gdcm") -> Shaped[np.ndarray, "height width *samples"]:
    """The stored values of one frame of a DICOM file, colours as RGB.

    Args:
        path: the file.
        frame: which of its frames.
        decoder: one of ``DECODERS``.

    Raises:
        Unreadable: it cannot be decoded so, or the decoder died of it; the reason is ``does not support`` or ``damaged``.
    """
    with _lock:
        helper: Any = _running()
        watch = threading.Timer(_SECONDS, helper.kill)
        watch.start()
        try:
            helper.stdin.write(json.dumps([os.fspath(path.absolute()), frame, decoder]).encode() + b"\n")
            helper.stdin.flush()
            answer = json.loads(helper.stdout.readline() or "{}")
            if "shape" in answer:
                values = np.empty(answer["shape"], answer["dtype"])
                if helper.stdout.readinto(values.data.cast("B")) == values.nbytes:
                    return values
        except (OSError, ValueError):
            answer = {}
        finally:
            watch.cancel()
    if "error" not in answer:
        stop()
    raise Unreadable(answer.get("error", "damaged"))


def _running() -> subprocess.Popen:
    global _helper, _registered
    if not _registered:
        atexit.register(stop)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_forget)
        _registered = True
    if _helper is None or _helper.poll() is not None:
        _helper = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    return _helper


def stop() -> None:
    """Stops the helper process; the next file starts another."""
    global _helper
    with _lock:
        if _helper is not None:
            _helper.kill()
            _helper.communicate()
            _helper = None


def _forget() -> None:
    """Resets the state in a forked process, such as a data loader's: helper and lock belong to the parent."""
    global _helper, _lock
    _helper, _lock = None, threading.Lock()


def _serve() -> None:
    """Main loop of the helper: answers requests until its input ends."""
    import warnings

    warnings.simplefilter("ignore")
    import pydicom
    from pydicom.pixels import pixel_array

    # Output of libraries must not mix with the answers.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        path, frame, decoder = json.loads(line)
        try:
            if decoder == WHOLE_FILE:
                values = _by_gdcm_alone(path, frame)
            else:
                values = pixel_array(pydicom.dcmread(path, force=True), index=frame, decoding_plugin=decoder)
        except Exception as error:
            kind = "does not support" if UNSUPPORTED.search(str(error)) else "damaged"
            out.write(json.dumps({"error": kind}).encode() + b"\n")
        else:
            values = np.ascontiguousarray(values)
            out.write(json.dumps({"shape": values.shape, "dtype": values.dtype.str}).encode() + b"\n")
            out.write(values.data.cast("B"))
        out.flush()


def _by_gdcm_alone(path: str, frame: int) -> Shaped[np.ndarray, "height width"]:
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(path)
    if not reader.Read():
        raise ValueError("damaged")
    image = reader.GetImage()
    form = image.GetPixelFormat()
    if form.GetSamplesPerPixel() != 1:
        raise NotImplementedError("does not support colour")
    kind = "i" if form.GetPixelRepresentation() else "u"
    values = np.frombuffer(
        image.GetBuffer().encode("utf-8", "surrogateescape"), f"{kind}{form.GetBitsAllocated() // 8}"
    )
    width, height = image.GetDimension(0), image.GetDimension(1)
    return values.reshape(-1, height, width)[frame]


if __name__ == "__main__":
    _serve()
