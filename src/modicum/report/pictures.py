"""Example images for the page: small, opaque, embedded as data URLs."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modicum.report.files import Evaluation, number

if TYPE_CHECKING:
    from PIL.Image import Image

_SIZES = ((320, 82), (256, 78), (192, 74), (128, 70))
"""Longest side in pixels and JPEG quality, tried in turn until the images fit the budget."""
_MAX_PIXELS = 40_000_000


@dataclass(frozen=True)
class Card:
    """One example: ground truth, prediction, probability (or severity score), image and attribution overlay."""

    image: str
    truth: str
    prediction: str
    probability: float | None
    mistake: bool
    picture: str
    overlay: str
    score: float | None = None


def cards_of(evaluation: Evaluation, budget: int) -> list[Card]:
    """The examples of an evaluation with their images as data URLs.

    Args:
        evaluation: with its examples and their folder.
        budget: maximum number of bytes of all images together; they shrink until they fit.
    """
    folder = evaluation.folder / "examples"
    encoded = data_addresses([_pictures(folder, entry) for entry in evaluation.examples], budget)
    return [
        Card(
            image=str(entry.get("image", "")),
            truth=str(entry.get("truth", "")),
            prediction=str(entry.get("prediction", "")),
            probability=number(entry.get("probability")),
            mistake=entry.get("kind") == "mistake",
            picture=picture,
            overlay=overlay,
            score=number(entry.get("score")),
        )
        for entry, (picture, overlay) in zip(evaluation.examples, encoded, strict=True)
    ]


def data_addresses(pictures: "Sequence[Sequence[Image | None]]", budget: int) -> list[list[str]]:
    """Encodes images as JPEG data URLs, in order; empty text for a missing image.

    Args:
        pictures: the images of each example.
        budget: maximum number of bytes of all together; they shrink until they fit.
    """
    encoded: list[list[str]] = []
    for side, quality in _SIZES:
        encoded = [[jpeg_address(picture, side, quality) for picture in row] for row in pictures]
        if sum(len(address) for row in encoded for address in row) <= budget:
            break
    return encoded


def _pictures(folder: Path, entry: dict[str, Any]) -> "tuple[Image | None, Image | None]":
    """The image, and the image with the attribution overlaid (also if that is a transparent layer)."""
    from PIL import Image

    picture, overlay = opened(folder, entry.get("picture")), opened(folder, entry.get("overlay"))
    if overlay is not None and overlay.mode in ("RGBA", "LA", "PA"):
        layer = overlay.convert("RGBA")
        under = (picture or Image.new("L", layer.size)).convert("RGBA").resize(layer.size)
        overlay = Image.alpha_composite(under, layer)
    return picture, overlay


def opened(folder: Path, name: Any) -> "Image | None":
    """Opens an image in an examples folder; None if it is missing, damaged, too large or outside the folder."""
    from PIL import Image, UnidentifiedImageError

    # A plain name only: nothing outside the examples folder comes into the page.
    if not isinstance(name, str) or not name or Path(name).name != name or name.startswith("."):
        return None
    path = folder / name
    if path.is_symlink() or not path.is_file():
        return None
    try:
        with Image.open(path) as image:
            if image.width * image.height > _MAX_PIXELS:
                return None
            image.load()
            return image.copy()
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        return None


def jpeg_address(image: "Image | None", side: int, quality: int) -> str:
    """Encodes an image as a JPEG data URL, its longest side at most ``side`` pixels; empty text for None."""
    from PIL import Image

    if image is None:
        return ""
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    small = image.convert("L" if image.mode in ("1", "L", "I", "F", "LA") else "RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def split_cards(cards: Sequence[Card]) -> tuple[list[Card], list[Card]]:
    """Separates mistakes and correct predictions, by decreasing probability; severity scores keep their order."""
    ranked = sorted(cards, key=lambda card: -(card.probability or 0))
    return [c for c in ranked if c.mistake], [c for c in ranked if not c.mistake]
