"""PNG, JPEG, TIFF, BMP, WebP and NPZ against Pillow, OpenCV, NumPy and closed forms."""

import io
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from modicum.data.image import ImageRef
from modicum.data.readers import is_image_file, list_images, read_image
from modicum.errors import BrokenImageError, InputError

GREY = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)
DEEP = np.arange(24, dtype=np.uint16).reshape(4, 6) * 100 + 7
DEEP_COLOUR = np.stack([DEEP * 20, 60000 - DEEP, DEEP], axis=-1)


def channels_first(values):
    return values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)


def reason(ref, **options):
    with pytest.raises(BrokenImageError) as raised:
        read_image(ref, **options)
    assert raised.value.__cause__ is None
    return raised.value.reason


def tiff(values, bits, kind=1, white_is_zero=False, order="<", orientation=1):
    """An uncompressed TIFF of one strip, written from the TIFF 6.0 specification."""
    height, width = values.shape[:2]
    samples = 1 if values.ndim == 2 else values.shape[2]
    body = values.astype(values.dtype.newbyteorder(order)).tobytes()
    photometric = 2 if samples > 1 else int(not white_is_zero)
    tags = [
        (256, [width]),
        (257, [height]),
        (258, [bits] * samples),
        (259, [1]),
        (262, [photometric]),
        (273, [0]),
    ]
    tags += [
        (274, [orientation]),
        (277, [samples]),
        (278, [height]),
        (279, [len(body)]),
        (339, [kind] * samples),
    ]
    far = 8 + 2 + 12 * len(tags) + 4
    entries, rest = b"", b""
    strip = far + sum(2 * len(numbers) for _, numbers in tags if len(numbers) > 2)
    for tag, numbers in tags:
        data = struct.pack(f"{order}{len(numbers)}H", *([strip] if tag == 273 else numbers))
        if len(data) > 4:
            data, rest = struct.pack(f"{order}I", far + len(rest)), rest + data
        entries += struct.pack(f"{order}HHI", tag, 3, len(numbers)) + data.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return head + entries + bytes(4) + rest + body


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
@pytest.mark.parametrize("values", [GREY, COLOUR], ids=["grey", "colour"])
def test_eight_bits_are_divided_by_255(tmp_path, suffix, values):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(values).save(path, **({"lossless": True} if suffix == "webp" else {}))
    image = read_image(path)
    expected = channels_first(np.asarray(Image.open(path)))
    assert image.pixels.dtype == np.float32
    assert image.pixels.flags.c_contiguous
    np.testing.assert_array_equal(image.pixels, (expected / np.float32(255)).astype(np.float32))
    assert image.value_range == (0, 255)
    assert image.source.format == suffix
    assert (image.source.height, image.source.width, image.source.bits) == (4, 6, 8)
    assert not image.source.mislabelled


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_is_what_pillow_decodes(tmp_path, mode):
    path = tmp_path / "a.jpg"
    Image.fromarray(COLOUR).convert(mode).save(path)
    expected = Image.open(path) if mode == "L" else Image.open(path).convert("RGB")
    np.testing.assert_allclose(read_image(path).values(), channels_first(np.asarray(expected)), atol=1e-4)


def test_palette_one_bit_and_ycbcr(tmp_path):
    Image.fromarray(COLOUR).quantize(8).save(tmp_path / "p.png")
    expected = np.asarray(Image.open(tmp_path / "p.png").convert("RGB"))
    np.testing.assert_allclose(read_image(tmp_path / "p.png").values(), channels_first(expected), atol=1e-4)
    Image.fromarray(GREY > 100).save(tmp_path / "b.png")
    image = read_image(tmp_path / "b.png")
    np.testing.assert_array_equal(image.pixels[0], GREY > 100)
    assert (image.value_range, image.source.bits, image.source.mode) == ((0, 1), 1, "1")
    Image.fromarray(COLOUR).convert("YCbCr").save(tmp_path / "y.tiff")
    assert read_image(tmp_path / "y.tiff").pixels.shape == (3, 4, 6)


