"""Whether what lies beside an image (a mask, a target) has its size and lies where it does."""

from dataclasses import dataclass

from modicum.data.image import MedicalImage
from modicum.data.image_facts import ImageFacts
from modicum.data.plane import Plane, misplaced
from modicum.errors import InputError


@dataclass(frozen=True)
class PlacedImage:
    """Size and place of an image in its file.

    Attributes:
        height: rows.
        width: columns.
        plane: where it lies; None where the file does not say.
        spacing: millimetres between rows and between columns, or None.
    """

    height: int
    width: int
    plane: Plane | None
    spacing: tuple[float, float] | None

    @classmethod
    def of_facts(cls, facts: ImageFacts) -> "PlacedImage":
        """Of an image that was read before."""
        plane = None if facts.plane is None else Plane.of_numbers(facts.plane)
        return cls(facts.height, facts.width, plane, facts.spacing)

    @classmethod
    def of_image(cls, image: MedicalImage) -> "PlacedImage":
        """Of an image that was decoded, at whatever scale."""
        return cls(image.source.height, image.source.width, image.plane, image.spacing)


def check_same_place(image: PlacedImage, beside: PlacedImage, what: str) -> None:
    """Checks that both have one size and lie at one place, as far as their files say where.

    Args:
        image: the image.
        beside: what lies beside it.
        what: what to call that in an error: ``row 5: its mask``.

    Raises:
        InputError: they do not; with both sizes, or both geometries in millimetres.
    """
    size = image.height, image.width
    if size != (beside.height, beside.width):
        raise InputError(
            f"{what} is {beside.height} x {beside.width} pixels, the image {image.height} x {image.width}",
            f"give a {what.rpartition(' ')[2]} of the image's size",
        )
    difference = misplaced((image.plane, image.spacing), (beside.plane, beside.spacing), size)
    if difference is not None:
        raise InputError(
            f"{what} {difference}",
            "pass --align-geometry resample, or resample it to the image's grid; where only its header "
            "is wrong, copy the image's affine, or position, orientation and spacing, to it",
        )
