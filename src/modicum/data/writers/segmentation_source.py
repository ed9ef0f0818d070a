"""Stand-ins of the segmented images for highdicom, and the references to the sources in the object.

highdicom copies patient, study and equipment from the images. Objects are therefore built from stand-ins, which
contain only the elements of each source that ``dicom_copied`` lists: geometry and technique. The
references to the sources themselves are inserted into the finished object.

Sections (C....) are of the DICOM standard, PS3.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from modicum.data.image import ImageRef
from modicum.data.writers.dicom_copied import copied

# highdicom requires these, and they are empty in the object (C.7.1.1, C.7.2.1).
_WHO_AND_WHEN = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "ReferringPhysicianName"),
    *("AccessionNumber", "StudyID", "StudyDate", "StudyTime"),
)
_GEOMETRY = ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
# Tolerance of direction cosines, which scanners write with about six decimals: 0.03 mm across an image.
_SAME_DIRECTION = 1e-4
_SAME_SPACING = 1e-4
_SAME_DEPTH = 1e-3  # millimetres


@dataclass(frozen=True, eq=False)
class SegmentedImage:
    """One source image.

    Attributes:
        stand_in: data set for highdicom.
        reference: reference to its instance and frame (table 10-3).
        study: its StudyInstanceUID, and
        series: its SeriesInstanceUID; new ones if missing.
        depth: its position along the normal of its plane, in millimetres; None if unknown.
    """

    stand_in: Dataset
    reference: Dataset
    study: str
    series: str
    depth: float | None

    @classmethod
    def of(cls, header: Dataset, source: ImageRef) -> "SegmentedImage":
        """A source image from its header."""
        study, series, instance = (
            str(header.get(keyword) or generate_uid(prefix=None))
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        )
        reference = Dataset()
        reference.ReferencedSOPClassUID = header.get("SOPClassUID") or SecondaryCaptureImageStorage
        reference.ReferencedSOPInstanceUID = instance
        if source.frame is not None and int(header.get("NumberOfFrames") or 1) > 1:
            reference.ReferencedFrameNumber = source.frame + 1
        stand_in = copied(header, source.frame, SecondaryCaptureImageStorage)
        if not all(stand_in.get(keyword) for keyword in _GEOMETRY):
            for keyword in ("ImagePositionPatient", "ImageOrientationPatient"):
                stand_in.pop(keyword, None)
        for keyword in _WHO_AND_WHEN:
            setattr(stand_in, keyword, None)
        stand_in.SliceThickness = stand_in.get("SliceThickness")
        stand_in.Rows, stand_in.Columns = header.Rows, header.Columns
        # For any source, also a frame of several: highdicom requires series of single images of known kinds.
        stand_in.SOPClassUID = SecondaryCaptureImageStorage
        stand_in.SOPInstanceUID = generate_uid(prefix=None)
        stand_in.StudyInstanceUID, stand_in.SeriesInstanceUID = study, series
        return cls(stand_in, reference, study, series, _depth(stand_in))

    def fits(self, images: Sequence["SegmentedImage"]) -> bool:
        """Whether it can be in one object with other images: a new plane of their stack."""
        if not images:
            return True
        if self.depth is None or any(image.depth is None for image in images):
            return False
        mine, its = self.stand_in, images[0].stand_in
        same = ("Rows", "Columns", "FrameOfReferenceUID", "StudyInstanceUID", "SeriesInstanceUID")
        if any(mine[keyword].value != its[keyword].value for keyword in same):
            return False
        turned = np.subtract(mine.ImageOrientationPatient, its.ImageOrientationPatient, dtype=float)
        distances = np.abs(np.array([image.depth for image in images], float) - self.depth)
        return bool(
            np.abs(turned).max() < _SAME_DIRECTION
            and np.allclose(mine.PixelSpacing, its.PixelSpacing, rtol=_SAME_SPACING)
            and distances.min() > _SAME_DEPTH
        )


def _depth(stand_in: Dataset) -> float | None:
    if "ImagePositionPatient" not in stand_in:
        return None
    rows, columns = np.reshape(stand_in.ImageOrientationPatient, (2, 3)).astype(float)
    return float(np.cross(rows, columns) @ np.asarray(stand_in.ImagePositionPatient, float))


def name_sources(dataset: Dataset, images: Sequence[SegmentedImage]) -> None:
    """Replaces the references to stand-ins by references to the images (C.7.6.16.2.6, C.12.2)."""
    references = {image.stand_in.SOPInstanceUID: image.reference for image in images}
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        for derivation in groups.DerivationImageSequence:
            for item in derivation.SourceImageSequence:
                # Frames of several segments share one item, which is set the first time.
                item.update(references.get(item.ReferencedSOPInstanceUID, {}))
    once = {image.reference.ReferencedSOPInstanceUID: image.reference for image in images}
    instances = []
    for reference in once.values():
        item = Dataset()
        item.ReferencedSOPClassUID = reference.ReferencedSOPClassUID
        item.ReferencedSOPInstanceUID = reference.ReferencedSOPInstanceUID
        instances.append(item)
    series = Dataset()
    series.SeriesInstanceUID = images[0].series
    series.ReferencedInstanceSequence = instances
    dataset.SourceImageSequence = instances
    if dataset.StudyInstanceUID == images[0].study:
        dataset.ReferencedSeriesSequence = [series]
        return
    del dataset.ReferencedSeriesSequence  # which is only for instances of the object's own study
    study = Dataset()
    study.StudyInstanceUID = images[0].study
    study.ReferencedSeriesSequence = [series]
    dataset.StudiesContainingOtherReferencedInstancesSequence = [study]
