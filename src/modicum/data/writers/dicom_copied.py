"""What a derived DICOM image takes over from its source, and which kind of object it can be.

Sections (C....) are of the DICOM standard, PS3.3.
"""

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage, SecondaryCaptureImageStorage

from modicum.data.readers.dicom_values import numbers, section
from modicum.data.readers.request import Unreadable

# Where the image lies (C.7.6.2, C.7.4.1), with how many numbers; of an enhanced object from its functional groups.
_GEOMETRY = {
    "PixelSpacing": ("PixelMeasuresSequence", 2),
    "SliceThickness": ("PixelMeasuresSequence", 1),
    "SpacingBetweenSlices": ("PixelMeasuresSequence", 1),
    "ImagePositionPatient": ("PlanePositionSequence", 3),
    "ImageOrientationPatient": ("PlaneOrientationSequence", 6),
}
_UIDS = ("FrameOfReferenceUID",)
# Codes of the standard and numbers, none of which says who or when.
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
# What CT (C.8.2.1) and MR (C.8.3.1) objects must have, empty where the source has none, and what they use.
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
_MOST_CHARACTERS = 16  # of a code string (PS3.5 section 6.2); anything longer is no code


def storage_class(header: Dataset, frame: int | None) -> str:
    """CT or MR image storage, where the source is such and has all that these must have; secondary capture else."""
    needed = ["FrameOfReferenceUID"]
    modality = str(header.get("Modality", "")).strip()
    if modality == "MR":
        needed += ["ScanningSequence", "SequenceVariant"]
    complete = all(header.get(keyword) for keyword in needed) and all(
        _place(header, frame, keyword)
        for keyword in ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient")
    )
    kinds = {"CT": CTImageStorage, "MR": MRImageStorage}
    return kinds[modality] if complete and modality in kinds else SecondaryCaptureImageStorage


def copied(header: Dataset, frame: int | None, kind: str) -> Dataset:
    """A new data set with the source's geometry and technique, and nothing of who and when.

    Args:
        header: of the source.
        frame: which of its frames.
        kind: UID of the object that it becomes.
    """
    dataset = Dataset()
    for keyword in _GEOMETRY:
        if place := _place(header, frame, keyword):
            setattr(dataset, keyword, place if len(place) > 1 else place[0])
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


def _place(header: Dataset, frame: int | None, keyword: str) -> list[float]:
    """The numbers of an element of the geometry; none unless all are there."""
    sequence, count = _GEOMETRY[keyword]
    at = int(header.get("NumberOfFrames") or 1) // 2 if frame is None else frame
    try:
        found = numbers(section(header, at, sequence), keyword) or numbers(header, keyword)
    except Unreadable:  # what cannot be read is not copied
        return []
    return found if len(found) == count else []


def _harmless(header: Dataset, keyword: str) -> bool:
    """Whether an element holds codes or numbers, as it should, and no free text that somebody put there."""
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
