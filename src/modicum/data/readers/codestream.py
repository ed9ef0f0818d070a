"""Reads the size of a compressed image from its first bytes, without decoding it.

A damaged or hostile JPEG 2000 stream of three kilobytes can declare billions of pixels, and its decoder would
allocate them, whatever the DICOM header around it declares.
"""


def declared_size(data: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and samples a pixel of a JPEG, JPEG-LS or JPEG 2000 stream; None if not found."""
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    start = data.find(b"\xff\x4f\xff\x51", 0, 4096)  # after the boxes of a JP2 file, if any
    return _jpeg_2000(data[start:]) if start >= 0 else None


def _jpeg(data: bytes) -> tuple[int, int, int] | None:
    """From the frame header: T.81 section B.2.2, T.87 section C.2.2 for JPEG-LS."""
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill bytes
            at += 1
            continue
        is_frame = 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)
        if is_frame or marker == 0xF7:
            height, width = (int.from_bytes(data[at + step : at + step + 2], "big") for step in (5, 7))
            return height, width, data[at + 9]
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _jpeg_2000(data: bytes) -> tuple[int, int, int] | None:
    """From the SIZ marker segment: T.800 section A.5.1."""
    if len(data) < 42:
        return None
    right, bottom, left, top = (int.from_bytes(data[at : at + 4], "big") for at in (8, 12, 16, 20))
    return bottom - top, right - left, int.from_bytes(data[40:42], "big")
