"""Maps dense outputs of a network back to the size of the source image.

The inverse of :func:`modicum.data.prepared.prepared`: of its crop, and of stretching, padding or cropping to
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
    """How an image of size ``source`` was resized to size ``seen``: region ``visible`` was resized to ``inner``.

    Attributes:
        source: height and width of the image in its file, upright.
        seen: height and width of the network's input.
        visible: the region of the image that the network sees, in pixels of the source.
        inner: that region in the network's input; the rest is black.
    """

    source: Size
    seen: Size
    visible: Box
    inner: Box

    @classmethod
    def of(cls, source: Size, seen: Size, fit: str = "stretch", crop: Box | None = None) -> "Placement":
        """The placement of :func:`modicum.data.resize.fitted`.

        Args:
            source: height and width of the image.
            seen: height and width of the result.
            fit: ``stretch``, ``pad`` or ``crop``.
            crop: the region that was cropped before; None for the whole image.
        """
        crop = Box(0, 0, source[1], source[0]) if crop is None else crop
        size = crop.bottom - crop.top, crop.right - crop.left
        visible, inner = Box(0, 0, size[1], size[0]), Box(0, 0, seen[1], seen[0])
        if fit == "crop":
            keep = (
                min(size[0], max(1, round(size[1] * seen[0] / seen[1]))),
                min(size[1], max(1, round(size[0] * seen[1] / seen[0]))),
            )
            visible = _centred(keep, size)
        elif fit == "pad":
            scale = min(seen[0] / size[0], seen[1] / size[1])
            inside = (
                min(seen[0], max(1, round(size[0] * scale))),
                min(seen[1], max(1, round(size[1] * scale))),
            )
            inner = _centred(inside, seen)
        moved = Box(
            visible.left + crop.left,
            visible.top + crop.top,
            visible.right + crop.left,
            visible.bottom + crop.top,
        )
        return cls(source, seen, moved, inner)

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the network's input per pixel of the source, vertically and horizontally."""
        return (
            (self.inner.bottom - self.inner.top) / (self.visible.bottom - self.visible.top),
            (self.inner.right - self.inner.left) / (self.visible.right - self.visible.left),
        )

    def inside(self) -> Bool[np.ndarray, "height width"]:
        """Mask of the source's pixels that the network saw."""
        inside = np.zeros(self.source, bool)
        inside[self.visible.top : self.visible.bottom, self.visible.left : self.visible.right] = True
        return inside

    def seen_boxes(self, boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
        """Boxes (edges x0, y0, x1, y1 in pixels of the source) in what the network sees, not cut at its edges."""
        down, across = self.scale
        visible, inner = self.visible, self.inner
        scale = np.array([across, down, across, down])
        first = np.array([visible.left, visible.top] * 2)
        return (boxes - first) * scale + np.array([inner.left, inner.top] * 2)

    def source_boxes(self, boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
        """The inverse of :meth:`seen_boxes`: from the network's input to pixels of the source, cut where the image ends.

        A box that lies wholly beside the image has no area afterwards.
        """
        down, across = self.scale
        visible, inner = self.visible, self.inner
        cut = np.clip(boxes, np.array([inner.left, inner.top] * 2), np.array([inner.right, inner.bottom] * 2))
        scale = np.array([across, down, across, down])
        return (cut - np.array([inner.left, inner.top] * 2)) / scale + np.array(
            [visible.left, visible.top] * 2
        )

    def restored(
        self, output: Float32[np.ndarray, "channels height width"], fill: float | int = 0.0
    ) -> Float32[np.ndarray, "channels source_height source_width"]:
        """Resizes a dense output (pixels, probabilities, logits) to the source's size.

        Bilinear to enlarge, area averaging to reduce; exact if no side changes.

        Args:
            output: at the size of the network's input.
            fill: the value for pixels that the network did not see, for logits for instance a large negative number.

        Raises:
            InputError: the output does not have the size of the network's input.
        """
        part = np.ascontiguousarray(self._part(output))
        visible = self.visible
        inner = resized(part, visible.bottom - visible.top, visible.right - visible.left, "area")
        return self._placed(inner, fill)

    def restored_labels(
        self, labels: Integer[np.ndarray, "channels height width"], fill: int = 0
    ) -> Integer[np.ndarray, "channels source_height source_width"]:
        """Resizes labels to the source's size by nearest neighbour, in the same dtype.

        For smoother outlines, restore the probabilities and take the argmax afterwards.

        Args:
            labels: at the size of the network's input.
            fill: the label for pixels that the network did not see.

        Raises:
            InputError: the labels do not have the size of the network's input, or the fill does not fit their dtype.
        """
        limits = np.iinfo(labels.dtype)
        if not limits.min <= fill <= limits.max:
            raise InputError(
                f"fill={fill} does not fit {labels.dtype}",
                f"use {limits.min} to {limits.max}, or wider labels",
            )
        part, visible = self._part(labels), self.visible
        rows = _nearest(part.shape[1], visible.bottom - visible.top)
        columns = _nearest(part.shape[2], visible.right - visible.left)
        return self._placed(part[:, rows[:, None], columns], fill)

    def _part(
        self, output: Shaped[np.ndarray, "channels height width"]
    ) -> Shaped[np.ndarray, "channels inner_height inner_width"]:
        if output.shape[1:] != self.seen:
            raise InputError(
                f"an output of {output.shape[1]} x {output.shape[2]} does not have the size of the network's input, "
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
        visible = self.visible
        whole[:, visible.top : visible.bottom, visible.left : visible.right] = part
        return whole


def placed(image: MedicalImage, settings: StoreSettings) -> Placement:
    """The placement of an image that :func:`modicum.data.prepared.read_prepared` read and prepared.

    If a JPEG was decoded at a reduced scale, a cropped region is known to half a pixel of that scale.

    Args:
        image: as decoded.
        settings: settings that it was prepared with.
    """
    pixels = image.pixels
    if settings.channels == 1 and pixels.shape[0] == 3:
        pixels = grey_levels(pixels)[None]  # as in ``prepared``, before finding the field
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
    left, top, right, bottom = placement.visible
    left, top = min(round(left * across), source[1] - 1), min(round(top * down), source[0] - 1)
    visible = Box(left, top, max(left + 1, round(right * across)), max(top + 1, round(bottom * down)))
    return Placement(source, placement.seen, visible, placement.inner)


def _centred(inner: Size, outer: Size) -> Box:
    top, left = (outer[0] - inner[0]) // 2, (outer[1] - inner[1]) // 2
    return Box(left, top, left + inner[1], top + inner[0])


def _nearest(old: int, new: int) -> Integer[np.ndarray, "{new}"]:
    """For each of ``new`` pixels, the index of the ``old`` pixel that contains its centre."""
    return (2 * np.arange(new) + 1) * old // (2 * new)
