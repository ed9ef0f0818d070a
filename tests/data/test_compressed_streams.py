"""Compressed pixel data that are not what is said of them, and JPEG files of other kinds: named, never "damaged"."""

import io

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, get_frame

from modicum.data.readers import read_image
from modicum.data.readers.codestream import declared_size, stream_kind, unusual_jpeg
from modicum.errors import BrokenImageError

J2K, LS, LOSSLESS = "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "SC_rgb_jpeg_gdcm"
BASELINE, TWELVE = "SC_rgb_small_odd_jpeg", "JPGExtended"
UID = pydicom.uid


def dataset(name):
    path = get_testdata_file(f"{name}.dcm", download=False)
    if path is None:
        pytest.skip(f"this pydicom has no packaged {name}")
    return pydicom.dcmread(path)


def stream(name):
    return get_frame(dataset(name).PixelData, 0, number_of_frames=1)


def reason(path):
    with pytest.raises(BrokenImageError) as raised:
        read_image(path)
    return raised.value.reason


@pytest.mark.parametrize(
    ("name", "syntax", "is_kind"),
    [
        (J2K, UID.JPEGBaseline8Bit, "JPEG 2000"),  # Pillow makes a black picture of it
        (J2K, UID.JPEGLSLossless, "JPEG 2000"),
        (J2K, UID.JPEGLosslessSV1, "JPEG 2000"),
        (LS, UID.JPEG2000Lossless, "JPEG-LS"),
        (LS, UID.JPEGExtended12Bit, "JPEG-LS"),
        (LOSSLESS, UID.JPEG2000, "JPEG"),
        (BASELINE, UID.JPEGLSNearLossless, "JPEG"),
        (BASELINE, UID.HTJ2KLossless, "JPEG"),
        (TWELVE, UID.JPEGBaseline8Bit, "a JPEG of 12 bits a sample"),
    ],
)
def test_a_stream_of_another_kind_than_its_syntax_is_named(tmp_path, name, syntax, is_kind):
    ds = dataset(name)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(tmp_path / "a.dcm")
    said = reason(tmp_path / "a.dcm")
    assert said.startswith(f"its pixel data are {is_kind}, its transfer syntax says '{syntax.name}'")
    assert "damaged" not in said


@pytest.mark.parametrize(
    ("name", "syntax"),
    [
        (LOSSLESS, UID.JPEGBaseline8Bit),
        (BASELINE, UID.JPEGExtended12Bit),
        (BASELINE, UID.JPEGLosslessSV1),
        (J2K, UID.JPEG2000),
        (LS, UID.JPEGLSNearLossless),
    ],
)
def test_syntaxes_of_one_family_read_the_same(tmp_path, name, syntax):
    pytest.importorskip("gdcm", reason="needs the extra 'dicom'")
    ds = dataset(name)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(tmp_path / "a.dcm")
    expected = read_image(get_testdata_file(f"{name}.dcm", download=False)).pixels
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm").pixels, expected)


@pytest.mark.parametrize(("name", "kind"), [(J2K, "JPEG 2000"), (LS, "JPEG-LS"), (LOSSLESS, "JPEG")])
def test_fragments_under_an_uncompressed_syntax_are_named(tmp_path, name, kind):
    """Some tools decompress the header alone."""
    uncompressed = dataset("MR_small")
    uncompressed.PixelData = encapsulate([stream(name)[:4000]])
    uncompressed.save_as(tmp_path / "a.dcm")
    assert (
        reason(tmp_path / "a.dcm")
        == f"its pixel data are {kind}, its transfer syntax says 'Explicit VR Little Endian' (uncompressed)"
    )


@pytest.mark.parametrize(
    ("name", "what"),
    [
        (TWELVE, "a JPEG of 12 bits a sample"),
        (LS, "a JPEG-LS image of 16 bits"),
        ("JPEGLSNearLossless_08", "a JPEG-LS image of 8 bits"),
    ],
)
@pytest.mark.parametrize("suffix", [".jpg", ".jls", ".png"])
def test_jpeg_files_of_kinds_that_are_not_read_are_not_damaged(tmp_path, name, what, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(stream(name))
    assert reason(path) == f"is {what}, which is not read: save it as PNG or TIFF of 8 or 16 bits"


def encoded(**options):
    data = io.BytesIO()
    Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64).astype(np.uint8)).save(
        data, "JPEG", **options
    )
    return data.getvalue()


def test_what_is_damaged_is_said_to_be(tmp_path):
    whole = encoded()
    for name, data, said in (
        ("half.jpg", whole[: len(whole) // 2], "truncated"),
        ("endless.jpg", whole[:-2], "truncated"),
        ("header.jpg", whole[:150], "truncated"),
    ):
        (tmp_path / name).write_bytes(data)
        assert said in reason(tmp_path / name)
    ds = dataset(J2K)
    ds.PixelData = encapsulate([bytes(64)])
    ds.save_as(tmp_path / "a.dcm")
    assert "missing, damaged or incomplete" in reason(tmp_path / "a.dcm")


@pytest.mark.parametrize(
    ("data", "kind", "unusual"),
    [
        (encoded(), "JPEG", None),
        (encoded(progressive=True), "JPEG", None),
        (encoded(exif=Image.Exif().tobytes() + bytes(60000)), "JPEG", None),
        (b"\0\0\0\x0cjP  \r\n", "JPEG 2000", None),
        (b"\xff\xd8\xff\xe0", "JPEG", None),
        (b"RIFF", None, None),
        (b"", None, None),
    ],
    ids=["baseline", "progressive", "long EXIF", "JP2 box", "header alone", "other", "nothing"],
)
def test_kinds_of_streams_by_their_first_bytes(data, kind, unusual):
    assert stream_kind(data) == kind
    assert unusual_jpeg(data) == unusual
    if len(data) > 1000:
        assert declared_size(data) == (64, 64, 1)


def tiff(compression):
    """An uncompressed TIFF that says it is compressed in some way."""
    data = io.BytesIO()
    Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64).astype(np.uint8)).save(data, "TIFF")
    changed = bytearray(data.getvalue())
    start = int.from_bytes(changed[4:8], "little")
    for entry in range(int.from_bytes(changed[start : start + 2], "little")):
        at = start + 2 + 12 * entry
        if int.from_bytes(changed[at : at + 2], "little") == 259:
            changed[at + 8 : at + 10] = compression.to_bytes(2, "little")
    return bytes(changed)


@pytest.mark.parametrize(
    ("compression", "name"),
    [(50001, "WebP"), (34887, "LERC"), (33005, "JPEG 2000"), (50002, "JPEG XL"), (22610, "JPEG XR")],
)
def test_compressions_of_tiff_that_nobody_reads_are_named(tmp_path, compression, name):
    (tmp_path / "a.tif").write_bytes(tiff(compression))
    assert f"is a TIFF whose pixels are compressed as {name}, which no installed" in reason(
        tmp_path / "a.tif"
    )
    (tmp_path / "b.tif").write_bytes(tiff(1))
    assert read_image(tmp_path / "b.tif").pixels.shape == (1, 64, 64)