@pytest.mark.parametrize("values", [GREY, COLOUR], ids=["LA", "RGBA"])
@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
def test_transparency_is_composed_on_black(tmp_path, values, suffix):
    alpha = np.broadcast_to(np.array([0, 51, 102, 153, 204, 255], np.uint8), GREY.shape)
    path = tmp_path / f"a.{suffix}"
    layers = np.dstack([values, alpha])
    Image.fromarray(layers).save(path, **({"lossless": True, "exact": True} if suffix == "webp" else {}))
    expected = channels_first(values) / 255 * (alpha / 255)
    if suffix == "webp" and values is GREY:
        expected = np.repeat(expected, 3, axis=0)  # WebP has no grey
    np.testing.assert_allclose(read_image(path).pixels, expected, atol=1e-6)


@pytest.mark.parametrize("colour", [0, 255])
def test_a_shape_cut_out_of_one_colour_is_the_picture(tmp_path, colour):
    """Masks whose drawing lies in the transparency alone, over black or over white."""
    layers = np.full((*GREY.shape, 4), colour, np.uint8)
    layers[..., 3] = np.where(GREY > 100, 255, 0)
    Image.fromarray(layers).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_image(tmp_path / "m.png").pixels, np.stack([GREY > 100] * 3) * 1.0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
def test_exif_orientation_is_applied(tmp_path, orientation, suffix):
    # Where row 0 and column 0 of the stored picture are when it is shown (JEITA CP-3451, table 6).
    turned = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: np.transpose,
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).T,
        8: lambda a: np.rot90(a, 1),
    }
    stored = np.kron([[0, 80, 160], [240, 40, 120]], np.ones((16, 16))).astype(
        np.uint8
    )  # JPEG keeps even blocks
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(stored).save(path, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    image = read_image(path)
    np.testing.assert_allclose(image.pixels[0] * 255, turned[orientation](stored), atol=2)
    assert (image.source.height, image.source.width) == image.pixels.shape[1:]
    assert image.source.orientation == (None if orientation == 1 else str(orientation))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation_of_deep_colour(tmp_path, orientation):
    # OpenCV turns TIFF files by itself but not PNG files.
    turn = {1: 0, 3: 2, 6: -1, 8: 1}[orientation]
    expected = channels_first(np.rot90(DEEP_COLOUR, turn)) / 65535
    (tmp_path / "a.tif").write_bytes(tiff(DEEP_COLOUR, 16, orientation=orientation))
    np.testing.assert_allclose(read_image(tmp_path / "a.tif").pixels, expected, atol=1e-6)
    exif = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    plain = cv2.imencode(".png", DEEP_COLOUR[..., ::-1])[1].tobytes()
    chunk = png_chunk(b"eXIf", exif)
    (tmp_path / "a.png").write_bytes(plain[:33] + chunk + plain[33:])
    np.testing.assert_allclose(read_image(tmp_path / "a.png").pixels, expected, atol=1e-6)


def test_sixteen_bit_colour_keeps_its_bits(tmp_path):
    for suffix in ("png", "tiff"):
        path = tmp_path / f"a.{suffix}"
        cv2.imwrite(str(path), DEEP_COLOUR[..., ::-1])
        image = read_image(path)
        np.testing.assert_allclose(image.values(), channels_first(DEEP_COLOUR), atol=0.01)
        assert image.value_range == (0, 65535)
        assert image.source.bits == 16


def test_sixteen_bit_alpha(tmp_path):
    alpha = np.full((4, 6, 1), 65535 // 3, np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), np.concatenate([DEEP_COLOUR[..., ::-1], alpha], axis=-1))
    expected = channels_first(DEEP_COLOUR) / 65535 / 3
    np.testing.assert_allclose(read_image(tmp_path / "a.png").pixels, expected, atol=1e-6)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_deep_grey_spans_its_own_range_and_can_be_inverted(tmp_path, suffix):
    Image.fromarray(DEEP).save(tmp_path / f"a.{suffix}")
    image = read_image(tmp_path / f"a.{suffix}")
    assert image.value_range == (7, 2307)
    assert (image.pixels.min(), image.pixels.max()) == (0, 1)
    np.testing.assert_allclose(image.values()[0], DEEP, atol=1e-3)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("u2", 1), ("i2", 2), ("u4", 1), ("i4", 2), ("f4", 3), ("f8", 3), ("i1", 2), ("u1", 1)],
)
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_tiff_of_every_number_type(tmp_path, order, dtype, kind, white_is_zero):
    generator = np.random.default_rng(0)
    if kind == 3:
        values = generator.normal(size=(5, 7)).astype(dtype) * 1000
    else:
        ends = np.iinfo(dtype)
        values = generator.integers(ends.min, ends.max, (5, 7), dtype=dtype, endpoint=True)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(values, values.itemsize * 8, kind, white_is_zero, order))
    try:
        image = read_image(path)
    except BrokenImageError:
        assert white_is_zero, "only the rare combinations with inverted values may be refused"
        return
    scale = np.ptp(values.astype(float))
    np.testing.assert_allclose(image.values()[0] / scale, values / scale, atol=2e-6)
    assert (image.value_range[0] > image.value_range[1]) == white_is_zero


