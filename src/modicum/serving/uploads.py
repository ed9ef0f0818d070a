"""Files of a request: written to a private folder as they come, counted while they are read, checked before anything
of them is decoded."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from modicum.data.readers import declared_size
from modicum.data.readers.content import format_of_name
from modicum.errors import BrokenImageError
from modicum.serving.limits import Limits, Refused

ENDINGS = {"png": ".png", "jpeg": ".jpg", "tiff": ".tif", "dicom": ".dcm", "nifti": ".nii"}
_LONGEST_NAME = 120
_HEADER_BYTES = 8192
_REMEDY = "send PNG, JPEG, TIFF, DICOM or NIfTI"


@dataclass(frozen=True)
class Upload:
    """One file of a request.

    Attributes:
        name: as the client calls it, made harmless.
        path: where it is.
        format: of its content; empty for one that cannot be used.
        slices: how many it has; see :class:`modicum.data.readers.declared.Declared`.
        compressed: whether it is a compressed volume.
        error: why it cannot be used, in one line with its name.
    """

    name: str
    path: Path
    format: str = ""
    slices: int = 1
    compressed: bool = False
    error: str | None = None


def harmless(name: str) -> str:
    """A client's file name without folders and without characters that mean something in a path or a reference."""
    last = re.split(r"[/\\]", name)[-1]
    plain = re.sub(r"[^\w .,+=@()-]", "_", last).lstrip(". ").rstrip()
    if len(plain) > _LONGEST_NAME:  # the ending says what it is
        plain = plain[: _LONGEST_NAME - 20] + plain[-20:]
    return plain or "image"


class _FilesOfBody:
    """Callbacks of the multipart parser: each part with a file name becomes a file."""

    def __init__(self, folder: Path, max_files: int) -> None:
        self.folder, self.max_files = folder, max_files
        self.uploads: list[Upload] = []
        self.ended = False
        self._field, self._value, self._disposition = b"", b"", b""
        self._file: IO[bytes] | None = None

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._open,
            "on_part_data": self._write,
            "on_part_end": self.close,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._field, self._value, self._disposition = b"", b"", b""

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]
        self._check_header()

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._check_header()

    def _check_header(self) -> None:
        if len(self._field) + len(self._value) > _HEADER_BYTES:
            raise Refused(400, "malformed", "a part's header is too long; shorten the file's name")

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field, self._value = b"", b""

    def _open(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options:
            return  # a field: there are none
        if len(self.uploads) >= self.max_files:
            raise Refused(
                413,
                "too_many_files",
                f"more than {self.max_files} files in one request; send them in several",
            )
        name = harmless(options[b"filename"].decode("utf-8", "replace"))
        path = self.folder / str(len(self.uploads)) / name
        path.parent.mkdir()
        self._file = path.open("xb")
        self.uploads.append(Upload(name, path))

    def _write(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])

    def close(self) -> None:
        """Closes the file that is being written."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _end(self) -> None:
        self.ended = True


async def received(
    body: AsyncIterator[bytes], content_type: str, length: str | None, folder: Path, limits: Limits
) -> list[Upload]:
    """Writes the files of a multipart body below a folder, piece by piece.

    Args:
        body: pieces as they arrive.
        content_type: header of the request.
        length: header of the request, where there is one.
        folder: exists, and is empty.
        limits: of the server.

    Raises:
        Refused: the body is too large (while it is read), has too many files or none, or is not multipart.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise Refused(
            415,
            "malformed",
            "the body is not multipart/form-data; send files as curl -F files=@image.png does",
        )
    if length is not None and length.isdigit() and int(length) > limits.max_upload:
        raise _too_large(limits)
    files = _FilesOfBody(folder, limits.max_files)
    try:
        parser = MultipartParser(options[b"boundary"], files.callbacks())  # type: ignore[arg-type]
        size = 0
        async for piece in body:
            size += len(piece)
            if size > limits.max_upload:
                raise _too_large(limits)
            parser.write(piece)
        parser.finalize()
    except FormParserError as error:
        raise Refused(400, "malformed", "the multipart body is malformed; send it again") from error
    finally:
        files.close()
    if not files.ended:
        raise Refused(400, "malformed", "the multipart body ends too early; send it again")
    if not files.uploads:
        raise Refused(422, "no_files", "no file in the request; send files as curl -F files=@image.png does")
    return files.uploads


def _too_large(limits: Limits) -> Refused:
    return Refused(
        413,
        "too_large",
        f"the request is larger than {limits.max_upload:,} bytes; send fewer or smaller files (--max-upload)",
    )


def checked(upload: Upload, limits: Limits) -> Upload:
    """The upload with what its header says, or with the reason why it cannot be used."""
    try:
        found = declared_size(upload.path, limits.max_pixels)
    except BrokenImageError as error:
        return replace(upload, error=broken_line(upload.name, error.reason))
    path = upload.path
    if format_of_name(path) in (None, "other", "npz") and path.suffix and not path.suffix[1:].isdigit():
        # The name alone must not make it a table or another data set.
        path = path.rename(path.with_name(path.name + ENDINGS[found.format]))
    with path.open("rb") as file:
        compressed = found.format == "nifti" and file.read(2) == b"\x1f\x8b"
    return replace(upload, path=path, format=found.format, slices=found.slices, compressed=compressed)


def broken_line(name: str, reason: str) -> str:
    """One line for a file that cannot be used: its name, why, and what to do."""
    remedy = "" if ";" in reason else f"; {'send a whole copy of it' if 'truncated' in reason else _REMEDY}"
    return f"{name}: {reason}{remedy}"
