"""Names of images in messages: a file may be called as a patient is, so no table and no page repeats them."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from modicum.data.image import ImageRef
from modicum.data.manifest import Manifest, path_columns

INSTEAD = "[image]"
_FILE = re.compile(
    r"[^\s'\"()]+\.(?:png|jpe?g|tiff?|bmp|dcm|dicom|nii(?:\.gz)?|mha|nrrd)\b(?:#[\w=&]+)?", re.IGNORECASE
)
"""What looks like an image's name without being one of the data's: a file beside a series, for instance."""


@dataclass(frozen=True)
class ImageNames:
    """What a data set calls its files.

    Attributes:
        names: images, targets and masks as the manifest names them, and the same without folder or part.
    """

    names: frozenset[str]

    @classmethod
    def of(cls, manifest: Manifest) -> "ImageNames":
        """The names in a manifest."""
        found: set[str] = set()
        for column in path_columns(manifest.table.columns):
            for text in manifest.table[column].dropna().astype(str):
                found |= _forms(text)
        return cls(frozenset(found))

    def left_out_of(self, text: str) -> str:
        """The text without the names: what is wrong stays, where does not.

        >>> ImageNames(frozenset({"eyes/Jane Doe.png"})).left_out_of("1 image cannot be read (eyes/Jane Doe.png: empty)")
        '1 image cannot be read ([image]: empty)'
        """
        met = sorted((name for name in self.names if name in text), key=len, reverse=True)
        for name in met:
            text = re.sub(rf"(?<!\w)[^\s'\"()]*?{re.escape(name)}(?!\w)", INSTEAD, text)
        return _FILE.sub(INSTEAD, text)


def _forms(text: str) -> set[str]:
    """How a message may call an image; none where the file is the whole data set, or the name a mere number."""
    ref = ImageRef.parse(text)
    if ref.array is not None:
        return set()
    path = PurePosixPath(text.removesuffix(ref.part))
    return {form for form in (text, str(path), path.name) if not form.isdigit() and len(form) > 2}