def test_float_within_zero_and_one_is_taken_as_it_is(tmp_path):
    Image.fromarray(np.array([[0.25, 0.5]], np.float32)).save(tmp_path / "a.tiff")
    image = read_image(tmp_path / "a.tiff")
    assert image.pixels.tolist() == [[[0.25, 0.5]]]
    assert image.value_range == (0, 1)


def test_not_a_number_and_infinity(tmp_path):
    values = np.array([[np.nan, -np.inf, np.inf, 2, 4, 3]], np.float32)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    image = read_image(tmp_path / "a.tiff")
    assert image.pixels.tolist() == [[[0, 0, 1, 0, 1, 0.5]]]
    assert image.value_range == (2, 4)
    Image.fromarray(values[:, :3]).save(tmp_path / "b.tiff")
    assert "only NaN or infinity" in reason(tmp_path / "b.tiff")


def test_a_constant_image_is_zero_and_can_be_inverted(tmp_path):
    Image.fromarray(np.full((3, 3), 4000, np.uint16)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert not image.pixels.any()
    assert (image.values() == 4000).all()


def test_a_window_is_for_deep_grey(tmp_path):
    Image.fromarray(DEEP).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", window=(1007, 1000))
    np.testing.assert_allclose(image.pixels[0], np.clip((DEEP - 507.0) / 1000, 0, 1), atol=1e-6)
    Image.fromarray(GREY).save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png", window=(10, 5)).value_range == (0, 255)
    with pytest.raises(InputError, match="width 0"):
        read_image(tmp_path / "a.png", window=(10, 0))


def test_pages_of_a_tiff(tmp_path):
    pages = [Image.fromarray(GREY + at) for at in range(3)]
    pages[0].save(tmp_path / "a.tiff", save_all=True, append_images=pages[1:])
    for frame in range(3):
        image = read_image(f"{tmp_path}/a.tiff#frame={frame}")
        np.testing.assert_allclose(image.values()[0], GREY + frame, atol=1e-4)
    assert image.source.slices == 3
    assert reason(f"{tmp_path}/a.tiff#frame=3") == "frame 3 was requested, but it has 3 (0 to 2)"
    assert "does not apply" in reason(f"{tmp_path}/a.tiff#axis=0")
    cv2.imwritemulti(str(tmp_path / "b.tiff"), [DEEP_COLOUR[..., ::-1], DEEP_COLOUR[::-1, ..., ::-1]])
    second = read_image(f"{tmp_path}/b.tiff#frame=1")
    np.testing.assert_allclose(second.values(), channels_first(DEEP_COLOUR[::-1]), atol=0.01)


def test_reduced_decoding_stays_at_or_above_what_was_asked(tmp_path):
    smooth = np.add.outer(np.arange(800) / 8, np.arange(1200) / 8).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    image = read_image(tmp_path / "a.jpg", at_least=(100, 250))
    assert image.pixels.shape == (1, 200, 300)
    assert (image.source.height, image.source.width) == (800, 1200)
    averaged = smooth.reshape(200, 4, 300, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(image.values()[0], averaged, atol=2)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth).save(tmp_path / "turned.jpg", exif=exif)
    turned = read_image(tmp_path / "turned.jpg", at_least=(250, 100))
    assert turned.pixels.shape == (1, 300, 200)
    assert (turned.source.height, turned.source.width) == (1200, 800)
    assert read_image(tmp_path / "a.jpg", at_least=(801, 10)).pixels.shape == (1, 800, 1200)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "?"])
