"""Draws docs/pictures/led.png: photographs enhanced by runs of ``benchmarks/learning/led/enhancement.py``.

    python docs/make_led_picture.py WORK --seed 1      # the folder that the benchmark worked in

Photographs are test images of CHASE_DB1 (CC BY 4.0), degraded by kinds that nothing was trained on: what LED and a rival
with LED behind it were given, what they made of it, how far each pixel was changed, and what it should have been.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from PIL import Image

from modicum.tasks.image_to_image.metrics import psnr_foreground

PICTURE = Path(__file__).parent / "pictures" / "led.png"
SHOWN = 4
CHANGE = 4
"""Changes are shown so many times as large."""


def pixels_of(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB"), dtype=np.float32) / 255


def similarity(made: np.ndarray, truth: np.ndarray) -> str:
    """PSNR of the foreground, in words."""
    first, second = (2 * one.transpose(2, 0, 1) - 1 for one in (made, truth))
    return f"{psnr_foreground(first, second):.1f} dB"


def change(made: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The mean over channels, as a grey picture."""
    return np.repeat((CHANGE * np.abs(made - given).mean(2, keepdims=True)).clip(0, 1), 3, 2)


def rows_of(work: Path, seed: int) -> list[list[tuple[np.ndarray, str]]]:
    """A row a photograph: pictures and what stands under them."""
    table = pd.read_csv(work / "test" / "manifest.csv")
    graded_twice = table["image"].str.endswith("_1.png") & (table["set"] == "graded")
    table = table[~graded_twice].reset_index(drop=True)
    chase = table.index[table["patient"].str.startswith("CHASE")][::3][:SHOWN]
    rows = []
    for row in chase:
        truth = pixels_of(work / "test" / table["target"].iloc[row])
        given = pixels_of(work / "seen" / f"{row:04d}.png")
        shown = [(given, similarity(given, truth))]
        for name in (
            f"led-sample-start200-{seed}",
            f"restoration_unet-{seed}",
            f"restoration_unet+led-sample-{seed}",
        ):
            made = pixels_of(work / "outputs" / name / f"{row:04d}_predicted.png")
            shown += [(made, similarity(made, truth)), (change(made, given), "")]
        rows.append([*shown, (truth, "")])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = rows_of(given.work, given.seed)
    titles = ["input", "LED, start 200", "change", "U-Net", "change", "U-Net, then LED", "change", "truth"]
    figure, axes = plt.subplots(len(rows), len(titles), figsize=(1.35 * len(titles), 1.5 * len(rows)))
    for line, row in zip(axes, rows, strict=True):
        for axis, (picture, note) in zip(line, row, strict=True):
            axis.imshow(picture, interpolation="bicubic")
            axis.set_xlabel(note, fontsize=7, labelpad=2)
            axis.set_xticks([])
            axis.set_yticks([])
            for side in axis.spines.values():
                side.set_visible(False)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=8)
    figure.tight_layout(pad=0.3)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
