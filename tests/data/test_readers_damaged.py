"""Whatever happens to a file, it is read as a valid image or reported as broken; nothing else, and no crash."""

import gzip
import io
import random
from contextlib import suppress
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pydicom
import pytest
from jaxtyping import TypeCheckError
from PIL import Image

from modicum.data.layouts.npz import is_array_data, read_npz
from modicum.data.readers import read_image
from modicum.errors import BrokenImageError, InputError

GENERATOR = np.random.default_rng(0)
GREY = GENERATOR.integers(0, 256, (24, 31), dtype=np.uint8)
COLOUR = GENERATOR.integers(0, 256, (24, 31, 3), dtype=np.uint8)
DEEP = GENERATOR.integers(0, 65536, (24, 31), dtype=np.uint16)
VOLUME = nib.Nifti1Image(GENERATOR.normal(size=(7, 8, 9)).astype(np.float32), np.diag([1, 2, 3, 1]))


def by_pillow(values, suffix, **options):
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, suffix, **options)
    return buffer.getvalue()


def by_numpy(save):
    buffer = io.BytesIO()
    save(buffer, x=np.stack([GREY] * 3))
    return buffer.getvalue()


def packaged(name):
    path = Path(pydicom.__file__).parent / "data" / "test_files" / f"{name}.dcm"
    return path.read_bytes() if path.exists() else pytest.skip(f"this pydicom has no packaged {name}")


MADE = {
    "grey.png": lambda: by_pillow(GREY, "PNG"),
    "deep.png": lambda: by_pillow(DEEP, "PNG"),
    "deep_colour.png": lambda: cv2.imencode(".png", np.dstack([DEEP] * 3))[1].tobytes(),
    "colour.jpg": lambda: by_pillow(COLOUR, "JPEG"),
    "progressive.jpg": lambda: by_pillow(GREY, "JPEG", progressive=True),
    "grey.tif": lambda: by_pillow(GREY, "TIFF"),
    "float.tif": lambda: by_pillow(GREY.astype(np.float32), "TIFF"),
    "deflate.tif": lambda: by_pillow(DEEP, "TIFF", compression="tiff_deflate"),
    "jpeg.tif": lambda: by_pillow(COLOUR, "TIFF", compression="jpeg"),
    "deep_colour.tif": lambda: cv2.imencode(".tif", np.dstack([DEEP] * 3))[1].tobytes(),
    "grey.gif": lambda: by_pillow(GREY, "GIF"),
    "colour.ppm": lambda: by_pillow(COLOUR, "PPM"),
    "packed.ppm.gz": lambda: gzip.compress(by_pillow(COLOUR, "PPM"), mtime=0),
    "colour.bmp": lambda: by_pillow(COLOUR, "BMP"),
    "lossy.webp": lambda: by_pillow(COLOUR, "WEBP"),
    "lossless.webp": lambda: by_pillow(COLOUR, "WEBP", lossless=True),
    "plain.nii": VOLUME.to_bytes,
    "packed.nii.gz": lambda: gzip.compress(VOLUME.to_bytes(), mtime=0),
    "plain.npz": lambda: by_numpy(np.savez),
    "packed.npz": lambda: by_numpy(np.savez_compressed),
    "native.dcm": lambda: packaged("MR_small"),
    "big_endian.dcm": lambda: packaged("MR_small_bigendian"),
    "rle.dcm": lambda: packaged("MR_small_RLE"),
    "jpeg2000.dcm": lambda: packaged("MR_small_jp2klossless"),
    "jpeg_ls.dcm": lambda: packaged("JPEGLSNearLossless_08"),
    "jpeg_lossless.dcm": lambda: packaged("SC_rgb_jpeg_gdcm"),
    "jpeg.dcm": lambda: packaged("SC_rgb_small_odd_jpeg"),
    "deflated.dcm": lambda: packaged("image_dfl"),
}


def damaged(data, chance):
    kind = chance.choice(["cut", "bytes", "header", "exchange"])
    data = bytearray(data)
    if kind == "cut":
        return bytes(data[: chance.randrange(len(data))])
    if kind == "exchange":
        start, length = chance.randrange(len(data)), chance.randrange(1, 40)
        data[start : start + length] = chance.randbytes(chance.choice([0, length, 2 * length]))
        return bytes(data)
    end = len(data) if kind == "bytes" else min(len(data), 700)
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        data[chance.randrange(end)] = chance.choice([0, 1, 127, 128, 255, chance.randrange(256)])
    return bytes(data)


@pytest.mark.parametrize("name", MADE)
def test_damaged_files_are_read_or_reported(tmp_path, name):
    data = MADE[name]()
    part = "#index=1" if name.endswith("npz") else ""
    (tmp_path / name).write_bytes(data)
    read_image(f"{tmp_path}/{name}{part}")
    chance, reasons = random.Random(name), []
    for _ in range(60):
        (tmp_path / name).write_bytes(damaged(data, chance))
        try:
            image = read_image(f"{tmp_path}/{name}{part}")
        except BrokenImageError as error:
            reasons.append(error.reason)
            continue
        assert image.pixels.dtype == np.float32
        assert image.pixels.shape[0] in (1, 3)
        assert image.pixels.flags.c_contiguous
        assert image.pixels.min() >= 0
        assert image.pixels.max() <= 1
        assert np.isfinite(image.value_range).all()
    assert all(reasons)
    assert not any("\n" in reason for reason in reasons)


@pytest.mark.parametrize("name", ["grey.png", "deep_colour.png", "packed.nii.gz", "packed.npz", "plain.npz"])
def test_formats_with_checksums_never_give_wrong_pixels(tmp_path, name):
    data = MADE[name]()
    part = "#index=1" if name.endswith("npz") else ""
    (tmp_path / name).write_bytes(data)
    right = read_image(f"{tmp_path}/{name}{part}").pixels
    chance = random.Random(1)
    for _ in range(60):
        changed = bytearray(data)
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        (tmp_path / name).write_bytes(changed)
        try:
            pixels = read_image(f"{tmp_path}/{name}{part}").pixels
        except BrokenImageError:
            continue
        np.testing.assert_array_equal(pixels, right)


@pytest.mark.parametrize(
    "mistake", [NameError("radnom"), ModuleNotFoundError("cv2"), TypeCheckError("shape")]
)
def test_a_mistake_of_the_program_is_not_blamed_on_the_file(tmp_path, monkeypatch, mistake):
    path = tmp_path / "good.png"
    path.write_bytes(by_pillow(GREY, "PNG"))

    def reader(file, form, request):
        raise mistake

    monkeypatch.setattr("modicum.data.readers.raster.read_raster", reader)
    with pytest.raises(type(mistake)):
        read_image(path)


def test_array_files_with_a_changed_byte_are_listed_or_refused(tmp_path):
    path = tmp_path / "set.npz"
    np.savez_compressed(path, train_images=np.zeros((9, 64, 64), np.uint8), train_labels=np.arange(9))
    whole = path.read_bytes()
    for position in range(0, len(whole), 3):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        is_array_data(path)
        with suppress(InputError):
            read_npz(path)
