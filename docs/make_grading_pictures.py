"""Draws the pictures of dr-grading.md, lesion-contrast.md and detect.md, from made eyes alone.

python docs/make_grading_pictures.py
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from modicum.data.boxes import boxes_around
from modicum.data.fundus_crop import fundus_box
from modicum.data.phantoms import LESIONS, fundus
from modicum.tasks.classification.thresholds import midpoints
from modicum.tasks.detection.pictures import boxed
from modicum.transforms import Augmentation
from modicum.transforms.patches import cut_patches, patch_corners

PICTURES = Path(__file__).parent / "pictures"
COLOURS = ((255, 0, 255), (255, 90, 70), (255, 230, 0), (255, 255, 255), (64, 220, 96))
WHITE, INK, ACCENT = (255, 255, 255), (60, 60, 60), (0, 114, 178)
GAP = 6


def boxes_of(kind: str, made) -> np.ndarray:
    """Boxes around what is marked of a kind of lesion, as ``--boxes masks`` makes them."""
    return boxes_around(made.lesions[kind].astype(np.uint8) * 255)


def grades(side: int = 170) -> np.ndarray:
    """A made eye of each grade with its crop, above the axis of severity scores with its thresholds."""
    cells = []
    for grade in range(5):
        wide = np.zeros((side, side * 3 // 2, 3), np.uint8)
        wide[:, side // 4 : side // 4 + side] = fundus(21 + grade, side, grade, "LR"[grade % 2]).image
        box = fundus_box(wide.transpose(2, 0, 1))
        drawn = cv2.rectangle(wide.copy(), box[:2], (box.right - 1, box.bottom - 1), ACCENT, 2)
        cells.append(np.pad(drawn, ((0, 0), (0, GAP), (0, 0)), constant_values=255))
    above = np.concatenate(cells, 1)[:, :-GAP]
    axis = np.full((74, above.shape[1], 3), 255, np.uint8)
    step = side * 3 // 2 + GAP

    def x(score: float) -> int:
        return round((score + 0.5) * step - GAP / 2)

    cv2.line(axis, (0, 24), (axis.shape[1], 24), INK, 2)
    for threshold in midpoints(5):
        cv2.line(axis, (x(threshold), 8), (x(threshold), 40), ACCENT, 2)
        cv2.putText(
            axis, f"{threshold:g}", (x(threshold) - 14, 64), cv2.FONT_HERSHEY_SIMPLEX, 0.5, ACCENT, 1, 16
        )
    for grade in range(5):
        cv2.circle(axis, (x(grade), 24), 5, INK, -1, 16)
        cv2.putText(axis, f"grade {grade}", (x(grade) - 30, 64), cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK, 1, 16)
    return np.concatenate([above, axis])


def views(side: int = 384, patch: int = 96) -> np.ndarray:
    """A made eye with its boxes and the two patches around one of them; pairs as they are cut and augmented."""
    made = fundus(33, side, 3)
    boxes = np.concatenate([boxes_of(kind, made) for kind in LESIONS[:3]])
    extent = (boxes[:, 2:] - boxes[:, :2]).max(1)
    boxes = torch.from_numpy(boxes[(extent > 6) & (extent < 60)][[3, 12, 21]]).double()
    image = torch.from_numpy(made.image).permute(2, 0, 1).float() / 255
    generator = torch.Generator().manual_seed(5)
    corners = [
        patch_corners(
            boxes, (side, side), patch, torch.rand(len(boxes), 2, dtype=boxes.dtype, generator=generator)
        )
        for _ in range(2)
    ]
    cut = torch.cat([cut_patches(image.expand(len(boxes), -1, -1, -1), one, patch) for one in corners])
    changed = Augmentation("lesion_patch", patch)({"image": cut}, torch.Generator().manual_seed(3))["image"]
    drawn = boxed(made.image, [(boxes.numpy(), (80, 190, 255))], enlarge=False)
    for one in corners:
        left, top = one[0].tolist()
        cv2.rectangle(drawn, (left, top), (left + patch - 1, top + patch - 1), WHITE, 1)
    rows = []
    for pair in range(len(boxes)):
        both = pair, pair + len(boxes)
        pictures = [cut[index] for index in both] + [changed[index] for index in both]
        cells = [(one.permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy() for one in pictures]
        rows.append(
            np.concatenate(
                [np.pad(cell, ((0, GAP), (GAP, 0), (0, 0)), constant_values=255) for cell in cells], 1
            )
        )
    right = np.concatenate(rows)[:-GAP]
    right = cv2.resize(
        right, None, fx=side / right.shape[0], fy=side / right.shape[0], interpolation=cv2.INTER_AREA
    )
    return np.concatenate([drawn, right], 1)


def marked(side: int = 400) -> np.ndarray:
    """What is marked in a made eye, and the boxes that are made of it, a colour a class."""
    made = fundus(47, side, 2)
    masks = made.image // 3
    groups = []
    for kind, colour in zip(LESIONS, COLOURS, strict=True):
        masks[made.lesions[kind]] = colour
        groups.append((boxes_of(kind, made), colour))
    return np.concatenate(
        [masks, np.full((side, GAP, 3), 255, np.uint8), boxed(made.image, groups, enlarge=False)], 1
    )


def save(name: str, picture: np.ndarray) -> None:
    """Saves with a palette, which keeps the files small."""
    Image.fromarray(picture).quantize(200, dither=Image.Dither.NONE).save(PICTURES / name, optimize=True)


def main() -> None:
    save("dr_grading.png", grades())
    save("lesion_contrast.png", views())
    save("detect.png", marked())


if __name__ == "__main__":
    main()
