"""The elements that a derived DICOM image copies from its source, and its storage class.

Sections (C....) are of the DICOM standard, PS3.3.
"""

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage, SecondaryCaptureImageStorage

from modicum.data.readers.dicom_values import numbers, section
from modicum.data.readers.request import Unreadable

# Geometry (C.7.6.2, C.7.4.1) with number of values; for an enhanced object from its functional groups.
_GEOMETRY = {
    "PixelSpacing": ("PixelMeasuresSequence", 2),
    "SliceThickness": ("PixelMeasuresSequence", 1),
    "SpacingBetweenSlices": ("PixelMeasuresSequence", 1),
    "ImagePositionPatient": ("PlanePositionSequence", 3),
    "ImageOrientationPatient": ("PlaneOrientationSequence", 6),
}
_UIDS = ("FrameOfReferenceUID",)
# Codes of the standard and numbers, none of which identifies a person or time.
_CODES = (
    "Modality",
    "PatientPosition",
    "PositionReferenceIndicator",
    "Laterality",
    "ImageLaterality",
    "PatientOrientation",
    "BurnedInAnnotation",
    "LossyImageCompression",
    "LossyImageCompressionMethod",
    "PixelSpacingCalibrationType",
)
_NUMBERS = (
    "InstanceNumber",
    "AcquisitionNumber",
    "SliceLocation",
    "LossyImageCompressionRatio",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
)
# Elements that CT (C.8.2.1) and MR (C.8.3.1) objects require, empty if missing in the source, and optional ones.
_TECHNIQUE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    CTImageStorage: (("KVP", "AcquisitionNumber"), ("GantryDetectorTilt", "ReconstructionDiameter")),
    MRImageStorage: (
        (
            "ScanOptions",
            "MRAcquisitionType",
            "RepetitionTime",
            "EchoTime",
            "EchoTrainLength",
            "InversionTime",
        ),
        ("ScanningSequence", "SequenceVariant", "MagneticFieldStrength", "FlipAngle", "TriggerTime"),
    ),
}
_MOST_CHARACTERS = 16  # of a code string (PS3.5 section 6.2); longer values are not codes


def storage_class(header: Dataset, frame: int | None) -> str:
    """CT or MR image storage if the source is one with all required elements; otherwise secondary capture."""
    needed = ["FrameOfReferenceUID"]
    modality = str(header.get("Modality", "")).strip()
    if modality == "MR":
        needed += ["ScanningSequence", "SequenceVariant"]
    complete = all(header.get(keyword) for keyword in needed) and all(
        _geometry_of(header, frame, keyword)
        for keyword in ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient")
    )
    kinds = {"CT": CTImageStorage, "MR": MRImageStorage}
    return kinds[modality] if complete and modality in kinds else SecondaryCaptureImageStorage


def copied(header: Dataset, frame: int | None, kind: str) -> Dataset:
    """A new data set with the source's geometry and technique, without persons and times.

    Args:
        header: header of the source.
        frame: index of the frame.
        kind: storage class UID of the new object.
    """
    dataset = Dataset()
    for keyword in _GEOMETRY:
        if geometry := _geometry_of(header, frame, keyword):
            setattr(dataset, keyword, geometry if len(geometry) > 1 else geometry[0])
    for keyword in _UIDS:
        if value := header.get(keyword):
            setattr(dataset, keyword, pydicom.uid.UID(str(value)))
    required, used = _TECHNIQUE.get(kind, ((), ()))
    for keyword in (*_CODES, *_NUMBERS, *required, *used):
        if keyword in header and _harmless(header, keyword):
            dataset.add(header[keyword])
    empty = [*required, "InstanceNumber"]
    if kind in _TECHNIQUE:
        empty += ["SliceThickness", "PositionReferenceIndicator", "PatientPosition"]
    else:
        empty += ["PatientOrientation"]
        dataset.Modality = dataset.get("Modality") or "OT"
    for keyword in empty:
        if keyword not in dataset:
            setattr(dataset, keyword, None)
    if frame is not None and int(header.get("NumberOfFrames") or 1) > 1:
        dataset.InstanceNumber = frame + 1
    return dataset


def _geometry_of(header: Dataset, frame: int | None, keyword: str) -> list[float]:
    """The values of an element of the geometry; empty unless complete."""
    sequence, count = _GEOMETRY[keyword]
    at = int(header.get("NumberOfFrames") or 1) // 2 if frame is None else frame
    try:
        values = numbers(section(header, at, sequence), keyword) or numbers(header, keyword)
    except Unreadable:  # what cannot be read is not copied
        return []
    return values if len(values) == count else []


def _harmless(header: Dataset, keyword: str) -> bool:
    """Whether an element contains only codes or numbers, and no free text."""
    if keyword == "PositionReferenceIndicator":
        return len(str(header[keyword].value)) <= 2 or str(header[keyword].value).isdigit()
    values = header[keyword].value
    texts = [values] if isinstance(values, str) or not hasattr(values, "__iter__") else list(values)
    if header[keyword].VR in ("DS", "IS"):
        try:
            return bool(numbers(header, keyword)) or header[keyword].is_empty
        except Unreadable:
            return False
    return all(
        len(str(text)) <= _MOST_CHARACTERS and not any(c.islower() for c in str(text)) for text in texts
    )
