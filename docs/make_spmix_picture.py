"""Draws docs/pictures/spmix.png: made skin photographs in pairs, their saliency, the shares and the mixtures.

    python docs/make_spmix_picture.py

The mixtures are of pixels, so that they can be seen; of a transformer, tokens are mixed by the same shares. The images
are drawn here: no patient's.
"""

from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import torch

from modicum.transforms import fine_grained_saliency
from modicum.transforms.patch_ratio import patch_ratio

PICTURE = Path(__file__).parent / "pictures" / "spmix.png"
SIDE, PATCH, PAIRS = 224, 16, 3
RARE, COMMON = (0.42, 0.13, 0.16), (0.45, 0.30, 0.22)
"""Colours of a vascular lesion and of a mole."""


def smooth(generator: np.random.Generator, scale: float) -> np.ndarray:
    """A random field of mean 0 and deviation 1, as smooth as ``scale`` pixels."""
    field = cv2.GaussianBlur(generator.standard_normal((SIDE, SIDE)), (0, 0), scale)
    return (field - field.mean()) / field.std()


def skin(generator: np.random.Generator, colour: tuple[float, float, float], radius: float) -> np.ndarray:
    """A made photograph ``[224, 224, 3]``: skin with a few hairs, and one lesion with an uneven border."""
    tone = np.array([0.87, 0.68, 0.60]) + generator.uniform(-0.05, 0.05, 3)
    image = tone + 0.015 * smooth(generator, 25)[..., None] + 0.012 * smooth(generator, 1.2)[..., None]
    rows, columns = np.mgrid[:SIDE, :SIDE]
    top, left = SIDE * generator.uniform(0.3, 0.7, 2)
    distance = np.hypot(rows - top, 1.2 * (columns - left)) / radius + 0.13 * smooth(generator, 10)
    inside = 1 / (1 + np.exp((distance - 1) / 0.06))
    lesion = np.array(colour) * (1 + 0.12 * smooth(generator, 6))[..., None]
    image = image * (1 - 0.85 * inside[..., None]) + lesion * 0.85 * inside[..., None]
    for _ in range(generator.integers(2, 6)):
        start, end = generator.uniform(0, SIDE, 2), generator.uniform(0, SIDE, 2)
        ends = [tuple(int(value) for value in point) for point in (start, end)]
        hair = cv2.line(np.zeros((SIDE, SIDE), np.uint8), *ends, 255, 1, cv2.LINE_AA)
        image -= 0.3 * image * (hair / 255)[..., None]
    return image.clip(0, 1)


def main() -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    generator = np.random.default_rng(5)
    pairs = [(skin(generator, RARE, 26), skin(generator, COMMON, radius)) for radius in (50, 32, 64)]
    foreground, background = (
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() for images in zip(*pairs, strict=True)
    )
    maps = fine_grained_saliency(foreground), fine_grained_saliency(background)
    grid = (SIDE // PATCH, SIDE // PATCH)
    share = patch_ratio(*maps, grid).view(-1, 1, *grid)
    large = torch.nn.functional.interpolate(share, SIDE, mode="nearest")
    mixture = large * foreground + (1 - large) * background
    columns = {
        "rare: the label": foreground,
        "its saliency": maps[0],
        "common": background,
        "its saliency ": maps[1],
        "share of the rare one": share,
        "mixture": mixture,
    }
    figure, axes = plt.subplots(PAIRS, len(columns), figsize=(10.2, 5.2), facecolor="white")
    for column, (title, values) in enumerate(columns.items()):
        axes[0, column].set_title(title, fontsize=9)
        for row in range(PAIRS):
            shown = values[row].permute(1, 2, 0).squeeze(-1).numpy()
            low = 0.5 if "share" in title else 0
            drawn = axes[row, column].imshow(shown, vmin=low, vmax=0.8 if low else 1, cmap="magma")
            axes[row, column].set(xticks=[], yticks=[])
        if low:
            bar = figure.colorbar(drawn, ax=axes[:, column], location="bottom", fraction=0.04, pad=0.02)
            bar.ax.tick_params(labelsize=7)
    figure.savefig(PICTURE, dpi=72, bbox_inches="tight", pad_inches=0.05, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
