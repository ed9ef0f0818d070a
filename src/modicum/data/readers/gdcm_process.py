"""Runs GDCM in a separate process.

GDCM is the only available decoder for JPEG Lossless and JPEG-LS, and it crashes the whole process (abort or
segmentation fault) on many damaged files. So it runs in a helper process, started on first use and reused
for further files; when it crashes, only the current file is broken.

Run as ``python -m modicum.data.readers.gdcm_process`` this module is that helper: it reads a line of JSON (path,
frame), and writes a line of JSON (shape and dtype, or an error), followed by the values.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from modicum.data.readers.request import Unreadable

_SECONDS = 120  # for one frame; damaged data can cause endless loops in a decoder
_lock = threading.Lock()
_helper: subprocess.Popen | None = None
_registered = False


def decode(path: Path, frame: int) -> Shaped[np.ndarray, "height width *samples"]:
    """Decodes the stored values of one frame of a DICOM file, colours as RGB.

    Raises:
        Unreadable: GDCM cannot decode it, or crashed; the reason is ``does not support`` or ``damaged``.
    """
    with _lock:
        helper: Any = _running()
        watch = threading.Timer(_SECONDS, helper.kill)
        watch.start()
        try:
            helper.stdin.write(json.dumps([os.fspath(path.absolute()), frame]).encode() + b"\n")
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
        path, frame = json.loads(line)
        try:
            values = pixel_array(pydicom.dcmread(path, force=True), index=frame, decoding_plugin="gdcm")
        except Exception as error:
            kind = "does not support" if "does not support" in str(error) else "damaged"
            out.write(json.dumps({"error": kind}).encode() + b"\n")
        else:
            values = np.ascontiguousarray(values)
            out.write(json.dumps({"shape": values.shape, "dtype": values.dtype.str}).encode() + b"\n")
            out.write(values.data.cast("B"))
        out.flush()


if __name__ == "__main__":
    _serve()
