"""Makes the contact sheets of docs/phantoms.md: ``python docs/make_phantom_pictures.py``."""

from pathlib import Path

import cv2
import numpy as np

from modicum.data.phantoms import CAMERAS, FINDINGS, LESIONS, FundusPhantom, chest, fundus

PICTURES = Path(__file__).parent / "pictures"
LESION_COLOURS = ((255, 0, 255), (255, 30, 30), (255, 230, 0), (255, 255, 255), (0, 255, 60))
OUTLINE = (255, 150, 0)


def truth(phantom: FundusPhantom) -> np.ndarray:
    """The darkened photograph with vessels, disc, cup and lesions in colours."""
    picture = phantom.image // 3
    picture[phantom.vessels] = (0, 150, 170)
    picture[phantom.disc] = (120, 120, 120)
    picture[phantom.cup] = (190, 190, 190)
    for name, colour in zip(LESIONS, LESION_COLOURS, strict=True):
        picture[phantom.lesions[name]] = colour
    return picture


def fundus_sheet(size: int = 208) -> np.ndarray:
    """Grades 0 to 4 from left to right: one row a camera, and below it the truth of the first row."""
    rows = [
        [fundus(40 + 10 * row + grade, size, grade, "LR"[grade % 2], domain) for grade in range(5)]
        for row, domain in enumerate(CAMERAS)
    ]
    pictures = [[phantom.image for phantom in row] for row in rows]
    pictures.insert(1, [truth(phantom) for phantom in rows[0]])
    return np.vstack([np.hstack(row) for row in pictures])


def chest_sheet(size: int = 196) -> np.ndarray:
    """A normal chest and each finding, with the finding's outline in the row below."""
    above, below = [], []
    for number, name in enumerate((None, *FINDINGS)):
        phantom = chest(60 + number, size, set() if name is None else {name})
        picture = cv2.cvtColor(phantom.image, cv2.COLOR_GRAY2RGB)
        outlined = picture.copy()
        masks = list(phantom.masks.values()) or list(phantom.lungs.values())
        for mask in masks:
            lines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(outlined, lines, -1, OUTLINE, 1)
        above.append(picture)
        below.append(outlined)
    return np.vstack([np.hstack(above), np.hstack(below)])


def save(name: str, picture: np.ndarray) -> None:
    """Saves with a palette, which keeps the sheets small; the colours of the masks keep a place in it."""
    from PIL import Image

    swatches = [np.full((8, picture.shape[1], 3), colour, np.uint8) for colour in (*LESION_COLOURS, OUTLINE)]
    palette = Image.fromarray(np.vstack([picture, *swatches])).quantize(160)
    image = Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE)
    image.save(PICTURES / name, optimize=True)


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    save("phantoms_fundus.png", fundus_sheet())
    save("phantoms_chest.png", chest_sheet())
