"""Draws docs/pictures/kinds.png: a made image with label map, saliency, boxes and a point, and three draws of them all.

    python docs/make_kinds_picture.py

What lies on the image is moved by the same draws as the image; how much of it is left to be seen differs.
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from scipy import ndimage

from modicum.batch import Batch
from modicum.data.phantoms.fundus import fundus
from modicum.transforms import Augmentation

PICTURE = Path(__file__).parent / "pictures" / "kinds.png"
STORED, SIZE, DRAWS, MOST = 320, 224, 3, 6
CHAIN = [
    {"name": "horizontal_flip", "p": 0.5},
    {"name": "random_resized_crop", "area": [0.4, 0.7]},
    {"name": "rotate", "degrees": [-40, 40]},
    {"name": "color_jitter", "brightness": 0.3, "contrast": 0.3},
]


def eye() -> Batch:
    """One made eye: the optic disc and cup as label map, vessels as saliency, its largest lesions as boxes, the fovea."""
    made = fundus(6, STORED, grade=3)
    regions = ndimage.find_objects(ndimage.label(np.any(list(made.lesions.values()), axis=0))[0])
    largest = sorted(
        regions, key=lambda part: -(part[0].stop - part[0].start) * (part[1].stop - part[1].start)
    )
    row, column = made.fovea
    boxes = [[part[1].start, part[0].start, part[1].stop, part[0].stop] for part in largest[:MOST]]
    return {
        "image": torch.from_numpy(made.image).permute(2, 0, 1)[None].float() / 255,
        "mask": torch.from_numpy(made.disc.astype(np.uint8) + made.cup)[None],
        "saliency": torch.from_numpy(ndimage.gaussian_filter(made.vessels.astype(np.float32), 1.5))[None],
        "boxes": torch.tensor(boxes).float()[None],
        "points": torch.tensor([[[column + 0.5, row + 0.5]]]),
    }


def main() -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    given = eye()
    many = {name: value.expand(DRAWS, *value.shape[1:]) for name, value in given.items()}
    drawn = Augmentation(CHAIN, SIZE)(many, torch.Generator().manual_seed(4))
    shown = [{name: value[0] for name, value in given.items()}]
    shown += [{name: value[row] for name, value in drawn.items()} for row in range(DRAWS)]
    figure, grid = plt.subplots(3, DRAWS + 1, figsize=(2.3 * (DRAWS + 1), 7.1), facecolor="white")
    for column, one in enumerate(shown):
        above, middle, below = grid[:, column]
        above.imshow(one["image"].permute(1, 2, 0).clamp(0, 1).numpy())
        for left, top, right, bottom in one["boxes"][~one["boxes"].isnan().any(1)].tolist():
            # matplotlib counts from pixel centres
            above.add_patch(
                Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, ec="white", lw=1)
            )
        for x, y in one["points"].tolist():
            above.plot(x - 0.5, y - 0.5, "+", color="cyan", ms=9)
        middle.imshow(one["mask"].numpy(), vmin=0, vmax=2, cmap="gray", interpolation="nearest")
        below.imshow(one["saliency"].numpy(), vmin=0, vmax=1, cmap="magma")
        above.set_title("given" if column == 0 else f"draw {column}", fontsize=9)
    for row, title in enumerate(("image, boxes, points", "label_map", "saliency")):
        grid[row, 0].set_ylabel(title, fontsize=9)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    figure.tight_layout(pad=0.3)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=70, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
