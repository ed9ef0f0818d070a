"""Pairs that a training has mixed: both images, their saliency, the foreground's shares, and the mixture."""

import base64
import binascii
import io
import json
from typing import TYPE_CHECKING, Any

from modicum.report.files import RunFiles, as_mapping
from modicum.report.panels import Panel, PanelCard
from modicum.report.pictures import data_addresses
from modicum.report.sections import Block, Gallery

if TYPE_CHECKING:
    from PIL.Image import Image

FILE = "pairs.json"
_BUDGET = 400_000
_MOST_BYTES = 8_000_000
_ALTS = {
    "foreground": "The image whose label is kept",
    "background": "The image that it is mixed with",
    "foreground saliency": "Where the first image is salient",
    "background saliency": "Where the second image is salient",
    "share": "The first image's share of each patch",
    "mixture": "What the network learns from",
}
_NOTE = (
    "Pairs of the last epoch. The label is the foreground's; the share is its part of each patch, black for none and "
    "white for all of it."
)


def pair_blocks(run: RunFiles) -> list[Block]:
    """A gallery of the pairs; no block where the run has kept none, or the file is damaged."""
    path = run.path / FILE
    if not path.is_file() or path.is_symlink() or path.stat().st_size > _MOST_BYTES:
        return []
    try:
        content = as_mapping(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return []
    listed = content.get("pairs")
    pairs = [as_mapping(entry) for entry in listed] if isinstance(listed, list) else []
    panels = [as_mapping(pair.get("panels")) for pair in pairs]
    pictures = [[_opened(data) for data in entry.values()] for entry in panels]
    if not any(any(row) for row in pictures):
        return []
    cards = []
    for pair, entry, addresses in zip(pairs, panels, data_addresses(pictures, _BUDGET), strict=True):
        row = [
            Panel(str(name), _ALTS.get(str(name), str(name)), address)
            for name, address in zip(entry, addresses, strict=True)
        ]
        title = f"{pair.get('foreground')} on {pair.get('background')}"
        cards.append(PanelCard(title, (), row))
    return [Block("pairs.html.j2", "Mixed pairs", {"gallery": Gallery("", _NOTE, cards)})]


def _opened(data: Any) -> "Image | None":
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(base64.b64decode(str(data), validate=True))) as image:
            image.load()
            return image.copy()
    except (binascii.Error, OSError, ValueError, UnidentifiedImageError):
        return None
