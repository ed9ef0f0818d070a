"""Angiograms drawn by the recipe that the method's facts were measured with: curved lines around a dark disc."""

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

SIDE = 64
WALKS, STEPS = 28, 90
GRADES = ("ungradable", "gradable", "outstanding")


def vessels(rng, side=SIDE):
    """Walks of 1 to 3 pixels in width, blurred, with a dark disc in the middle; grey levels 0.08 to 0.88."""
    canvas = np.zeros((side, side), np.float32)
    for _ in range(WALKS):
        place, angle = rng.uniform(0, side, 2), rng.uniform(0, 2 * np.pi)
        path = []
        for _ in range(STEPS):
            path.append(place.copy())
            angle += rng.normal(0, 0.15)
            place += (np.cos(angle), np.sin(angle))
        points = np.round(np.array(path)).astype(np.int32)
        cv2.polylines(canvas, [points[:, None]], False, 1.0, int(rng.integers(1, 4)))
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    canvas[np.hypot(rows, columns) < rng.uniform(5, 7)] = 0
    return 0.08 + 0.8 * gaussian_filter(canvas, 0.5)


def with_noise(image, sd, rng):
    return np.clip(image + rng.normal(0, sd, image.shape), 0, 1).astype(np.float32)


def outstanding(rng):
    return with_noise(vessels(rng), 0.03, rng)


def gradable(rng):
    """Slightly blurred and dim, with two bands that moved sideways."""
    image = 0.85 * gaussian_filter(vessels(rng), 0.7)
    for start in rng.integers(0, SIDE - 2, 2):
        image[start : start + 2] = np.roll(image[start : start + 2], rng.integers(2, 6), 1) + 0.12
    return with_noise(image, 0.07, rng)


def ungradable(rng):
    """Blurred and dim, with bright stripes and noise."""
    image = 0.5 * gaussian_filter(vessels(rng), 2.0)
    for start in rng.integers(0, SIDE - 3, 6):
        image[start : start + 3] = rng.uniform(0.55, 0.75)
    return with_noise(image, 0.15, rng)


def blurred_only(rng):
    return np.clip(gaussian_filter(outstanding(rng), 2.0), 0, 1).astype(np.float32)


DRAW = {"outstanding": outstanding, "gradable": gradable, "ungradable": ungradable, "blurred": blurred_only}


def drawn(kind, count, seed):
    """Images of one kind, ``[count, 1, 64, 64]``."""
    rng = np.random.default_rng([seed, sorted(DRAW).index(kind)])
    return np.stack([DRAW[kind](rng) for _ in range(count)])[:, None]


def write(folder, counts, seed=0, name="quality.csv"):
    """PNG files and a table ``image,label,split``; ``counts`` by split and kind. Returns the table's path."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["image,label,split"]
    for number, (split, kinds) in enumerate(counts.items()):
        for kind, count in kinds.items():
            for index, image in enumerate(drawn(kind, count, 10 * seed + number)):
                file = f"{split}_{kind}_{index:03d}.png"
                cv2.imwrite(str(folder / file), np.round(255 * image[0]).astype(np.uint8))
                lines.append(f"{file},{kind},{split}")
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path