@pytest.mark.parametrize("sides", [(4, 6), (4, 6, 3), (4, 6, 1)])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_items(tmp_path, dtype, sides, save):
    array = (np.random.default_rng(0).random((5, *sides)) * 200).astype(dtype)
    path = tmp_path / "data.npz"
    save(path, train_images=array, train_labels=np.zeros((5, 1)))
    for repeat in range(2):
        image = read_image(f"{path}#array=train_images&index={3 - repeat}")
        expected = channels_first(array[3 - repeat].astype(np.float64))
        np.testing.assert_allclose(image.values(), expected, atol=1e-4)
    assert (image.source.format, image.source.slices) == ("npz", 5)
    assert reason(f"{path}#array=train_images&index=5").startswith("index 5 was requested")
    assert reason(f"{path}#array=val_images&index=0").startswith("has no array 'val_images'")
    assert "holds several arrays" in reason(f"{path}#index=0")
    assert "name one of them" in reason(f"{path}#array=train_images")


def test_npz_large_arrays_are_read_item_by_item(tmp_path, monkeypatch):
    from modicum.data.readers import arrays

    monkeypatch.setattr(arrays, "KEEP_BYTES", 10)
    array = np.random.default_rng(0).integers(0, 256, (50, 9, 7), dtype=np.uint8)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", x=array)
        for index in (0, 17, 49):
            np.testing.assert_allclose(
                read_image(f"{tmp_path}/a.npz#index={index}").values()[0], array[index], atol=1e-4
            )


def test_npz_never_unpickles(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    np.savez(tmp_path / "a.npz", x=np.array([Trap()] * 3, dtype=object).reshape(1, 3, 1))
    assert "no plain numbers" in reason(f"{tmp_path}/a.npz#index=0")
    assert not (tmp_path / "executed").exists()


def test_npz_is_decompressed_once_and_again_when_it_changes(tmp_path, monkeypatch):
    from modicum.data.readers import arrays

    calls = []
    whole = arrays._whole
    monkeypatch.setattr(arrays, "_whole", lambda *given: calls.append(1) or whole(*given))
    path = tmp_path / "a.npz"
    first = np.zeros((20, 8, 8), np.uint8)
    np.savez_compressed(path, x=first)
    monkeypatch.setattr("modicum.data.readers.recent.time.time_ns", lambda: 2**62)  # long after
    for index in range(20):
        assert not read_image(f"{path}#index={index}").pixels.any()
    assert len(calls) == 1
    np.savez_compressed(path, x=first + 255)
    assert read_image(f"{path}#index=0").pixels.all()


def test_names_and_listing(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / ".cache").mkdir()
    for name in (
        "z.PNG",
        "b/a.nii.gz",
        "b/c.jpeg",
        "notes.txt",
        ".hidden.png",
        ".cache/x.png",
        "data.npz",
        "plain",
    ):
        (tmp_path / name).touch()
    (tmp_path / "b" / "1.2.840.113").write_bytes(bytes(128) + b"DICM" + bytes(20))
    (tmp_path / "b" / "round").symlink_to(tmp_path, target_is_directory=True)
    found = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert found == ["b/1.2.840.113", "b/a.nii.gz", "b/c.jpeg", "z.PNG"]
    assert is_image_file(tmp_path / "x.TIFF")


def test_mislabelled_files_are_read_by_content_and_marked(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    for name, wrong in (("a.jpg", True), ("a.dcm", True), ("a.gif", True), ("a", False), ("a.0001", False)):
        (tmp_path / name).write_bytes(data)
        source = read_image(tmp_path / name).source
        assert (source.format, source.mislabelled) == ("png", wrong), name


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty (0 bytes)"),
        (b"<!DOCTYPE html><html>no such page</html>", "is an HTML page, not an image (a failed download?)"),
        (b"image,label\na.png,1\n", "is a text file, not an image"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer, not the image itself"),
        (bytes(1000), "holds only zero bytes (an interrupted copy?)"),
        (b"GIF89a" + bytes(100), "the GIF data are damaged or incomplete"),
        (b"\x9c\x3a\x07\xe1".join([b"\x01\x02", b"\xf0" * 50]), "is not of a known image format"),
    ],
)
def test_files_that_are_no_images_say_what_they_are(tmp_path, content, expected):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    assert reason(path).startswith(expected)


def test_what_is_no_readable_file(tmp_path, monkeypatch):
    assert reason(tmp_path / "absent.png") == "file not found"
    assert reason(tmp_path) == "is a folder, not a file"
    os.mkfifo(tmp_path / "pipe.png")
    assert reason(tmp_path / "pipe.png") == "is not a regular file"
    assert reason("nul\0.png") == "its name is not usable on this system"
    assert "cannot be read from disk" in reason("x" * 5000)
    Image.fromarray(GREY).save(tmp_path / "a.png")

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("modicum.data.readers.Path.open", refused)
    assert reason(tmp_path / "a.png") == "permission denied"


def test_the_error_carries_the_reference_as_the_manifest_gives_it(tmp_path):
    with pytest.raises(BrokenImageError) as raised:
        read_image(ImageRef.parse("sub/absent.png", tmp_path))
    assert raised.value.image == "sub/absent.png"


@pytest.mark.parametrize("suffix", ["png", "jpeg", "tiff", "bmp", "webp"])
def test_decompression_bombs_are_refused_by_their_header(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.new("L", (1000, 800)).save(path)
    assert reason(path, max_pixels=799_999).startswith("declares 800 x 1000 = 800,000 pixels")
    assert read_image(path, max_pixels=800_000).source.width == 1000


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_a_header_of_ten_billion_pixels_is_enough(tmp_path):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0))
    data = png_chunk(b"IDAT", zlib.compress(bytes(100))) + png_chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + data)
    assert "10,000,000,000 pixels, more than the 300,000,000 allowed" in reason(tmp_path / "a.png")


