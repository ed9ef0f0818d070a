"""A classical detector of lesions on photographs of the fundus: it stands for the person who outlines those of one image.

It finds lesions of photographs with many; it is no reader of single ones.
"""

import cv2
import numpy as np

LEAST = 14
"""Grey levels (of 255) by which a lesion differs from its surroundings at least."""


def dark_and_bright(photograph: np.ndarray) -> dict[str, np.ndarray]:
    """Marks of haemorrhages and microaneurysms (HE) and of exudates (EX) by a classical detector.

    The green channel, less its median over a 15th of the side: what is darker than a threshold, compact, and no part of a
    long thin structure (a vessel) is HE; what is brighter is EX. The optic disc, the largest bright part, is left out.
    """
    green = photograph[:, :, 1].astype(np.float32)
    side = max(green.shape)
    inside = cv2.erode((photograph.max(2) > 15).astype(np.uint8), np.ones((side // 20,) * 2)) > 0
    size = side // 15 | 1
    local = green - cv2.medianBlur(photograph[:, :, 1], size).astype(np.float32)
    spread = float(np.median(np.abs(local[inside])) * 1.4826)
    disc = cv2.GaussianBlur(green, (0, 0), side / 40)
    disc_at = np.unravel_index(np.where(inside, disc, 0).argmax(), disc.shape)
    y, x = np.mgrid[: green.shape[0], : green.shape[1]]
    no_disc = np.hypot(y - disc_at[0], x - disc_at[1]) > side / 9
    least = max(6 * spread, LEAST)
    marks = {"HE": (local < -least) & inside & no_disc, "EX": (local > 1.5 * least) & inside & no_disc}
    return {name: _compact(mark, side) for name, mark in marks.items()}


def _compact(mark: np.ndarray, side: int) -> np.ndarray:
    """Parts of 6 pixels to a 500th of the area that fill a good part of the circle around them."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mark.astype(np.uint8), connectivity=8)
    kept = np.zeros_like(mark)
    for number in range(1, len(stats)):
        width, height, area = stats[number, 2:5]
        if 6 <= area <= side * side / 500 and area >= 0.35 * max(width, height) ** 2:
            kept |= labels == number
    return kept
