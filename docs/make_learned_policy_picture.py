"""Draws docs/pictures/learned_policy.png: what the policies that a run of AADG found do to an image.

    python docs/make_learned_policy_picture.py runs/NAME/policy.yaml

One row a policy, one column a sub-policy, in front of them the image itself; the made photograph that the picture of all
operations shows.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import torch

from modicum.data.phantoms.fundus import fundus
from modicum.engine.recipe.augmentation_file import read_augmentation
from modicum.transforms import Policy, parse_augmentation
from modicum.transforms.policy import MAGNITUDE_LIMITS

PICTURE = Path(__file__).parent / "pictures" / "learned_policy.png"
SIZE = 160


def main(file: Path) -> None:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    (found,) = parse_augmentation(read_augmentation(file))
    assert isinstance(found, Policy)
    assert found.policies is not None
    pixels = torch.from_numpy(fundus(3, SIZE, grade=3).image)
    image = pixels.permute(2, 0, 1)[None].float() / 255
    columns = 1 + max(len(policy) for policy in found.policies)
    rows = len(found.policies)
    figure, axes = plt.subplots(rows, columns, figsize=(columns * 1.5, rows * 1.75), squeeze=False)
    for row, policy in enumerate(found.policies):
        for column in range(columns):
            axes[row, column].axis("off")
        axes[row, 0].imshow(pixels)
        axes[row, 0].set_title(f"policy {row + 1}\n", fontsize=7, pad=2)
        for column, steps in enumerate(policy, start=1):
            alone = found.model_copy(update={"policies": ((steps,),)})
            made = alone({"image": image}, torch.Generator().manual_seed(2))["image"]
            axes[row, column].imshow(made[0].permute(1, 2, 0).numpy())
            words = [n if MAGNITUDE_LIMITS[n] is None else f"{n} {magnitude}" for n, magnitude in steps]
            axes[row, column].set_title("\n".join(words), fontsize=7, pad=2)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=0.94, wspace=0.04, hspace=0.25)
    figure.savefig(PICTURE, dpi=72, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
