"""Boxes around small dark and bright spots of fundus photographs: a classical detector without training.

    python benchmarks/learning/dr/blobs.py --data DIR/fundus_dr_grading --out boxes.csv --sheet boxes.png

The green channel against its median over a window of a 25th of the image; what differs by more than eight robust
standard deviations inside the field of view, away from its brightest place (the optic disc), and is about as wide as
high (vessels are not), gets a box. In diseased eyes these are mostly exudates and haemorrhages, in healthy ones bits of
vessels and reflexes; nothing tells them apart. A row a box, as ``--boxes`` reads it.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from jaxtyping import Shaped

SIDE = 512
"""Longest side at which spots are looked for."""
SMALLEST, LARGEST, MOST, LEAST = 4, 60, 40, 8
"""Sides of a spot in pixels at that size; boxes of an image, those of the largest contrast; the least contrast."""


def spots(image: Shaped[np.ndarray, "height width 3"]) -> list[tuple[float, float, float, float, float]]:
    """Left, top, right and bottom in pixels of the image, and the contrast as a score in (0, 1).

    Args:
        image: blue, green, red, as OpenCV reads it.
    """
    scale = SIDE / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    green = small[:, :, 1]
    inside = cv2.erode((small.max(2) > 25).astype(np.uint8), np.ones((25, 25), np.uint8)) > 0
    bright = cv2.GaussianBlur(small.astype(np.float32).sum(2) * inside, (0, 0), SIDE / 40)
    row, column = np.unravel_index(int(bright.argmax()), bright.shape)
    disc = cv2.circle(np.zeros(inside.shape, np.uint8), (int(column), int(row)), SIDE // 11, 1, -1) > 0
    inside &= ~disc
    window = (SIDE // 25) | 1
    difference = cv2.GaussianBlur(green.astype(np.float32), (0, 0), 1.0) - cv2.medianBlur(green, window)
    if not inside.any():
        return []
    spread = 1.4826 * np.median(np.abs(difference[inside])) + 1e-6
    found = []
    for sign in (-1, 1):
        contrast = sign * difference / spread
        marked = ((contrast > LEAST) & inside).astype(np.uint8)
        _, labels, facts, _ = cv2.connectedComponentsWithStats(marked)
        for index, (x, y, w, h, area) in enumerate(facts[1:], 1):
            if not (min(w, h) >= SMALLEST and max(w, h) <= LARGEST and max(w, h) <= 2.5 * min(w, h)):
                continue
            if area < 0.45 * w * h:
                continue
            peak = float(contrast[labels == index].max())
            edges = np.array([x - 1, y - 1, x + w + 1, y + h + 1]) / scale
            found.append((*edges.tolist(), peak / (peak + 10)))
    found.sort(key=lambda spot: -spot[4])
    return found[:MOST]


def boxes_of(folder: Path, names: list[str]) -> pd.DataFrame:
    """A row a box; an image without any is a row without numbers."""
    rows = []
    for name in names:
        image = cv2.imread(str(folder / name))
        height, width = image.shape[:2]
        found = spots(image) or [(np.nan,) * 5]
        for x0, y0, x1, y1, score in found:
            edges = np.clip([x0, y0, x1, y1], 0, [width, height, width, height])
            rows.append([Path(name).name, *np.round(edges, 1), round(score, 3)])
    return pd.DataFrame(rows, columns=["image", "x0", "y0", "x1", "y1", "score"])


def sheet(folder: Path, names: list[str], boxes: pd.DataFrame) -> np.ndarray:
    """Photographs with their boxes, for looking at."""
    pictures = []
    for name in names:
        image = cv2.imread(str(folder / name))
        for row in boxes[boxes["image"] == Path(name).name].dropna().itertuples():
            corners = [round(v) for v in (row.x0, row.y0, row.x1, row.y1)]
            cv2.rectangle(image, corners[:2], corners[2:], (0, 255, 0), 2)
        pictures.append(cv2.resize(image, (384, 288)))
    return np.concatenate([np.concatenate(pictures[i : i + 3], 1) for i in range(0, len(pictures) - 2, 3)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    table = pd.read_csv(options.data / "labels.csv", dtype=str)
    folder = options.data / "images"
    boxes = boxes_of(folder, list(table["image"]))
    boxes.to_csv(options.out, index=False)
    counts = boxes.dropna().groupby("image").size()
    grades = table.set_index("image")["dr_grade"]
    print(f"{len(boxes.dropna())} boxes in {len(counts)} of {len(table)} images; a mean per image by grade:")
    print(counts.reindex(table["image"], fill_value=0).groupby(grades).mean().round(1).to_dict())
    if options.sheet:
        worst = list(table.sort_values("dr_grade", ascending=False)["image"][:6])
        cv2.imwrite(str(options.sheet), sheet(folder, worst + list(table["image"][:3]), boxes))


if __name__ == "__main__":
    main()
