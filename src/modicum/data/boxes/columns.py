"""Which columns of a table are a box's, by the names that people give them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from modicum.errors import InputError
from modicum.wording import listed

_SIZES = (("w", "h"), ("width", "height"))
_CORNERS = (("x", "y"), ("x0", "y0"), ("x1", "y1"), ("xmin", "ymin"), ("left", "top"))
_CENTRES = (("cx", "cy"), ("xcenter", "ycenter"), ("xcentre", "ycentre"), ("centerx", "centery"))
_FORMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("xyxy", ("x0", "y0", "x1", "y1")),
    ("xyxy", ("x1", "y1", "x2", "y2")),
    ("xyxy", ("xmin", "ymin", "xmax", "ymax")),
    ("xyxy", ("left", "top", "right", "bottom")),
    *(("xywh", (*corner, *size)) for corner in _CORNERS for size in _SIZES),
    *(("cxcywh", (*centre, *size)) for centre in _CENTRES for size in _SIZES),
)
_IMAGES = (
    *("image", "filename", "file", "filepath", "path", "imagepath", "imagename", "imageid", "imageindex"),
    *("img", "imgname", "imgpath", "patientid"),
)
_CLASSES = (
    *("class", "classname", "label", "labelname", "category", "categoryname", "findinglabel", "finding"),
    *("lesion", "lesiontype", "classid", "categoryid"),
)
_SCORES = ("score", "confidence", "conf", "probability")
_IMAGE_SIZES = (("imagewidth", "imageheight"), ("imgwidth", "imgheight"), ("imwidth", "imheight"))


@dataclass(frozen=True)
class BoxColumns:
    """Which column of a table is what, by its index.

    Attributes:
        image: names the image.
        edges: the four numbers of a box.
        format: what they are, see :class:`~modicum.data.boxes.options.BoxOptions`.
        class_name: None where there is none.
        score: None where there is none.
        size: width and height of the image, or None. If ``beside_corners``, perhaps of the box.
        beside_corners: the columns of ``size`` are called ``width`` and ``height`` without saying of what.
    """

    image: int
    edges: tuple[int, ...]
    format: str
    class_name: int | None = None
    score: int | None = None
    size: tuple[int, int] | None = None
    beside_corners: bool = False


def box_columns(header: Sequence[str], name: str, format: str | None = None) -> BoxColumns:
    """Finds the columns of boxes.

    Capitals, blanks and punctuation do not matter, and a leading ``bbox`` or ``box`` is left away, so that the header of
    ChestX-ray14's table of boxes (``Bbox [x,y,w,h]``) is understood.

    Args:
        header: names of the columns.
        name: of the table, for messages.
        format: the format that the user says; None for what the names of the columns say.

    Raises:
        InputError: there are no such columns, or several could be meant.
    """
    plain = [_plain(column) for column in header]
    at = {word: index for index, word in reversed(list(enumerate(plain)))}
    image = next((at[word] for word in _IMAGES if word in at), None)
    if image is None:
        raise InputError(
            f"{name}: no column names the images (columns: {', '.join(header)})", "call it 'image'"
        )
    chosen, names = _chosen(at, header, name, format)
    edges = tuple(at[word] for word in names)
    size, beside = _size(at, names)
    return BoxColumns(
        image,
        edges,
        format or chosen,
        next((at[word] for word in _CLASSES if word in at), None),
        next((at[word] for word in _SCORES if word in at), None),
        size,
        beside,
    )


def _chosen(
    at: dict[str, int], header: Sequence[str], name: str, format: str | None
) -> tuple[str, tuple[str, ...]]:
    there = [(form, words) for form, words in _FORMS if all(word in at for word in words)]
    # x and y can also be meant as the centre; then the user says so.
    fitting = [
        (form, words)
        for form, words in there
        if format in (None, form) or (format == "cxcywh" and words[:2] == ("x", "y"))
    ]
    corners = [one for one in fitting if one[0] == "xyxy"]
    best = corners or fitting
    if not corners and len({words[:2] for _, words in best}) == 1:
        best = best[:1]  # w, h are the box's where width, height are there too
    if len(best) == 1:
        return best[0]
    columns = ", ".join(header)
    if not best:
        raise InputError(
            f"{name}: no columns hold {'boxes' if format is None else f'boxes as {format}'} (columns: {columns})",
            "call them x0, y0, x1, y1 (edges) or x, y, w, h (corner and size)",
        )
    several = listed((f"{'/'.join(words)}" for _, words in best), 4)
    raise InputError(f"{name}: several columns could be the boxes ({several})", "keep one set of them")


def _size(at: dict[str, int], used: tuple[str, ...]) -> tuple[tuple[int, int] | None, bool]:
    for width, height in _IMAGE_SIZES:
        if width in at and height in at:
            return (at[width], at[height]), False
    for width, height in _SIZES[::-1]:
        if width in at and height in at and width not in used:
            return (at[width], at[height]), True
    return None, False


def _plain(column: str) -> str:
    letters = re.sub(r"[^a-z0-9]", "", column.lower())
    return re.sub(r"^b?box(?=.)", "", letters)