def test_warnings_of_decoders_do_not_reach_the_user_and_filters_are_as_before(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # 24 pixels: Pillow would warn
    Image.fromarray(GREY).save(tmp_path / "a.tiff")
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(tmp_path / "a.tiff")
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert read_image(tmp_path / "a.tiff").source.width == 6
    assert not seen
    assert warnings.filters == before


def test_threads_leave_the_warning_filters_as_they_were(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda _: read_image(tmp_path / "a.png"), range(200)))
    assert all(np.array_equal(image.pixels, images[0].pixels) for image in images)
    assert warnings.filters == before


@pytest.mark.parametrize("suffix", ["png", "jpeg", "tiff", "bmp"])
def test_truncated_files(tmp_path, suffix):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, suffix.upper())
    path = tmp_path / f"a.{suffix}"
    for share in (0.3, 0.6, 0.9):
        path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * share)])
        assert "truncated" in reason(path) or "incomplete" in reason(path)


def test_real_ct_and_mr_slices_are_not_nearly_black(real_images):
    for path in list_images(real_images("ct_mr_slices")):
        image = read_image(path)
        expected = np.asarray(Image.open(path))
        np.testing.assert_allclose(image.values()[0], expected, atol=1e-2)
        assert image.pixels.max() == 1
        assert image.pixels.mean() > 0.05


def test_real_radiographs_are_all_readable_as_pillow_reads_them(real_images):
    paths = list_images(real_images("cxr_covid") / "images")
    assert len(paths) == 441
    for path in paths:
        image = read_image(path)
        with Image.open(path) as other:
            assert image.pixels.shape == (1, other.height, other.width)
            if path.stem[-1] in "05":
                np.testing.assert_array_equal(image.pixels[0], np.asarray(other) / np.float32(255))


def test_real_high_resolution_photograph_at_a_quarter(real_images):
    path = real_images("fundus_hrf") / "full_resolution" / "01_h.jpg"
    small = read_image(path, at_least=(512, 512))
    assert small.pixels.shape == (3, 584, 876)
    full = read_image(path).pixels.reshape(3, 584, 4, 876, 4).mean(axis=(2, 4))
    assert np.abs(small.pixels - full).mean() < 0.004
