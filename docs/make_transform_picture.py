"""Draws docs/pictures/transforms.png: what each augmentation operation and preset does to a made image.

    python docs/make_transform_picture.py

Each row shows the image and five draws with the parameters named at its left, from one seed.
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch

from modicum.data.phantoms.chest import chest
from modicum.data.phantoms.fundus import fundus
from modicum.transforms import OPERATIONS, PRESETS, Augmentation

PICTURE = Path(__file__).parent / "pictures" / "transforms.png"
STORED, SIZE, DRAWS, COLUMNS = 320, 160, 5, 2
# Stronger than the defaults, where those are too gentle to be seen at this size.
SHOWN = {
    "horizontal_flip": {"p": 0.5},
    "vertical_flip": {"p": 0.5},
    "rotate": {"degrees": [-30, 30]},
    "translate": {"fraction": 0.2},
    "zoom": {"factor": [0.7, 1.4]},
    "resize": {"size": 40},
    "random_resized_crop": {"area": [0.2, 0.8]},
    "brightness": {"factor": [0.5, 1.5]},
    "contrast": {"factor": [0.4, 1.8]},
    "saturation": {"factor": [0.0, 2.0]},
    "hue": {"shift": [-0.15, 0.15]},
    "color_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
    "grayscale": {"p": 0.5},
    "gaussian_blur": {"p": 1, "sigma": [0.5, 4], "kernel_size": 23},
    "gamma": {"gamma": [0.5, 2]},
    "gaussian_noise": {"p": 1, "std": [0, 0.15]},
    "random_erasing": {"p": 1, "area": [0.02, 0.2]},
    "policy": {"length": 2},
    "random_scale_crop": {"factor": [0.7, 2]},
}


def tensor(pixels: np.ndarray) -> torch.Tensor:
    """A picture as [1, 3, height, width] in [0, 1]."""
    colour = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, 2)
    return torch.from_numpy(colour).permute(2, 0, 1)[None].float() / 255


def rows() -> list[tuple[str, str, list[torch.Tensor]]]:
    """Title, parameters and pictures of each row: operations first, presets after them."""
    eye, thorax = tensor(fundus(3, STORED, grade=3).image), tensor(chest(4, STORED).image)
    # A preset's flips come with probability 1/2; what a row shows is its own seed's draw.
    drawn = []
    for name in OPERATIONS:
        parameters = SHOWN[name]
        augment = Augmentation([{"name": name, **parameters}])
        drawn.append((name, "\n".join(f"{key} {value}" for key, value in parameters.items()), eye, augment))
    for name in PRESETS:
        drawn.append(
            (f"preset {name}", "", thorax if name == "chest" else eye, Augmentation(name, size=SIZE))
        )
    shown = []
    for title, parameters, image, augment in drawn:
        many = image.expand(DRAWS, *image.shape[1:])
        out = augment({"image": many}, torch.Generator().manual_seed(1))["image"]
        shown.append((title, parameters, [image[0], *out]))
    return shown


def main() -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    shown = rows()
    height = -(-len(shown) // COLUMNS)
    figure = plt.figure(figsize=(15, height * 1.12), facecolor="white")
    # Each block: a column for the words, then the image and its draws.
    widths = [1.35, *[1] * (DRAWS + 1)] * COLUMNS
    grid = figure.add_gridspec(
        height,
        len(widths),
        width_ratios=widths,
        wspace=0.03,
        hspace=0.05,
        left=0.005,
        right=0.995,
        top=0.97,
        bottom=0.005,
    )
    for number, (title, parameters, pictures) in enumerate(shown):
        row, first = number % height, number // height * (DRAWS + 2)
        words = figure.add_subplot(grid[row, first])
        words.text(0.04, 0.72, title, fontsize=8, weight="bold", transform=words.transAxes)
        words.text(0.04, 0.64, parameters, fontsize=7, va="top", color="0.35", transform=words.transAxes)
        words.axis("off")
        for column, picture in enumerate(pictures):
            axes = figure.add_subplot(grid[row, first + 1 + column])
            axes.imshow(picture.permute(1, 2, 0).clamp(0, 1).numpy(), interpolation="nearest")
            axes.axis("off")
            if row == 0:
                axes.set_title("given" if column == 0 else f"draw {column}", fontsize=8)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=60, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
