"""What lies beside one slice of a volume, where a file is given for all of it."""

from dataclasses import replace

from modicum.data.alignment import place_of
from modicum.data.image import ImageRef
from modicum.data.plane import Grid
from modicum.data.readers import slices_of
from modicum.errors import BrokenImageError
from modicum.wording import count_of


def without_slice(ref: ImageRef) -> list[ImageRef]:
    """What a slice may have been made of: references to its file that leave the slice open, the narrowest first."""
    wider = [replace(ref, index=None), replace(ref, index=None, axis=None)] if ref.index is not None else []
    return [*wider, *(replace(one, frame=None) for one in [*wider, ref] if one.frame is not None)]


def beside_slice(beside: ImageRef, volume: ImageRef, ref: ImageRef) -> ImageRef:
    """The part of a file beside a volume that lies at one of the volume's slices.

    Args:
        beside: the file; one of a single slice, or that names one, lies beside all of them.
        volume: the image, which leaves the slice open.
        ref: one of its slices.

    Raises:
        BrokenImageError: a file cannot be read, or both have another number of slices.
    """
    if beside.onto is not None:
        place = place_of(ref)
        if place is None or place[1] is None:
            return beside
        height, width = place[2]
        grid = replace(Grid.of_text(beside.onto), plane=place[1], height=height, width=width)
        return replace(beside, onto=str(grid))
    form, count = slices_of(beside)
    if count < 2:
        return beside
    of_image = slices_of(volume)[1]
    if count != of_image:
        raise BrokenImageError(str(beside), f"has {count_of(count, 'slice')}, the image {of_image}")
    index = ref.index if ref.index is not None else ref.frame
    if form == "nifti":
        return replace(beside, axis=beside.axis if ref.axis is None else ref.axis, index=index)
    return replace(beside, frame=index)
