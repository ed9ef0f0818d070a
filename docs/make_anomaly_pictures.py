"""Draws the pictures of docs/methods/lesionpaste.md and docs/methods/anomaly-rivals.md from public photographs.

    python docs/make_anomaly_pictures.py DIR/fundus_hrf --weights runs/tf_efficientnet_lite0.safetensors

HRF (Budai et al. 2013, CC BY 4.0): ten photographs each of healthy eyes, diabetic retinopathy and glaucoma. The annotated
one is a photograph of diabetic retinopathy, with the marks of the classical detector of
``benchmarks/learning/lesionpaste``. Maps and scores are of PatchCore, fitted to the eight healthy training
photographs: too few to judge it by, enough to see what it says.
"""

import argparse
import sys
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import torch
from torch import Tensor

from modicum.data.weights_file import read_weights
from modicum.nn import Backbone
from modicum.nn.backbones import load_backbone_weights
from modicum.nn.local_contrast import local_contrast
from modicum.nn.one_class import FeatureTaps, PatchcoreScorer
from modicum.nn.picture_sheet import picture_sheet
from modicum.tasks.anomaly.plots import distribution_figure
from modicum.transforms import LesionBank, LesionPaste, LesionRule

PICTURES = Path(__file__).parent / "pictures"
DETECTOR = Path(__file__).parents[1] / "benchmarks" / "learning" / "lesionpaste"
ANNOTATED, SIDE, MAP_SIDE = "06_dr", 512, 256
CLOSER = slice(140, 372)
"""Rows and columns of pasted examples that are shown."""
HEALTHY = ("04_h", "06_h")
SHOWN = ("09_h", "03_dr", "06_dr", "07_dr")
RULES = {"HE": LesionRule(-1, 20.0), "EX": LesionRule(-1, 20.0)}


def photograph(folder: Path, name: str, side: int = SIDE) -> np.ndarray:
    """RGB, padded to a square, 8 bits."""
    pixels = cv2.imread(str(folder / "images" / f"{name}.jpg"))[:, :, ::-1]
    longest = max(pixels.shape[:2])
    square = np.zeros((longest, longest, 3), np.uint8)
    top, left = ((longest - length) // 2 for length in pixels.shape[:2])
    square[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)


def tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1) / 255).float()


def pasted_picture(folder: Path) -> None:
    """The annotated photograph, its lesions, and healthy photographs before and after."""
    sys.path.insert(0, str(DETECTOR))
    from detector import dark_and_bright

    annotated = photograph(folder, ANNOTATED)
    marks = dark_and_bright(annotated)
    outlined = annotated.copy()
    for (_, mark), colour in zip(marks.items(), ((0, 0, 255), (0, 255, 0)), strict=True):
        edges = cv2.dilate(mark.astype(np.uint8), np.ones((5, 5))) - mark.astype(np.uint8)
        outlined[edges > 0] = colour
    enhanced = local_contrast(tensor(annotated)[None])
    bank = LesionBank.from_masks(enhanced, {name: mark[None] for name, mark in marks.items()})
    normal = torch.stack([tensor(photograph(folder, name)) for name in HEALTHY])
    organ = normal.amax(1) > 0.06
    made = LesionPaste(bank, rules=RULES)(local_contrast(normal), torch.arange(len(HEALTHY)), organ)
    lesions = [bank.patch(number)[0] for number in range(min(36, len(bank)))]
    sheet = tensor(picture_sheet(lesions, columns=6, side=80))
    where = torch.where(made.mask[:, None] > 0, made.image, 0.3 * made.image)
    rows = [tensor(outlined), enhanced[0], sheet]
    for triple in zip(local_contrast(normal), made.image, where, strict=True):
        rows += [one[:, CLOSER, CLOSER] for one in triple]
    page = picture_sheet(rows, columns=3, side=300, gap=6)
    cv2.imwrite(str(PICTURES / "lesionpaste.jpg"), page[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


@torch.no_grad()
def map_picture(folder: Path, weights: Path) -> None:
    """Maps over photographs, and scores of all that the scorer was not fitted to."""
    backbone = Backbone("tf_efficientnet_lite0", (MAP_SIDE, MAP_SIDE))
    load_backbone_weights(backbone, read_weights(weights), str(weights))
    backbone.set_normalisation([127 / 255] * 3, [128 / 255] * 3)
    taps = FeatureTaps(backbone).eval()
    scorer = PatchcoreScorer(taps.channels)
    healthy = [tensor(photograph(folder, f"{number:02d}_h", MAP_SIDE)) for number in range(1, 9)]
    scorer.see(taps(torch.stack(healthy)), 0)
    scorer.finish(0)
    size = (MAP_SIDE, MAP_SIDE)
    usual = scorer(taps(torch.stack(healthy)), size).map.flatten(1).amax(1).median()
    pictures = []
    for name in SHOWN:
        image = tensor(photograph(folder, name, MAP_SIDE))
        found = scorer(taps(image[None]), size).map[0]
        heat = mpl.colormaps["inferno"]((found / usual - 0.5).clamp(0, 1).numpy())[:, :, :3]
        grey = image.mean(0, keepdim=True)
        pictures += [image, 0.35 * grey + 0.65 * torch.from_numpy(heat.transpose(2, 0, 1)).float()]
    page = picture_sheet([*pictures[::2], *pictures[1::2]], columns=len(SHOWN), side=256, gap=6)
    cv2.imwrite(str(PICTURES / "anomaly_maps.jpg"), page[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    groups = {
        "healthy": ("h", range(9, 11)),
        "glaucoma": ("g", range(1, 11)),
        "retinopathy": ("dr", range(1, 11)),
    }
    scores = [
        np.array([
            float(scorer(taps(tensor(photograph(folder, f"{k:02d}_{kind}", MAP_SIDE))[None]), size).score)
            for k in numbers
        ])
        for kind, numbers in groups.values()
    ]  # fmt: skip
    figure = distribution_figure(scores, list(groups), None)
    figure.set_size_inches(5, 2.6)
    figure.savefig(PICTURES / "anomaly_scores.png", dpi=110, facecolor="white")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    given = parser.parse_args()
    pasted_picture(given.photographs)
    map_picture(given.photographs, given.weights)


if __name__ == "__main__":
    main()
