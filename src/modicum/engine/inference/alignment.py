"""Aligns images of two modalities, with the registration network of an image translator.

The network estimates where the target lies against the *translation* of the image; as the translation lies on the
image, the same field brings the image onto the target.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from modicum.data.image import ImageRef, MedicalImage
from modicum.data.intensity_window import IntensityWindow
from modicum.data.placement import Placement
from modicum.data.readers import read_image
from modicum.data.readers.content import format_of_file
from modicum.data.volumes import Volume, find_volumes, nifti_volumes, require_same_grid
from modicum.data.writers import DerivedSeries, nifti_writer, write_png
from modicum.engine.inference.dense_output import PSEUDONYM, dicom_name
from modicum.engine.inference.dense_prediction import DensePredictor
from modicum.engine.inference.displacement import Displacement, estimated, registers
from modicum.engine.inference.displacement_files import field_writer
from modicum.engine.run_folder import RunFolder, read_json
from modicum.errors import InputError
from modicum.nn import warp
from modicum.output_paths import check_output, is_same
from modicum.progress import bar

SUFFIX = "_aligned"
LEAST_MOVE = 0.5
"""Pixels: less is within what resampling does."""


@dataclass(frozen=True)
class Alignment:
    """Result of an alignment.

    Attributes:
        slices: number of aligned slices.
        mean: mean length of the displacements, in pixels of the files.
        max: largest length.
        folded: share of pixels where the field folds.
        out: the image on the target's grid.
        field: the displacements.
        learned: largest displacement that the run found on the examples of its own evaluations, in pixels of its image
            size; None where it has none.
    """

    slices: int
    mean: float
    max: float
    folded: float
    out: Path
    field: Path
    learned: float | None = None

    @property
    def moved(self) -> bool:
        """Whether anything was moved by as much as half a pixel."""
        return self.max >= LEAST_MOVE

    @property
    def remark(self) -> str | None:
        """What the run can do, where it moved nothing or has never seen anything to move."""
        unseen = self.learned is not None and self.learned < LEAST_MOVE
        if self.moved and not unseen:
            return None
        learned = ""
        if self.learned is not None:
            learned = (
                f"on its own examples this run found displacements of {self.learned:.2f} pixels at most, so "
            )
            learned += "it has learned to move nothing; " if unseen else "it may not find larger ones; "
        return f"{learned}to learn registration, train on pairs that are misaligned as these are"


@dataclass(frozen=True)
class _Picture:
    """One image, or a volume of slices."""

    refs: tuple[ImageRef, ...]
    volume: Volume | None
    form: str

    @classmethod
    def of(cls, given: str | Path) -> "_Picture":
        path = Path(given)
        if path.is_dir():
            volumes = find_volumes([path])
            if len(volumes) > 1:
                raise InputError(f"'{given}' holds {len(volumes)} volumes", "give one of them")
            return cls(volumes[0].refs, volumes[0], volumes[0].format)
        ref = ImageRef.parse(str(given), None)
        if not ref.path.exists():
            raise InputError(f"'{given}' does not exist", "check the path")
        form = format_of_file(ref.path)
        if form != "nifti" or ref.index is not None:
            return cls((ref,), None, form)
        volumes = nifti_volumes(ref.path, 2 if ref.axis is None else ref.axis)
        if len(volumes) > 1 and ref.frame is None:
            raise InputError(f"'{given}' is a series of {len(volumes)} volumes", "name one: 'FILE#frame=0'")
        volume = volumes[ref.frame or 0]
        return cls(volume.refs, volume, "nifti")

    def image(self, index: int) -> MedicalImage:
        """A slice at its full size and range, without cropping or clipping."""
        window: IntensityWindow | str = "range" if self.volume is None else self.volume.window("range")
        return read_image(self.refs[index], intensity=window, empty=True)


def align(
    predictor: DensePredictor,
    image: str | Path,
    target: str | Path,
    out: Path,
    field: Path | None = None,
    *,
    made_by: str,
    pseudonym: str = PSEUDONYM,
    learned: float | None = None,
) -> Alignment:
    """Aligns an image, or a volume slice by slice, with an image of the other modality.

    Args:
        predictor: predictor of a run with registration.
        image: the image to move: an image, a NIfTI file, or the folder of a DICOM series.
        target: the fixed image, of the same kind and size.
        out: the moved image: PNG for 2-D images, NIfTI for NIfTI, DICOM for a DICOM file, a folder for a series.
        field: the displacements; by default next to ``out``, as NIfTI for NIfTI and as NPZ otherwise.
        made_by: name of the model, for descriptions.
        pseudonym: name of the patient in DICOM files.
        learned: for the result, see :class:`Alignment`.

    Raises:
        InputError: the run has no registration, the two do not fit each other, or the files to write are those to read.
        BrokenImageError: one cannot be read.
    """
    if not registers(predictor):
        raise InputError(
            "this run learned no registration: its mode translates only",
            "train one with registration, for instance --set mode=nc+r",
        )
    moving, fixed = _Picture.of(image), _Picture.of(target)
    if (moving.volume is None) != (fixed.volume is None):
        raise InputError(f"'{image}' and '{target}' are not both volumes", "give two slices, or two volumes")
    if moving.volume is not None and fixed.volume is not None:
        require_same_grid(moving.volume, fixed.volume)
    field = field or _field_beside(out, moving)
    check_aligned_outputs(image, target, out, field)
    first = moving.image(0)
    size = first.source.height, first.source.width
    numbers: list[Displacement] = []
    with (
        field_writer(field, size, first.spacing, moving.volume) as fields,
        _moved(moving, first, out, made_by, pseudonym) as moved,
        bar("aligning", len(moving.refs)) as progress,
    ):
        for index, (ref, other) in enumerate(zip(moving.refs, fixed.refs, strict=True)):
            picture = moving.image(index)
            if moving.volume is None:
                _check_sizes(picture, other)
            displacement = _in_file_pixels(estimated(predictor, ref, other)[0], predictor, size)
            numbers.append(Displacement.of(torch.from_numpy(displacement)[None]))
            fields.write(index, displacement)
            pixels = warp(torch.from_numpy(picture.pixels)[None], torch.from_numpy(displacement)[None])
            moved(index, replace(picture, pixels=pixels[0].clamp(0, 1).numpy()))
            progress.advance()
    mean, folded = (float(np.mean([getattr(one, name) for one in numbers])) for name in ("mean", "folded"))
    return Alignment(len(numbers), mean, max(one.max for one in numbers), folded, out, field, learned)


def check_aligned_outputs(image: str | Path, target: str | Path, out: Path, field: Path | None) -> None:
    """Raises InputError where the moved image or its field would go over one of the two images, or each other."""
    inputs = [
        Path(given) if Path(given).is_dir() else ImageRef.parse(str(given), None).path
        for given in (image, target)
    ]
    check_output("--out", out, inputs, folder=inputs[0].is_dir())
    if field is not None:
        check_output("--field", field, inputs)
        if is_same(field, out):
            raise InputError(f"--field '{field}' is --out too", "choose another file for one of them")


def largest_known_displacement(folder: RunFolder) -> float | None:
    """The largest displacement among the examples of a run's evaluations, in pixels of its image size."""
    largest: list[float] = []
    for split in ("val", "test"):
        path = folder.evaluation(split) / "examples" / "examples.json"
        with suppress(InputError, TypeError, KeyError, ValueError):  # damaged: no answer depends on it
            examples = read_json(path) if path.is_file() else []
            largest += [
                float(example["displacement"]["max"]) for example in examples if "displacement" in example
            ]
    return max(largest, default=None)


