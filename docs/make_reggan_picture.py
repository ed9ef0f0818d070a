"""Draws docs/pictures/reggan.png: real MR of the brain, T1 to T2, by two runs of ``benchmarks/learning/reggan/modes.py``.

    python docs/make_reggan_picture.py RUNS      # the folder with ncr-level5-seed0, p-level5-seed0 and pairs

Slices are of the test patient; both runs learned from pairs of another patient, each image of a pair moved at random
(level 5). At the right, the target has been moved on purpose: the grid shows the displacement that the registration
network finds between the translation and that target.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from modicum.data.readers import read_image
from modicum.engine.model import load_method
from modicum.engine.run_folder import RunFolder
from modicum.methods import Method
from modicum.tasks.image_to_image.metrics import nmae
from modicum.tasks.image_to_image.pictures import displacement_grid, error_map
from modicum.transforms.misalignment import AffineMisalignment

PICTURE = Path(__file__).parent / "pictures" / "reggan.png"
TEST_SLICES = (12, 40, 66)
"""Rows of the test patient, bottom to top."""
COLUMNS = (
    "T1", "RegGAN", "its error", "Pix2Pix", "its error", "T2", "T2, moved", "displacement found",
)  # fmt: skip


def trained(folder: Path) -> Method:
    _, _, method = load_method(RunFolder(folder))
    method.predictor().eval()
    return method


def picture_row(
    pair: dict[str, Tensor], reggan: Method, pix2pix: Method, seed: int
) -> tuple[list[np.ndarray], list[str]]:
    """Pictures of one slice and what stands under them."""
    moved = AffineMisalignment(level=5, background=0.0)(pair, torch.Generator().manual_seed(seed))["target"]
    with torch.no_grad():
        made = [method.predictor()(pair["image"])[0].numpy() for method in (reggan, pix2pix)]
        field = reggan.displacement(pair["image"], moved)[0].numpy()
    image, target, moved_target = (tensor[0].numpy() for tensor in (pair["image"], pair["target"], moved))
    shown, notes = [image[0]], [""]
    for output in made:
        shown += [output[0], error_map(output, target)]
        notes += [f"NMAE {nmae(2 * output - 1, 2 * target - 1):.3f}", ""]
    shown += [target[0], moved_target[0], displacement_grid(field, moved_target, spacing=6)]
    return shown, [*notes, "", "", f"mean {np.linalg.norm(field, axis=0).mean():.1f} px"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path)
    runs = parser.parse_args().runs
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    reggan, pix2pix = trained(runs / "ncr-level5-seed0"), trained(runs / "p-level5-seed0")
    table = pd.read_csv(runs / "pairs" / "pairs.csv")
    test = table[table["split"] == "test"].reset_index(drop=True)
    figure, axes = plt.subplots(
        len(TEST_SLICES), len(COLUMNS), figsize=(12, 6.1), facecolor="white", squeeze=False
    )
    for number, slice_row in enumerate(TEST_SLICES):
        pair = {
            name: torch.from_numpy(read_image(runs / "pairs" / test.loc[slice_row, name]).pixels[:1])[None]
            for name in ("image", "target")
        }
        shown, notes = picture_row(pair, reggan, pix2pix, seed=number)
        for axis, pixels, note in zip(axes[number], shown, notes, strict=True):
            axis.imshow(pixels, cmap="gray", vmin=0, vmax=1 if pixels.dtype != np.uint8 else 255)
            axis.set_xlabel(note, fontsize=9)
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_visible(False)
    for axis, title in zip(axes[0], COLUMNS, strict=True):
        axis.set_title(title, fontsize=10)
    figure.subplots_adjust(0.005, 0.03, 0.995, 0.95, wspace=0.03, hspace=0.12)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
