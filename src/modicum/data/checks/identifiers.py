"""Finds what may identify a person outside DICOM headers: text inside pictures' files, names of files, patient ids.

JPEG comments, EXIF and PNG text travel with a picture wherever it is copied, and nobody sees them. What is found is
counted by kind and place; the text itself is never returned.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from PIL import ExifTags, Image

from modicum.data.checks.data_warnings import DataWarning
from modicum.data.manifest import Manifest, split_reference
from modicum.data.readers.quiet import quiet

_DAY = r"(?:0[1-9]|[12]\d|3[01])"
_MONTH = r"(?:0[1-9]|1[0-2])"
_YEAR = r"(?:19\d\d|20[0-3]\d)"
_EDGE_BEFORE, _EDGE_AFTER = r"(?<![0-9A-Za-z.])", r"(?![0-9A-Za-z])"
_PATTERNS = {
    "date": rf"{_EDGE_BEFORE}(?:{_YEAR}([-_./]?){_MONTH}\1{_DAY}|{_DAY}([-_./]){_MONTH}\2{_YEAR}){_EDGE_AFTER}",
    # Nine digits or more, or six and four as in several countries' identity numbers. Counters that begin with two zeros
    # are how published sets number their patients.
    "identity number": (
        rf"{_EDGE_BEFORE}(?:(?!00)\d{{9,}}|{_DAY}{_MONTH}\d\d[-+]\d{{4}}|\d\d{_MONTH}{_DAY}[-+]\d{{4}}|"
        rf"\d{{3}}-\d\d-\d{{4}}){_EDGE_AFTER}"
    ),
    "name": r"[^\W\d_]{2,}\^[^\W\d_]+|^[^\W\d_]{2,}, [^\W\d_]{2,}$",
}
_IN_NAMES = {kind: re.compile(pattern) for kind, pattern in _PATTERNS.items()}
_IN_TEXT = {
    **_IN_NAMES,
    "identity number": re.compile(rf"{_EDGE_BEFORE}\d{{6,}}{_EDGE_AFTER}|{_PATTERNS['identity number']}"),
    "words about a patient": re.compile(
        r"\b(?:patient|birth|born|dob|mrn|ssn|surname|geb(?:oren)?|naissance)\b", re.I
    ),
}
# Text that people or viewers write. Dates and numbers of cameras stand in other tags.
_EXIF = (
    *(
        "ImageDescription",
        "Artist",
        "UserComment",
        "XPTitle",
        "XPComment",
        "XPAuthor",
        "XPKeywords",
        "XPSubject",
    ),
    *("ImageID", "ImageHistory", "DocumentName", "PageName", "CameraOwnerName", "ImageUniqueID"),
)
_TAGS = {int(tag): tag.name for tag in ExifTags.Base if tag.name in _EXIF}
_MOST_TEXT = 100_000
_LISTED = 3


@dataclass
class Identifiers:
    """What was found, by kind.

    Attributes:
        counts: of ``JPEG comment: date`` and the like, the number of images; of ``file name: date``, of rows.
        examples: for each kind the first images, by name; by number where the name itself is what was found.
    """

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, example: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if len(listed := self.examples.setdefault(kind, [])) < _LISTED:
            listed.append(example)


def find_identifiers(manifest: Manifest) -> Identifiers:
    """Looks at the names of all rows, and into the files of pictures; files that cannot be read are passed over."""
    identifiers = Identifiers()
    patients = manifest.table["patient"].tolist() if "patient" in manifest.table else []
    seen: set[str] = set()
    for row, reference in enumerate(manifest.table["image"]):
        file = split_reference(reference)[0]
        if file in seen:
            continue
        seen.add(file)
        in_name = kinds_in(PurePosixPath(file).stem, _IN_NAMES)
        example = f"image {row + 1}" if in_name or kinds_in(file, _IN_NAMES) else file
        for kind in in_name:
            identifiers.add(f"file name: {kind}", example)
        for place, text in _texts(manifest.root / file):
            for kind in kinds_in(text, _IN_TEXT):
                identifiers.add(f"{place}: {kind}", example)
    first_row = {
        patient: row for row, patient in reversed(list(enumerate(patients))) if isinstance(patient, str)
    }
    for patient, row in first_row.items():
        for kind in kinds_in(patient, _IN_NAMES):
            identifiers.add(f"patient id: {kind}", f"that of image {row + 1}")
    return identifiers


def identifier_warnings(identifiers: Identifiers) -> list[DataWarning]:
    """A warning a place and kind, without what was found."""
    return [
        DataWarning(
            f"{kind.partition(': ')[0]} with what may identify a person ({kind.partition(': ')[2]}): {number:,}",
            "remove it before the images are shared; modicum never copies it into a run's report or messages"
            if not kind.startswith(("file name", "patient id"))
            else "use pseudonyms; names and ids stand in tables, reports and messages",
            examples=tuple(identifiers.examples[kind]),
        )
        for kind, number in identifiers.counts.items()
    ]


def kinds_in(text: str, patterns: Mapping[str, re.Pattern[str]] = _IN_TEXT) -> list[str]:
    """Kinds of identifiers that a text seems to hold.

    >>> kinds_in("DOB 12.03.1952"), kinds_in("CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), quality = 90")
    (['date', 'words about a patient'], [])
    """
    return [kind for kind, pattern in patterns.items() if pattern.search(text[:_MOST_TEXT])]


def _texts(path: Any) -> Iterator[tuple[str, str]]:
    """Texts in a picture's file, by where they stand. Nothing for what Pillow does not know."""
    try:
        with quiet(), Image.open(path) as image:
            texts = list(_texts_of(image))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, TypeError, KeyError, IndexError):
        return
    yield from texts


def _texts_of(image: Image.Image) -> Iterator[tuple[str, str]]:
    for name, value in image.info.items():
        if name == "comment":
            yield f"{image.format} comment", _decoded(value)
        elif image.format == "PNG" and isinstance(value, str | bytes) and name not in ("icc_profile", "exif"):
            yield "PNG text", f"{name}: {_decoded(value)}"
    exif = image.getexif()
    for tags in (exif, exif.get_ifd(ExifTags.IFD.Exif)):
        for tag, value in tags.items():
            if tag in _TAGS:
                yield "EXIF", _decoded(value)


def _decoded(value: Any) -> str:
    if isinstance(value, tuple) and all(isinstance(part, int) for part in value):
        value = bytes(part % 256 for part in value)
    if not isinstance(value, bytes):
        return str(value)
    for prefix in (b"ASCII\0\0\0", b"UNICODE\0", b"\0" * 8):
        value = value.removeprefix(prefix)
    encoding = "utf-16-le" if b"\0" in value[1:2] else "utf-8"
    return value.decode(encoding, errors="replace").strip("\0 ")
