"""What a request wants to know of its images, and what it is told."""

from dataclasses import dataclass, field
from typing import Any

Cell = str | float | bool | None


@dataclass(frozen=True)
class Wanted:
    """What is computed besides the table's rows; only requests that want the same share a forward pass.

    Attributes:
        maps: pictures of what the answer rests on.
        preview: the image itself as it was read, small.
        file: predictions as the files of ``modicum predict``, not as PNG.
    """

    maps: bool = False
    preview: bool = False
    file: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture of an answer.

    Attributes:
        name: ``prediction``, ``preview``, or what a map shows.
        kind: ``image``, ``mask`` (its values are codes), ``map`` (grey: the more the brighter) or ``file``.
        media_type: of the content.
        content: the file.
        file_name: for one that is saved.
    """

    name: str
    kind: str
    media_type: str
    content: bytes = field(repr=False)
    file_name: str = ""


@dataclass(frozen=True)
class ImageAnswer:
    """What a run says of one file.

    Attributes:
        image: the file's name.
        rows: as in the table of ``modicum predict``, without ``image`` and ``error``: one, or one a box or slice.
        pictures: of dense predictions, and those that were asked for.
        notes: what to know of the answer.
        error: why there is none, in one line.
    """

    image: str
    rows: list[dict[str, Cell]] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON values; pictures in base64."""
        from base64 import b64encode

        pictures = [
            {
                "name": picture.name,
                "kind": picture.kind,
                "media_type": picture.media_type,
                "file_name": picture.file_name or None,
                "base64": b64encode(picture.content).decode("ascii"),
            }
            for picture in self.pictures
        ]
        return {
            "image": self.image,
            "rows": self.rows,
            "pictures": pictures,
            "notes": self.notes,
            "error": self.error,
        }
