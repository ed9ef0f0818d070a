"""Writes DICOM segmentation objects (SEG): predicted regions of one series, in one de-identified file.

Decisions. The code that builds the object sees only geometry and technique of a source's header; see
``segmentation_source``. The patient's name is a pseudonym set by the caller. UIDs of instance, series and (unless
``keep_study``) study are new. Kept from the source are the frame of reference and, as C.12.2 requires for an object
that references its sources, the UIDs of their instances, series and study.

Segments are binary and may overlap. Names of classes are known, but not their codes in a coding scheme: each segment is
of the category and type (PS3.16 CID 7150 and 7151) "Tissue", SCT 85756007, and its label is the name. Empty frames of a
segment are left out, as readers expect; every image is still referenced as a source.

highdicom (extra ``dicom``) takes a second to import, and is imported only for writing.

Sections (C....) are of the DICOM standard, PS3.3.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from jaxtyping import Bool, Integer, UInt8
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from modicum.atomic_files import atomic_file
from modicum.data.image import ImageRef
from modicum.data.readers import dicom_header
from modicum.data.writers.dicom import DerivedSeries
from modicum.data.writers.segmentation_source import SegmentedImage, name_sources
from modicum.errors import BrokenImageError, InputError
from modicum.version import __version__

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription

REMEDY = "pip install modicum[dicom]"
_LONGEST_LABEL = 64  # characters of a long string, LO (PS3.5 section 6.2)
_LONGEST_TEXT = 1024  # of a short text, ST


def can_write_segmentation() -> bool:
    """Whether highdicom is installed."""
    return find_spec("highdicom") is not None


@contextmanager
def _quiet_highdicom() -> Iterator[None]:
    """A context without highdicom's log of less than errors, which is a line or more for each image.

    What the caller has set stays: only a logger without a level of its own is changed, and only inside.
    """
    logger = logging.getLogger("highdicom")
    before = logger.level
    if before == logging.NOTSET:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


@dataclass
class SegmentationObject:
    """Collects the regions in images of one series, and writes them as one object.

    During collection, memory holds one bit per pixel and class. highdicom needs all at once: one byte per pixel
    if no classes overlap, otherwise one per class, and temporarily 9 more for its check. Including the collected and the
    written data, 4 and 15 bytes per pixel were measured with 4 classes.

    Args:
        labels: names of the classes, at least one.
        model: name of the model, up to 48 ASCII characters, without patient information.
        pseudonym: replaces the patient's name and id; letters, digits, ``.``, ``_`` and ``-``.
        keep_study: use the source's StudyInstanceUID, so that an archive files the object with its source. That links
            it to the patient, at the caller's responsibility.
        number: SeriesNumber.
        study_uid: UID of the new study; objects with the same one are in one study.

    Raises:
        InputError: an invalid name.
    """

    labels: Sequence[str]
    model: str
    pseudonym: str
    keep_study: bool = False
    number: int = 1
    study_uid: str = field(default_factory=lambda: str(generate_uid(prefix=None)))
    _images: list[SegmentedImage] = field(default_factory=list, init=False, repr=False)
    _packed: list[UInt8[np.ndarray, "bytes"]] = field(default_factory=list, init=False, repr=False)
    _overlap: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.labels:
            raise InputError("a segmentation object without classes", "pass at least one label")
        DerivedSeries(self.model, self.pseudonym, (0, 1))  # checks both names

    def add(self, source: ImageRef, regions: Bool[np.ndarray, "classes height width"]) -> bool:
        """Adds the regions of an image, if it can be in one object with the previous ones.

        One object has one frame of reference, orientation, size and spacing, and no two images at the same position.
        An image without known position needs a separate object.

        Args:
            source: the DICOM image (a frame of it, if it has several).
            regions: mask of each class, at the source's size.

        Returns:
            Whether it was added.

        Raises:
            InputError: another size than the source's, other classes, or the patient's real name or id as pseudonym.
            BrokenImageError: the source is not a DICOM image.
        """
        header = dicom_header(source.path)
        expected = len(self.labels), int(header.Rows), int(header.Columns)
        if regions.shape != expected:
            raise InputError(
                f"regions of {' x '.join(map(str, regions.shape))} for {len(self.labels)} classes in an image of "
                f"{expected[1]} x {expected[2]}",
                "resize them to the source's size first (Placement.restored)",
            )
        self._check_pseudonym(header)
        image = SegmentedImage.of(header, source)
        if not image.fits(self._images):
            return False
        if self._images:  # so that directions that differ by rounding become equal
            image.stand_in.ImageOrientationPatient = self._images[0].stand_in.ImageOrientationPatient
        self._images.append(image)
        self._packed.append(np.packbits(regions))
        self._overlap = self._overlap or bool((regions.sum(0, dtype=np.uint16) > 1).any())
        return True

    def write(self, path: Path) -> None:
        """Writes the collected regions.

        Args:
            path: the file; replaced if it exists.

        Raises:
            InputError: highdicom is not installed, or no image was added.
            BrokenImageError: highdicom cannot make an object of such images.
        """
        if not can_write_segmentation():
            raise InputError(f"'{path.name}' was not written: highdicom is not installed", REMEDY)
        if not self._images:
            raise InputError(f"'{path.name}' was not written: it contains no image", "call add() first")
        try:
            with _quiet_highdicom():
                dataset = self._highdicom_object()
        except ValueError as error:
            reason = f"no segmentation object can be made from it ({error})"
            raise BrokenImageError(path.name, reason) from error
        name_sources(dataset, self._images)
        if len(self._images) == 1 and "SpacingBetweenSlices" not in self._images[0].stand_in:
            # highdicom invents one of 1 mm.
            for measures in dataset.SharedFunctionalGroupsSequence[0].get("PixelMeasuresSequence", []):
                measures.pop("SpacingBetweenSlices", None)
        dataset.PatientName = dataset.PatientID = self.pseudonym
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = "derived object; only geometry and technique copied"
        with atomic_file(path, durable=False) as file:
            pydicom.dcmwrite(file, dataset, enforce_file_format=True)

    def _check_pseudonym(self, header: Dataset) -> None:
        identities = {
            str(header.get(keyword, "")).strip().casefold() for keyword in ("PatientID", "PatientName")
        }
        if self.pseudonym.casefold() in identities:
            raise InputError(
                "the pseudonym is the patient's real name or id",
                "pass another --pseudonym, for instance predicted",
            )

    def _highdicom_object(self) -> "Segmentation":
        """The object that highdicom builds from the stand-ins (C.8.20)."""
        from highdicom.seg import Segmentation

        stand_ins = [image.stand_in for image in self._images]
        if not self.keep_study:
            for stand_in in stand_ins:
                stand_in.StudyInstanceUID = self.study_uid
        return Segmentation(
            source_images=stand_ins,
            pixel_array=self._stacked() if self._overlap else self._numbered(),
            segmentation_type="BINARY",
            segment_descriptions=self._segments(),
            series_instance_uid=generate_uid(prefix=None),
            series_number=self.number,
            sop_instance_uid=generate_uid(prefix=None),
            instance_number=1,
            manufacturer="modicum",
            manufacturer_model_name=self.model,
            software_versions=__version__,
            device_serial_number="none",  # must not be empty (C.7.5.2)
            content_label="SEGMENTATION",
            content_description=f"predicted by {self.model}",
            series_description=f"segmentation: {self.model}",
            transfer_syntax_uid=ExplicitVRLittleEndian,
            specific_character_set="ISO_IR 192",
        )

    def _numbered(self) -> Integer[np.ndarray, "images height width"]:
        """The class number, from 1, at each pixel; 0 for background."""
        kind = np.uint8 if len(self.labels) <= 255 else np.uint16
        numbers = np.zeros((len(self._images), *self._size), kind)
        for plane, packed in zip(numbers, self._packed, strict=True):
            for number, region in enumerate(self._regions(packed), 1):
                plane[region] = number
        return numbers

    def _stacked(self) -> Bool[np.ndarray, "images height width classes"]:
        """Masks of overlapping classes."""
        stacked = np.zeros((len(self._images), *self._size, len(self.labels)), bool)
        for plane, packed in zip(stacked, self._packed, strict=True):
            plane[:] = np.moveaxis(self._regions(packed), 0, -1)
        return stacked

    @property
    def _size(self) -> tuple[int, int]:
        return int(self._images[0].stand_in.Rows), int(self._images[0].stand_in.Columns)

    def _regions(self, packed: UInt8[np.ndarray, "bytes"]) -> Bool[np.ndarray, "classes height width"]:
        shape = len(self.labels), *self._size
        return np.unpackbits(packed, count=int(np.prod(shape))).view(bool).reshape(shape)

    def _segments(self) -> "list[SegmentDescription]":
        """Descriptions of the segments (C.8.20.4), with the algorithm."""
        from highdicom import AlgorithmIdentificationSequence
        from highdicom.seg import SegmentDescription
        from pydicom.sr.codedict import codes

        segments = []
        for number, name in enumerate(self.labels, 1):
            label = "".join(c for c in name if c.isprintable() and c != "\\")[:_LONGEST_LABEL].strip()
            algorithm = AlgorithmIdentificationSequence(
                self.model, codes.cid7162.ArtificialIntelligence, __version__, source="modicum"
            )
            tissue = codes.SCT.Tissue
            segment = SegmentDescription(
                number, label or f"class {number}", tissue, tissue, "AUTOMATIC", algorithm
            )
            if label != name:
                segment.SegmentDescription = name[:_LONGEST_TEXT]
            segments.append(segment)
        return segments
