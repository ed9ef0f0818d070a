"""Removes image names from messages: a file may be named after a patient, so no table or page repeats them."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from modicum.data.image import ImageRef
from modicum.data.manifest import Manifest, path_columns

INSTEAD = "[image]"
_FILE = re.compile(
    r"[^\s'\"()]+\.(?:png|jpe?g|tiff?|bmp|dcm|dicom|nii(?:\.gz)?|mha|nrrd)\b(?:#[\w=&]+)?", re.IGNORECASE
)
"""Matches names that look like image files but are not in the data, such as a file next to a series."""


@dataclass(frozen=True)
class ImageNames:
    """The names of a data set's files.

    Attributes:
        names: images, targets and masks as in the manifest, and the same without folder or part.
    """

    names: frozenset[str]

    @classmethod
    def of(cls, manifest: Manifest) -> "ImageNames":
        """The names in a manifest."""
        names: set[str] = set()
        for column in path_columns(manifest.table.columns):
            for text in manifest.table[column].dropna().astype(str):
                names |= _forms(text)
        return cls(frozenset(names))

    def left_out_of(self, text: str) -> str:
        """The text with image names replaced; the reason stays.

        >>> ImageNames(frozenset({"eyes/Jane Doe.png"})).left_out_of("1 image cannot be read (eyes/Jane Doe.png: empty)")
        '1 image cannot be read ([image]: empty)'
        """
        met = sorted((name for name in self.names if name in text), key=len, reverse=True)
        for name in met:
            text = re.sub(rf"(?<!\w)[^\s'\"()]*?{re.escape(name)}(?!\w)", INSTEAD, text)
        return _FILE.sub(INSTEAD, text)


def _forms(text: str) -> set[str]:
    """The forms in which a message may name an image; none if the file is the whole data set, or the name a number."""
    ref = ImageRef.parse(text)
    if ref.array is not None:
        return set()
    path = PurePosixPath(text.removesuffix(ref.part))
    return {form for form in (text, str(path), path.name) if not form.isdigit() and len(form) > 2}
