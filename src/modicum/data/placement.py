"""Where an image lies in what a network saw, and the way back for what the network says of each pixel.

The inverse of :func:`modicum.data.prepared.prepared`: of its crop, and of stretching, padding or cutting to
the network's size.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Integer, Shaped

from modicum.data.fundus_crop import Box, fundus_box
from modicum.data.grey_levels import grey_levels
from modicum.data.image import MedicalImage
from modicum.data.image_facts import ImageFacts
from modicum.data.prepared import StoreSettings
from modicum.data.resize import resized
from modicum.errors import InputError

Size = tuple[int, int]


@dataclass(frozen=True)
class Placement:
    """How an image of ``source`` size became one of ``seen`` size: ``shown`` was resized to ``inner``.

    Attributes:
        source: height and width of the image in its file, upright.
        seen: height and width of what the network sees.
        shown: the part of the image that the network sees, in pixels of the source.
        inner: where that part lies in what the network sees; the rest there is black.
    """

    source: Size
    seen: Size
    shown: Box
    inner: Box

    @classmethod
    def of(cls, source: Size, seen: Size, fit: str = "stretch", crop: Box | None = None) -> "Placement":
        """The placement that :func:`modicum.data.resize.fitted` makes.

        Args:
            source: height and width of the image.
            seen: height and width that it was brought to.
            fit: ``stretch``, ``pad`` or ``crop``.
            crop: the part that was cut out before; None for all of it.
        """
        crop = Box(0, 0, source[1], source[0]) if crop is None else crop
        size = crop.bottom - crop.top, crop.right - crop.left
        shown, inner = Box(0, 0, size[1], size[0]), Box(0, 0, seen[1], seen[0])
        if fit == "crop":
            keep = (
                min(size[0], max(1, round(size[1] * seen[0] / seen[1]))),
                min(size[1], max(1, round(size[0] * seen[1] / seen[0]))),
            )
            shown = _centred(keep, size)
        elif fit == "pad":
            scale = min(seen[0] / size[0], seen[1] / size[1])
            inside = (
                min(seen[0], max(1, round(size[0] * scale))),
                min(seen[1], max(1, round(size[1] * scale))),
            )
            inner = _centred(inside, seen)
        moved = Box(
            shown.left + crop.left, shown.top + crop.top, shown.right + crop.left, shown.bottom + crop.top
        )
        return cls(source, seen, moved, inner)

    @property
    def scale(self) -> tuple[float, float]:
        """How many pixels of the network one pixel of the source became, down and across."""
        return (
            (self.inner.bottom - self.inner.top) / (self.shown.bottom - self.shown.top),
            (self.inner.right - self.inner.left) / (self.shown.right - self.shown.left),
        )

    def inside(self) -> Bool[np.ndarray, "height width"]:
        """Which pixels of the source the network saw."""
        inside = np.zeros(self.source, bool)
        inside[self.shown.top : self.shown.bottom, self.shown.left : self.shown.right] = True
        return inside

    def seen_boxes(self, boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
        """Boxes (edges x0, y0, x1, y1 in pixels of the source) in what the network sees, not cut at its edges."""
        down, across = self.scale
        shown, inner = self.shown, self.inner
        scale = np.array([across, down, across, down])
        first = np.array([shown.left, shown.top] * 2)
        return (boxes - first) * scale + np.array([inner.left, inner.top] * 2)

    def restored(
        self, output: Float32[np.ndarray, "channels height width"], fill: float | int = 0.0
    ) -> Float32[np.ndarray, "channels source_height source_width"]:
        """A dense output (pixels, probabilities, logits) at the source's size.

        Enlarged bilinearly, reduced by the mean over the area; where no side changes, exact.

        Args:
            output: at the size that the network saw.
            fill: the value of what the network did not see. For logits a large negative number is "surely
                not".

        Raises:
            InputError: the output is not of the size that was seen.
        """
        part = np.ascontiguousarray(self._part(output))
        shown = self.shown
        inner = resized(part, shown.bottom - shown.top, shown.right - shown.left, "area")
        return self._placed(inner, fill)

    def restored_labels(
        self, labels: Integer[np.ndarray, "channels height width"], fill: int = 0
    ) -> Integer[np.ndarray, "channels source_height source_width"]:
        """Labels at the source's size: those of the nearest pixel, in the same dtype.

        Smoother outlines come from restoring the probabilities and choosing the label afterwards.

        Args:
            labels: at the size that the network saw.
            fill: the label of what the network did not see.

        Raises:
            InputError: the labels are not of the size that was seen, or the fill is no value of their dtype.
        """
        limits = np.iinfo(labels.dtype)
        if not limits.min <= fill <= limits.max:
            raise InputError(
                f"fill={fill} does not fit {labels.dtype}",
                f"use {limits.min} to {limits.max}, or wider labels",
            )
        part, shown = self._part(labels), self.shown
        rows = _nearest(part.shape[1], shown.bottom - shown.top)
        columns = _nearest(part.shape[2], shown.right - shown.left)
        return self._placed(part[:, rows[:, None], columns], fill)

    def _part(
        self, output: Shaped[np.ndarray, "channels height width"]
    ) -> Shaped[np.ndarray, "channels inner_height inner_width"]:
        if output.shape[1:] != self.seen:
            raise InputError(
                f"an output of {output.shape[1]} x {output.shape[2]} is not of the size that the network saw, "
                f"{self.seen[0]} x {self.seen[1]}",
                "resize it to that size first",
            )
        return output[:, self.inner.top : self.inner.bottom, self.inner.left : self.inner.right]

    def _placed(
        self, part: Shaped[np.ndarray, "channels shown_height shown_width"], fill: float | int
    ) -> Shaped[np.ndarray, "channels source_height source_width"]:
        if part.shape[1:] == self.source:
            return part
        whole = np.full((part.shape[0], *self.source), fill, part.dtype)
        shown = self.shown
        whole[:, shown.top : shown.bottom, shown.left : shown.right] = part
        return whole


def placed(image: MedicalImage, settings: StoreSettings) -> Placement:
    """The placement of an image that :func:`modicum.data.prepared.read_prepared` read and prepared.

    Where a JPEG was decoded at a reduced scale, a part that was cut out is known to half a pixel of that scale.

    Args:
        image: as it was decoded.
        settings: what it was prepared with.
    """
    pixels = image.pixels
    if settings.channels == 1 and pixels.shape[0] == 3:
        pixels = grey_levels(pixels)[None]  # as ``prepared`` does before it looks for the field
    box = fundus_box(pixels) if settings.crop == "fundus" else None
    decoded = Placement.of(pixels.shape[1:], (settings.height, settings.width), settings.resize, box)
    return _scaled_up(decoded, (image.source.height, image.source.width))


def placement_of(facts: ImageFacts, settings: StoreSettings) -> Placement | None:
    """The same as :func:`placed` of an image in a store, by its facts alone.

    None where these are of an earlier version, which did not keep the part that was cut out.
    """
    if facts.decoded is None:
        return None
    box = None if facts.cropped is None else Box(*facts.cropped)
    decoded = Placement.of(facts.decoded, (settings.height, settings.width), settings.resize, box)
    return _scaled_up(decoded, (facts.height, facts.width))


def _scaled_up(placement: Placement, source: Size) -> Placement:
    """The same placement for the image at its full size."""
    if placement.source == source:
        return placement
    down, across = source[0] / placement.source[0], source[1] / placement.source[1]
    left, top, right, bottom = placement.shown
    left, top = min(round(left * across), source[1] - 1), min(round(top * down), source[0] - 1)
    shown = Box(left, top, max(left + 1, round(right * across)), max(top + 1, round(bottom * down)))
    return Placement(source, placement.seen, shown, placement.inner)


def _centred(inner: Size, outer: Size) -> Box:
    top, left = (outer[0] - inner[0]) // 2, (outer[1] - inner[1]) // 2
    return Box(left, top, left + inner[1], top + inner[0])


def _nearest(old: int, new: int) -> Integer[np.ndarray, "{new}"]:
    """For each of ``new`` pixels the one of ``old`` whose area its centre lies in."""
    return (2 * np.arange(new) + 1) * old // (2 * new)
