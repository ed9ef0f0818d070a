"""Displacement fields in files: pixels and millimetres in NPZ, or millimetres in NIfTI as registration programs read it.

NPZ: ``pixels`` float32 ``[2, h, w]`` (of a volume ``[slices, 2, h, w]``), rows (down) first, then columns (right), and
``millimetres``, the same times ``spacing``, where that is known.

NIfTI: one vector a voxel, ``[x, y, z, 1, 3]`` with the intent "vector": millimetres to the left, to the back and to
the head (LPS), from a place of the target to the place of the image that belongs there. That is how ITK and ANTs keep
displacements.
"""

import gzip
import secrets
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
from jaxtyping import Float32

from modicum.atomic_files import atomic_file, raise_if_disk_full
from modicum.data.readers import nifti_header
from modicum.data.readers.nifti import SliceLie
from modicum.data.volumes import Volume
from modicum.errors import InputError

_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


class FieldSlices:
    """The displacement fields of slices, collected on disk."""

    def __init__(self, scratch: Path, count: int, size: tuple[int, int]) -> None:
        self.pixels: Any = np.memmap(scratch, np.float32, "w+", shape=(count, 2, *size))

    def write(self, index: int, field: Float32[np.ndarray, "2 height width"]) -> None:
        """Keeps the field of one slice, in pixels."""
        self.pixels[index] = field


@contextmanager
def field_writer(
    path: Path, size: tuple[int, int], spacing: tuple[float, float] | None, volume: Volume | None = None
) -> Iterator[FieldSlices]:
    """Collects displacement fields; the file appears when the block ends well.

    Args:
        path: ``.npz``, or ``.nii`` and ``.nii.gz`` for a NIfTI volume.
        size: height and width of a slice.
        spacing: millimetres between rows and between columns.
        volume: whose slices are registered; None for a single picture.

    Raises:
        InputError: the file's name, or a picture without a place in the body as NIfTI.
        ResourceError: the disk is full.
    """
    name = path.name.lower()
    as_nifti = name.endswith((".nii", ".nii.gz"))
    if not as_nifti and not name.endswith(".npz"):
        raise InputError(f"--field '{path}' has an unknown suffix", "end it with .npz, .nii or .nii.gz")
    if as_nifti and (volume is None or volume.format != "nifti"):
        raise InputError(
            f"--field '{path}': only of NIfTI volumes fields are written as NIfTI", "end it with .npz"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.field")
    slices = FieldSlices(scratch, 1 if volume is None else len(volume), size)
    try:
        yield slices
        with atomic_file(path, durable=False) as file:
            if as_nifti and volume is not None:
                _write_nifti(file, name.endswith(".gz"), slices.pixels, volume, scratch)
            else:
                _write_npz(file, slices.pixels, spacing, whole=volume is not None)
    except BaseException as error:
        raise_if_disk_full(error, path)
        raise
    finally:
        scratch.unlink(missing_ok=True)


def _write_npz(file: IO[bytes], pixels: Any, spacing: tuple[float, float] | None, whole: bool) -> None:
    """Slice by slice: ``numpy.savez`` would hold all of it."""
    shape = pixels.shape if whole else pixels.shape[1:]
    scales = {"pixels": np.ones((2, 1, 1), np.float32)}
    if spacing is not None:
        scales["millimetres"] = np.array(spacing, np.float32).reshape(2, 1, 1)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
        for name, scale in scales.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(entry, header)
                for one in pixels:
                    entry.write((one * scale).astype("<f4").tobytes())
        if spacing is not None:
            with archive.open("spacing.npy", "w") as entry:
                np.lib.format.write_array(entry, np.array(spacing))


def _write_nifti(file: IO[bytes], compressed: bool, pixels: Any, volume: Volume, scratch: Path) -> None:
    layout = nifti_header(volume.refs[0].path)
    axis = 2 if volume.refs[0].axis is None else volume.refs[0].axis
    lie = SliceLie.of(layout.turn, axis)
    assert volume.affine is not None
    # What one pixel down and one to the right are in the body.
    steps = volume.affine[:3, 1:3] * _RAS_TO_LPS[:, None]
    turned = scratch.with_name(f"{scratch.name}.turned")
    try:
        vectors: Any = np.memmap(turned, np.float32, "w+", shape=(*layout.shape[:3], 1, 3), order="F")
        for index in range(len(volume)):
            where: list[Any] = [slice(None)] * 3
            where[lie.across] = lie.in_file(index, len(volume))
            for part in range(3):
                plane = steps[part, 0] * pixels[index, 0] + steps[part, 1] * pixels[index, 1]
                vectors[(*where, 0, part)] = lie.as_stored(plane.astype(np.float32))
        image = nib.Nifti1Image(vectors, layout.affine)
        image.header.set_xyzt_units(*layout.header.get_xyzt_units())
        image.header.set_intent("vector")
        out: Any = gzip.GzipFile("", "wb", 6, file, mtime=0) if compressed else file
        image.to_stream(out)
        if compressed:
            out.close()
    finally:
        turned.unlink(missing_ok=True)
