"""Reads the size and the kind of a compressed image from its first bytes, without decoding it.

A damaged or hostile JPEG 2000 stream of three kilobytes can declare billions of pixels, and its decoder would
allocate them, whatever the DICOM header around it declares.
"""

_JP2_BOX = b"\0\0\0\x0cjP  "


def declared_size(data: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and samples a pixel of a JPEG, JPEG-LS or JPEG 2000 stream; None if not found."""
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    start = data.find(b"\xff\x4f\xff\x51", 0, 4096)  # after the boxes of a JP2 file, if any
    return _jpeg_2000(data[start:]) if start >= 0 else None


def stream_kind(data: bytes) -> str | None:
    """``JPEG``, ``JPEG-LS`` or ``JPEG 2000``, by how a stream begins; None for anything else."""
    if data.startswith(_JP2_BOX) or data.startswith(b"\xff\x4f\xff\x51"):
        return "JPEG 2000"
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    return "JPEG-LS" if _frame_header(data)[:1] == b"\xf7" else "JPEG"


def unusual_jpeg(data: bytes) -> str | None:
    """What a JPEG file is whose kind usual decoders do not read, in words; None for others.

    By its frame header: usual ones have 8 bits a sample (T.81, table B.2).
    """
    header = _frame_header(data)
    if len(header) < 4:
        return None
    marker, bits = header[0], header[3]
    if marker == 0xF7:
        return f"a JPEG-LS image of {bits} bits"
    return f"a JPEG of {bits} bits a sample" if bits != 8 else None


def _frame_header(data: bytes) -> bytes:
    """From the second byte of a JPEG stream's frame marker on; empty where there is none."""
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill bytes
            at += 1
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return data[at + 1 :]
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return b""


def _jpeg(data: bytes) -> tuple[int, int, int] | None:
    """From the frame header: T.81 section B.2.2, T.87 section C.2.2 for JPEG-LS."""
    header = _frame_header(data)
    if not header:
        return None
    height, width = (int.from_bytes(header[at : at + 2], "big") for at in (4, 6))
    return height, width, header[8]


def _jpeg_2000(data: bytes) -> tuple[int, int, int] | None:
    """From the SIZ marker segment: T.800 section A.5.1."""
    if len(data) < 42:
        return None
    right, bottom, left, top = (int.from_bytes(data[at : at + 4], "big") for at in (8, 12, 16, 20))
    return bottom - top, right - left, int.from_bytes(data[40:42], "big")
