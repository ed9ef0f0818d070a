"""The whole numbers that a mask's file holds, as people write masks.

- One channel of whole numbers from 0 to 255: these.
- A palette PNG with colours (VOC, labelme): the index of each pixel, where black is index 0 or not used; colours only
  show them. A palette of greys stands for its greys: programs that make files small number them as they come.
- One level of red on black: 255 where it is red. Other colours may stand for different things in different files.
- 16 bits that are all 0 or 65535: 255 for the latter.

Anything else is refused with what was found, and how to map it.
"""

import numpy as np
from jaxtyping import Float, UInt8

from modicum.data.image import MedicalImage
from modicum.errors import BrokenImageError
from modicum.wording import listed

_SHOWN = 6
_HOW = (
    "save one number from 0 to 255 a pixel, and say what each stands for with the option 'codes' "
    "(such as codes='{lesion: 1, background: 0}')"
)


def codes_of(image: MedicalImage) -> UInt8[np.ndarray, "height width"]:
    """The whole numbers that a mask's file holds.

    Raises:
        BrokenImageError: it holds colours or numbers whose meaning is not plain; with those that were found.
    """
    indices = _palette_codes(image)
    if indices is not None:
        return indices
    values = image.values()
    if len(values) == 3 and ((values[0] != values[1]).any() or (values[0] != values[2]).any()):
        return _red_codes(values, image)
    grey = values[0]
    whole = np.rint(grey)
    if image.source.bits == 16 and whole.max() == 65535 and bool(((whole == 0) | (whole == 65535)).all()):
        return np.where(whole > 0, 255, 0).astype(np.uint8)
    if whole.min() < 0 or whole.max() > 255 or np.abs(whole - grey).max() > 1e-3:
        codes = np.unique(np.round(grey.astype(np.float64), 3))
        raise BrokenImageError(
            str(image.source.path),
            f"holds values that are no codes ({_some([f'{value:g}' for value in codes])}); "
            f"a mask has whole numbers from 0 to 255: {_HOW}",
        )
    return whole.astype(np.uint8)


def _palette_codes(image: MedicalImage) -> UInt8[np.ndarray, "height width"] | None:
    """The indices of a palette in colour; None where there is none, or where its colours say more than they do."""
    if image.palette is None:
        return None
    indices, colours = image.palette
    used = np.flatnonzero(np.bincount(indices.ravel(), minlength=len(colours)))
    if used.max() >= len(colours):
        return None
    shades = colours[used]
    if (shades == shades[:, :1]).all() and not _is_numbered(colours):
        return None
    black = used[(shades == 0).all(axis=1)]
    return indices if black.size == 0 or (black == 0).all() else None


def _is_numbered(colours: UInt8[np.ndarray, "colours 3"]) -> bool:
    """Whether a palette begins with black and has a colour somewhere, so that it numbers classes."""
    return bool((colours[0] == 0).all() and (colours != colours[:, :1]).any())


def _red_codes(
    values: Float[np.ndarray, "3 height width"], image: MedicalImage
) -> UInt8[np.ndarray, "height width"]:
    colours, counts = np.unique(np.rint(values).astype(np.int64).reshape(3, -1).T, axis=0, return_counts=True)
    red = colours[:, 0] > 0
    if not colours[:, 1:].any() and int(red.sum()) == 1:
        return np.where(np.rint(values[0]) > 0, 255, 0).astype(np.uint8)
    commonest = colours[np.argsort(-counts, kind="stable")]
    colour_words = _some([f"({r}, {g}, {b})" for r, g, b in commonest.tolist()])
    raise BrokenImageError(
        str(image.source.path),
        f"is in colour; a mask holds one code a pixel. Its colours are {colour_words} (red, green, blue): {_HOW}",
    )


def _some(names: list[str]) -> str:
    return listed(names, _SHOWN)
