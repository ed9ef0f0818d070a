"""Draws docs/pictures/policy_operations.png: what the ten operations of a policy do at each magnitude.

    python docs/make_policy_pictures.py

One row an operation, one column a magnitude bin. The square of the cutout lies at a random place.
"""

from pathlib import Path

import matplotlib as mpl
import torch

from modicum.data.phantoms.fundus import fundus
from modicum.transforms import POLICY_OPERATIONS, Policy
from modicum.transforms.policy import MAGNITUDE_LIMITS, magnitude_values

PICTURE = Path(__file__).parent / "pictures" / "policy_operations.png"
SIZE, MAGNITUDES = 128, 10


def main() -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    pixels = fundus(3, SIZE, grade=3).image
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    rows = len(POLICY_OPERATIONS)
    figure, axes = plt.subplots(rows, MAGNITUDES, figsize=(MAGNITUDES * 1.05, rows * 1.12))
    for row, name in enumerate(POLICY_OPERATIONS):
        values = magnitude_values(name, torch.arange(MAGNITUDES), MAGNITUDES).tolist()
        if name == "posterize":
            values = [int(value) for value in values]  # whole bits
        for magnitude, value in enumerate(values):
            cell = axes[row, magnitude]
            cell.axis("off")
            if MAGNITUDE_LIMITS[name] is None and magnitude > 0:
                continue
            policy = Policy(policies=[[[(name, magnitude)]]])
            made = policy({"image": image}, torch.Generator().manual_seed(2))["image"]
            cell.imshow(made[0].permute(1, 2, 0).numpy(), interpolation="nearest")
            shown = "" if MAGNITUDE_LIMITS[name] is None else f"{magnitude}: {value:.3g}"
            cell.set_title(f"{name}\n{shown}" if magnitude == 0 else shown, fontsize=7, pad=2)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=0.96, wspace=0.04, hspace=0.3)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=72, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