def _in_file_pixels(
    field: Float32[torch.Tensor, "1 2 h w"], predictor: DensePredictor, size: tuple[int, int]
) -> Float32[np.ndarray, "2 height width"]:
    """Resizes a field from the network's size to that of the file; 0 outside the network's input."""
    seen = predictor.settings.height, predictor.settings.width
    placement = Placement.of(size, seen, predictor.settings.resize)
    scale = np.array(placement.scale, np.float32).reshape(2, 1, 1)
    return np.asarray(placement.restored(field[0].numpy()) / scale, np.float32)


@contextmanager
def _moved(moving: _Picture, first: MedicalImage, out: Path, made_by: str, pseudonym: str) -> Iterator[Any]:
    """A function that writes one moved slice, according to the kind of image."""
    window = IntensityWindow.of(first, "range")
    if moving.form == "nifti" and moving.volume is not None:
        axis = moving.refs[0].axis
        like = moving.refs[0].path
        with nifti_writer(
            out, like=like, axis=2 if axis is None else axis, kind="source", window=window
        ) as volume:
            yield lambda index, image: volume.write(index, image.values()[0])
        return
    if moving.form == "dicom":
        ends = (window.low, window.high)
        series = DerivedSeries(dicom_name(made_by), pseudonym, ends, note="moved onto another image")

        def write(index: int, image: MedicalImage) -> None:
            ref = moving.refs[index]
            path = out if moving.volume is None else out / f"{ref.path.stem}{SUFFIX}_{index:04d}.dcm"
            values = image.values() if len(image.pixels) == 1 else image.pixels
            series.write(path, ref, values)

        yield write
        return
    if out.suffix.lower() != ".png":
        raise InputError(f"--out '{out}': a moved picture is a PNG", "end it with .png")
    yield lambda index, image: write_png(out, image.pixels, 8 if image.source.bits <= 8 else 16)


def _field_beside(out: Path, moving: _Picture) -> Path:
    if moving.form == "nifti" and moving.volume is not None:
        stem = out.name[: out.name.lower().index(".nii")] if ".nii" in out.name.lower() else out.name
        return out.with_name(f"{stem}_field.nii.gz")
    return out.with_name(f"{out.stem}_field.npz")


def _check_sizes(image: MedicalImage, target: ImageRef) -> None:
    other = read_image(target, intensity="range", empty=True).source
    own_size = image.source
    if (own_size.height, own_size.width) != (other.height, other.width):
        raise InputError(
            f"the image is {own_size.height} x {own_size.width} pixels, '{target}' {other.height} x {other.width}",
            "resample one to the other's grid first",
        )
