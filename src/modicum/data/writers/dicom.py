"""Writes derived DICOM images: a prediction on the grid of a source image, as a new de-identified series.

Decisions. From the source's header only the elements listed in ``dicom_copied`` are copied: geometry, the
frame of reference, and technical parameters that the object's definition requires. Everything else is new or
left empty: the patient, physicians and institution, dates and times, comments, private elements.
The patient's name is a pseudonym set by the caller. UIDs of instance, series and (unless ``keep_study``)
study are new. Two links to the source are kept, as a derived image is useless without them: the frame of
reference, so that it can be overlaid on the source, and the reference to the source instance.

The kind of object is the source's for CT and MR with complete geometry; otherwise secondary capture. Values are
kept in 16 bits with a rescale slope and intercept that spread the stated range over them (for MR the rescaling
is an extension of the standard's object, which readers commonly support); colours in 8 bits. BurnedInAnnotation
is copied from the source, as the pixels may contain the annotation; it is absent if the source has none.

Sections (C....) are of the DICOM standard, PS3.3.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
from jaxtyping import Float, UInt8, UInt16
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, SecondaryCaptureImageStorage
from pydicom.valuerep import format_number_as_ds

from modicum.atomic_files import atomic_file
from modicum.data.image import ImageRef
from modicum.data.readers import dicom_header
from modicum.data.writers.checks import check_numbers, check_unit
from modicum.data.writers.dicom_copied import copied, storage_class
from modicum.errors import InputError
from modicum.version import __version__

_PSEUDONYM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOP = 65535


@dataclass
class DerivedSeries:
    """A new series for the predictions of the slices of one volume.

    Args:
        model: name of the model, for the description; up to 48 characters, without patient information.
        pseudonym: replaces the patient's name and id; letters, digits, ``.``, ``_`` and ``-``.
        value_range: smallest and largest value that the files can represent, in the units of the values; the window
            that the source was read with. Not used for colour.
        units: units of the values, as RescaleType: ``HU`` for Hounsfield units, ``US`` for unspecified.
        keep_study: use the source's StudyInstanceUID, so that an archive files the series with its source.
            That links it to the patient, at the caller's responsibility.
        number: SeriesNumber.
        note: added to the derivation description, such as the meaning of the values; without patient information.

    Raises:
        InputError: an invalid name, or a range without two finite ends.
    """

    model: str
    pseudonym: str
    value_range: tuple[float | int, float | int]
    units: str = "US"
    keep_study: bool = False
    number: int = 1
    note: str = ""
    series_uid: str = field(default_factory=lambda: str(pydicom.uid.generate_uid(prefix=None)))
    study_uid: str = field(default_factory=lambda: str(pydicom.uid.generate_uid(prefix=None)))
    _grid: tuple[str, float, float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not _PSEUDONYM.fullmatch(self.pseudonym):
            raise InputError(
                f"the pseudonym '{self.pseudonym}' cannot be used",
                "use 1 to 64 letters, digits, '.', '_' and '-', beginning with a letter or a digit",
            )
        if not (0 < len(self.model) <= 48 and self.model.isascii() and self.model.isprintable()):
            raise InputError(
                f"the model's name '{self.model}' cannot be used", "use 1 to 48 ASCII characters"
            )
        if "\\" in self.model or not re.fullmatch(r"[A-Za-z0-9 _/%.-]{1,16}", self.units):
            raise InputError(
                f"model '{self.model}' or units '{self.units}' cannot be written to DICOM",
                "use no backslash, and at most 16 characters for the units",
            )
        if "\\" in self.note or not self.note.isascii() or len(self.note) > 768:
            raise InputError(
                "the note cannot be written to DICOM", "use up to 768 ASCII characters, no backslash"
            )
        low, high = self._ends
        if not np.isfinite([low, high]).all():
            raise InputError(f"a value range from {low} to {high} is not finite", "use for instance (0, 1)")
        # As decimal strings of 16 characters; values are computed with the rounded numbers.
        slope = _decimal((high - low) / _TOP if high > low else 1.0)
        intercept = _decimal(low)
        self._grid = slope, float(slope), float(intercept)

    @property
    def _ends(self) -> tuple[float, float]:
        low, high = sorted(float(end) for end in self.value_range)
        return low, high

    @property
    def step(self) -> float:
        """Quantisation step: a value in the range is read back to within half of it."""
        return self._grid[1]

    def write(self, path: Path, source: ImageRef, values: Float[np.ndarray, "channels height width"]) -> None:
        """Writes the prediction for one image.

        Args:
            path: the file; replaced if it exists.
            source: the DICOM image that was predicted from (a frame of it, if it has several).
            values: at the source's size. Grey ([1, ...]): in the source's units (after its rescaling), clipped
                to ``value_range``. Colour ([3, ...]): in [0, 1].

        Raises:
            InputError: another size than the source's, values that are not numbers, or a pseudonym that is the
                patient's real name or id.
            BrokenImageError: the source is not a DICOM image.
        """
        header = dicom_header(source.path)
        size = int(header.Rows), int(header.Columns)
        if values.shape[0] not in (1, 3) or values.shape[1:] != size:
            raise InputError(
                f"'{path.name}' was not written: it is {' x '.join(map(str, values.shape))}, its source "
                f"{size[0]} x {size[1]}",
                "resize it to the source's size first (Placement.restored), with 1 or 3 channels",
            )
        self._check_pseudonym(header)
        grey = values.shape[0] == 1
        kind = storage_class(header, source.frame) if grey else SecondaryCaptureImageStorage
        dataset = self._described(header, source, kind)
        if grey:
            check_numbers(values, path)
            self._add_grey(dataset, header, values[0])
        else:
            check_unit(values, path)
            _add_pixels(dataset, np.rint(np.moveaxis(values, 0, -1) * 255).astype(np.uint8), "RGB")
        _save(path, dataset)

    def _check_pseudonym(self, header: Dataset) -> None:
        identities = {
            str(header.get(keyword, "")).strip().casefold() for keyword in ("PatientID", "PatientName")
        }
        if self.pseudonym.casefold() in identities:
            raise InputError(
                "the pseudonym is the patient's real name or id",
                "pass another --pseudonym, for instance predicted",
            )

    def _described(self, header: Dataset, source: ImageRef, kind: str) -> Dataset:
        """The data set without pixels (C.7.1.1, C.7.2.1, C.7.3.1, C.7.5.1, C.7.6.1, C.8.6.1, C.12.1)."""
        now = datetime.now()
        dataset = copied(header, source.frame, kind)
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.SOPClassUID = kind
        dataset.SOPInstanceUID = pydicom.uid.generate_uid(prefix=None)
        dataset.SeriesInstanceUID = self.series_uid
        dataset.StudyInstanceUID = self.study_uid
        if self.keep_study and "StudyInstanceUID" in header:
            dataset.StudyInstanceUID = header.StudyInstanceUID
        for keyword in ("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"):
            setattr(dataset, keyword, "")
        dataset.PatientName = dataset.PatientID = self.pseudonym
        dataset.PatientBirthDate = dataset.PatientSex = ""
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = "derived image; only geometry and technique copied"
        dataset.Manufacturer = "modicum"
        dataset.ManufacturerModelName = self.model
        dataset.SoftwareVersions = __version__
        dataset.SeriesNumber = self.number
        dataset.SeriesDescription = f"derived: {self.model}"
        dataset.SeriesDate = dataset.ContentDate = dataset.InstanceCreationDate = now.strftime("%Y%m%d")
        dataset.SeriesTime = dataset.ContentTime = dataset.InstanceCreationTime = now.strftime("%H%M%S")
        dataset.ImageType = ["DERIVED", "SECONDARY", *_third_value(header, kind)]
        derived = f"predicted from the source image by {self.model}, modicum {__version__}"
        dataset.DerivationDescription = f"{derived}; {self.note}" if self.note else derived
        dataset.SourceImageSequence = Sequence([_reference(header, source)])
        if kind == SecondaryCaptureImageStorage:
            dataset.ConversionType = "SYN"
        return dataset

    def _add_grey(self, dataset: Dataset, header: Dataset, values: Float[np.ndarray, "height width"]) -> None:
        slope, step, intercept = self._grid
        numbers = np.rint((values.astype(np.float64) - intercept) / step)
        # As in the source: the values are in its units, in which large values may be dark.
        inverted = str(header.get("PhotometricInterpretation", "")).strip() == "MONOCHROME1"
        stored = np.clip(numbers, 0, _TOP).astype(np.uint16)
        _add_pixels(dataset, stored, "MONOCHROME1" if inverted else "MONOCHROME2")
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, _decimal(intercept)
        dataset.RescaleType = self.units
        low, high = self._ends
        if high > low:
            dataset.WindowCenter, dataset.WindowWidth = _decimal((low + high) / 2), _decimal(high - low)
            dataset.VOILUTFunction = "LINEAR_EXACT"


def _add_pixels(
    dataset: Dataset,
    stored: UInt16[np.ndarray, "height width"] | UInt8[np.ndarray, "height width 3"],
    kind: str,
) -> None:
    """Adds the image pixel module (C.7.6.3)."""
    bits = stored.dtype.itemsize * 8
    dataset.Rows, dataset.Columns = stored.shape[:2]
    dataset.SamplesPerPixel = 3 if stored.ndim == 3 else 1
    if stored.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = kind
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 0
    data = stored.astype("<u2" if bits == 16 else "u1").tobytes()
    dataset.add_new("PixelData", "OW" if bits == 16 else "OB", data + bytes(len(data) % 2))


def _reference(header: Dataset, source: ImageRef) -> Dataset:
    """Reference to the source image with its purpose (C.7.6.1.1.4; code 121322 of PS3.16)."""
    item, purpose = Dataset(), Dataset()
    item.ReferencedSOPClassUID = header.get("SOPClassUID", SecondaryCaptureImageStorage)
    item.ReferencedSOPInstanceUID = header.get("SOPInstanceUID", pydicom.uid.generate_uid(prefix=None))
    if source.frame is not None and int(header.get("NumberOfFrames") or 1) > 1:
        item.ReferencedFrameNumber = source.frame + 1
    purpose.CodeValue, purpose.CodingSchemeDesignator = "121322", "DCM"
    purpose.CodeMeaning = "Source image for image processing operation"
    item.PurposeOfReferenceCodeSequence = Sequence([purpose])
    return item


def _third_value(header: Dataset, kind: str) -> list[str]:
    """The third value of ImageType, defined for CT and MR (C.8.2.1.1.1, C.8.3.1.1.1)."""
    if kind == CTImageStorage:
        image_type = [str(value).strip() for value in header.get("ImageType", [])]
        return ["LOCALIZER" if "LOCALIZER" in image_type else "AXIAL"]
    return ["OTHER"] if kind == MRImageStorage else []


def _decimal(number: float) -> str:
    """The closest decimal string of at most 16 characters."""
    return str(format_number_as_ds(number))


def _save(path: Path, dataset: Dataset) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    with atomic_file(path, durable=False) as file:
        pydicom.dcmwrite(file, dataset, enforce_file_format=True)
