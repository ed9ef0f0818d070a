"""Every file that comes inside pydicom and nibabel, against what these libraries themselves read of it."""

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_color_lut, apply_modality_lut

from modicum.data.image import ImageRef
from modicum.data.readers import read_dicom_values, read_image, slices_of
from modicum.errors import BrokenImageError

DICOM = Path(pydicom.__file__).parent / "data"
NIFTI = Path(nib.__file__).parent
# pydicom's decoders that are usually installed refuse these: no values of its own to compare with.
FURTHER = ("JPEG-lossy.dcm", "JPGExtended.dcm")
SMALL = 2**26


def files(folder, *endings):
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix not in (".py", ".pyc", ".json", ".txt", ".dump", ".icc", ".md")
        and (not endings or path.name.endswith(endings))
    )


def own_reading(path):
    """pydicom's frames as [frames, height, width, *samples] after its modality transformation; None without an image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds = pydicom.dcmread(path, force=True)
        except Exception:
            return None
        if "Rows" not in ds or not any(
            name in ds for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
        ):
            return None
        try:
            stored = ds.pixel_array
        except Exception:
            return None
    frames = int(ds.get("NumberOfFrames", None) or 1)
    if frames == 1:
        stored = stored[None]
    kind = str(ds.PhotometricInterpretation)
    if kind.startswith("MONOCHROME"):
        return kind, apply_modality_lut(stored, ds), ds
    if kind == "PALETTE COLOR":
        return kind, np.stack([apply_color_lut(frame, ds) for frame in stored])[..., :3], ds
    if kind.startswith("YBR"):
        stored = ds_rgb(ds, frames)
    return kind, stored, ds


def ds_rgb(ds, frames):
    from pydicom.pixels import pixel_array

    stored = pixel_array(ds)
    return stored if frames > 1 else stored[None]


def test_there_are_files_to_read():
    assert len(files(DICOM / "test_files")) > 50
    assert len(files(NIFTI, ".nii", ".nii.gz")) > 5


@pytest.mark.slow
@pytest.mark.parametrize("path", files(DICOM), ids=lambda path: str(path.relative_to(DICOM)))
def test_every_dicom_file_is_read_as_pydicom_reads_it(path):
    own = own_reading(path)
    if own is None and path.name in FURTHER:
        pytest.importorskip("gdcm", reason="needs the extra 'dicom'")
        assert read_image(path).pixels.max() > 0
        return
    if own is None:
        with pytest.raises(BrokenImageError) as raised:
            read_image(path)
        assert raised.value.reason
        return
    kind, expected, ds = own
    for frame in range(len(expected)):
        ref = ImageRef(path, frame=frame)
        image = read_image(ref)
        assert image.pixels.shape[1:] == expected.shape[1:3]
        if kind.startswith("MONOCHROME"):
            padding = np.isnan(values := read_dicom_values(ref))
            np.testing.assert_allclose(values[~padding], expected[frame][~padding], rtol=1e-12)
        else:
            top = np.iinfo(expected.dtype).max if kind == "PALETTE COLOR" else 2.0**ds.BitsStored - 1
            np.testing.assert_allclose(image.pixels, expected[frame].transpose(2, 0, 1) / top, atol=1e-6)
        if "ImagePositionPatient" in ds and len(expected) == 1:
            assert image.plane.origin == tuple(map(float, ds.ImagePositionPatient))
    assert slices_of(ImageRef(path)) == ("dicom", len(expected))


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", files(NIFTI, ".nii", ".nii.gz"), ids=lambda path: str(path.relative_to(NIFTI))
)
def test_every_nifti_file_is_read_as_nibabel_reads_it(path):
    """Slices across each axis of nibabel's canonical volume: front or head on top, the patient's right on the left."""
    try:
        volume = nib.as_closest_canonical(nib.load(path))
        data = np.asanyarray(volume.dataobj)
    except Exception:
        with pytest.raises(BrokenImageError):
            read_image(path)
        return
    if (
        not isinstance(volume, nib.Nifti1Image)
        or data.dtype.kind == "c"
        or any(side != 1 for side in data.shape[4:])
    ):
        with pytest.raises(BrokenImageError):
            read_image(path)
        return
    data = data.reshape(data.shape[:4] + (1,) * (4 - min(4, data.ndim))) if data.ndim != 4 else data
    span = max(1.0, float(np.abs(data[np.isfinite(data)]).max())) if data.size < SMALL else 1.0
    for axis in range(3):
        count = data.shape[axis]
        for frame in sorted({0, data.shape[3] - 1}):
            for index in sorted({0, count // 2, count - 1}):
                image = read_image(
                    ImageRef(path, frame=frame, axis=axis, index=index), intensity="range", empty=True
                )
                plane = np.take(data[..., frame], index, axis=axis)
                upright = plane[::-1, ::-1].T
                there = np.isfinite(upright)  # what is no number is shown as the darkest
                np.testing.assert_allclose(image.values()[0][there], upright[there], atol=1e-5 * span)
            assert slices_of(ImageRef(path, axis=axis)) == ("nifti", count)


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [p for p in files(NIFTI) if "tests" in p.parts and not p.name.endswith((".nii", ".nii.gz"))],
    ids=lambda path: str(path.relative_to(NIFTI)),
)
def test_every_other_file_of_nibabel_is_an_image_of_another_kind_or_refused_by_reason(path):
    if path.suffix == ".dcm" and own_reading(path) is not None:
        assert read_image(path).source.format == "dicom"
        return
    with pytest.raises(BrokenImageError) as raised:
        read_image(path)
    assert raised.value.reason
