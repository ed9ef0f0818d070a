"""Boxes against their images: units, orientation, and what lies outside, before any training."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float64

from modicum.data.boxes.boxes import Boxes, count_of_boxes, turned_boxes
from modicum.data.boxes.column import given_boxes
from modicum.data.boxes.given import GivenBoxes
from modicum.data.boxes.options import BoxOptions
from modicum.data.image_facts import ImageFacts
from modicum.data.manifest import Manifest
from modicum.data.readers.intensity import TURNED
from modicum.data.slice_notes import names_no_slice
from modicum.errors import InputError
from modicum.wording import count_of

# A box that reaches over its image's edge by less is not worth a word: numbers in files are rounded.
_ROUNDING = 0.05


@dataclass(frozen=True, eq=False)
class CheckedBoxes:
    """Boxes in pixels of the upright images, none of which leaves its image.

    Attributes:
        rows: of each row of the manifest; None where nothing is said of it.
        notes: what was decided, clipped or left out.
    """

    rows: list[Boxes | None]
    notes: list[str]

    @property
    def count(self) -> int:
        """Boxes in all."""
        return sum(len(boxes) for boxes in self.rows if boxes is not None)

    @property
    def images(self) -> int:
        """Images with a box or more."""
        return sum(1 for boxes in self.rows if boxes)

    def classes(self) -> dict[str, int]:
        """Boxes of each class, the most frequent first; empty where boxes have no classes."""
        names = Counter(name for boxes in self.rows if boxes is not None for name in boxes.class_names or ())
        return dict(sorted(names.items(), key=lambda item: (-item[1], item[0])))


@dataclass
class _Findings:
    """What is noted on the way."""

    refused: list[tuple[str, str]] = field(default_factory=list)
    clipped: int = 0
    assumed: int = 0
    turned: int = 0
    in_volumes: int = 0
    unsaid_slice: int = 0


def checked_boxes(
    manifest: Manifest,
    facts: Sequence[ImageFacts | None],
    options: BoxOptions | None = None,
) -> CheckedBoxes:
    """All boxes of a manifest, checked against the sizes of their images.

    A box that reaches over its image's edge is clipped. One that lies wholly outside, is inverted, has no area or holds
    NaN is refused, or left out with ``outside="drop"``.

    Args:
        manifest: with the column ``boxes``, as :func:`modicum.data.layouts.load_manifest` reads it.
        facts: of each row's image; None for one that cannot be read, whose boxes are then none.
        options: how boxes are read.

    Raises:
        InputError: a box is refused, with where it comes from; a file says another size than the image has; some boxes
            have classes or scores and others none.
    """
    options = options or BoxOptions()
    given = given_boxes(manifest)
    _check_alike(manifest, given)
    findings = _Findings()
    rows: list[Boxes | None] = []
    for row, (one, fact) in enumerate(zip(given, facts, strict=True)):
        if one is not None and fact is not None and len(one):
            findings.in_volumes += fact.format == "nifti"
            text = str(manifest.table["image"].iloc[row])
            findings.unsaid_slice += fact.slices > 1 and names_no_slice(text, fact)
        rows.append(
            None
            if one is None or fact is None
            else _checked(one, fact, manifest.describe_row(row), options, findings)
        )
    if findings.refused and options.outside == "refuse":
        place, reason = findings.refused[0]
        count = len(findings.refused)
        more = f" ({count_of_boxes(count)} of the kind in all)" if count > 1 else ""
        raise InputError(
            f"{place}: {reason}{more}", "correct it, or leave such boxes out with --box-options outside=drop"
        )
    return CheckedBoxes(rows, _notes(findings, options))


def _checked(
    given: GivenBoxes, facts: ImageFacts, place: str, options: BoxOptions, findings: _Findings
) -> Boxes:
    edges, (height, width) = _upright(given, facts, place, options, findings), (facts.height, facts.width)
    kept = _usable(edges, height, width)
    for index in np.flatnonzero(~kept).tolist():
        written = ", ".join(
            f"{name}={edge:g}" for name, edge in zip(("x0", "y0", "x1", "y1"), given.xyxy[index], strict=True)
        )
        share = " of the image" if given.units == "normalised" else ""
        turned = f", of EXIF orientation {facts.orientation}" if (facts.orientation or 1) > 1 else ""
        image = f"{width} x {height} pixels (width x height{turned})"
        findings.refused.append(
            (
                given.place(index, place),
                f"the box {written}{share} {_fault(edges[index]).format(image=image)}",
            )
        )
    ends = np.array([width, height, width, height], np.float64)
    clipped = np.clip(edges, 0, ends)
    findings.clipped += int((np.abs(clipped - edges)[kept] > _ROUNDING).any(axis=1).sum())
    scores = None if given.scores is None else given.scores.astype(np.float32)
    return Boxes(clipped.astype(np.float32), given.class_names, scores).subset(kept)


def _usable(edges: Float64[np.ndarray, "n 4"], height: int, width: int) -> Bool[np.ndarray, "n"]:
    """Which boxes have an area, part of which is in the image."""
    x0, y0, x1, y1 = edges.T
    inside = (x1 > 0) & (y1 > 0) & (x0 < width) & (y0 < height)
    return np.isfinite(edges).all(axis=1) & (x1 > x0) & (y1 > y0) & inside


def _fault(box: Float64[np.ndarray, "4"]) -> str:
    """What is wrong with a box that is not usable."""
    if not np.isfinite(box).all():
        return "has an edge that is no number"
    x0, y0, x1, y1 = box.tolist()
    if x1 < x0 or y1 < y0:
        return "is inverted"
    if x1 == x0 or y1 == y0:
        return "has no area"
    return "lies outside its image of {image}"


def _upright(
    given: GivenBoxes, facts: ImageFacts, place: str, options: BoxOptions, findings: _Findings
) -> Float64[np.ndarray, "n 4"]:
    """Edges in pixels of the upright image."""
    upright = facts.height, facts.width
    orientation = facts.orientation or 1
    in_file = upright[::-1] if orientation in TURNED else upright
    ignored = options.exif == "ignored" and not given.upright
    if given.size is not None:
        if given.size not in (upright, in_file):
            raise InputError(
                f"{_file_of(given, place)}: the image is said to be {given.size[1]} x {given.size[0]} pixels, and it is "
                f"{upright[1]} x {upright[0]} (width x height)",
                "give boxes of the images as they are, or scale the boxes with them",
            )
        if upright != in_file:  # only then does the size tell one from the other
            ignored = given.size == in_file
            findings.turned += len(given) > 0 and ignored
    decided = given.upright or (given.size is not None and upright != in_file)
    if orientation > 1 and len(given) and not decided:
        findings.assumed += 1
    frame = in_file if ignored else upright
    edges = given.xyxy
    if given.units == "normalised":
        edges = edges * np.array([frame[1], frame[0]] * 2, np.float64)
    return turned_boxes(edges, orientation, upright) if ignored and orientation > 1 else edges


def _file_of(given: GivenBoxes, place: str) -> str:
    return given.place(0, place) if len(given) else place


def _check_alike(manifest: Manifest, given: Sequence[GivenBoxes | None]) -> None:
    """Raises an InputError where some boxes have classes (or scores) and others none."""
    for what in ("class_names", "scores"):
        first: dict[bool, int] = {}
        for row, one in enumerate(given):
            if one is not None and len(one):
                first.setdefault(getattr(one, what) is not None, row)
        if len(first) == 2:
            word = {"class_names": "a class", "scores": "a score"}[what]
            raise InputError(
                f"{manifest.describe_row(first[False])}: its boxes have not {word}, as those of "
                f"{manifest.describe_row(first[True])}",
                f"give every box {word}, or none",
            )


def _notes(findings: _Findings, options: BoxOptions) -> list[str]:
    notes = []
    if findings.clipped:
        notes.append(
            f"{count_of_boxes(findings.clipped)} reached over the edge of the image and {_was(findings.clipped)} clipped"
        )
    if findings.refused:
        notes.append(
            f"left out: {count_of_boxes(len(findings.refused))} outside the image, without area or not numbers (first: "
            f"{findings.refused[0][0]})"
        )
    if findings.turned:
        notes.append(
            f"boxes of {count_of(findings.turned, 'image')} were turned with the image (EXIF orientation): the size that "
            "the file of boxes says is that of the pixels as they lie in the file"
        )
    if findings.assumed:
        how = {
            "applied": "are taken as drawn on the upright image; if they were drawn on the pixels as they lie in the "
            "file, pass --box-options exif=ignored",
            "ignored": "are taken as drawn on the pixels as they lie in the file, and were turned with the image",
        }
        images = count_of(findings.assumed, "image")
        notes.append(f"boxes of {images} with an EXIF orientation {how[options.exif]}")
    if findings.in_volumes:
        notes.append(
            f"boxes of {count_of(findings.in_volumes, 'NIfTI slice')} are taken as columns and rows of the upright "
            "picture (front or head on top, the patient's right on the left), not as indices of the file's voxels"
        )
    if findings.unsaid_slice:
        notes.append(
            f"boxes of {count_of(findings.unsaid_slice, 'image')} with several slices are taken as of the one that is "
            "read, the middle one (of a TIFF or GIF the first page); name another as 'scan.nii.gz#axis=2&index=80'"
        )
    return notes


def _was(number: int) -> str:
    return "was" if number == 1 else "were"
