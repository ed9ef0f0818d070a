"""Synthetic images from small physical models, with exact ground truth: for demo and tests, never as evidence."""

from modicum.data.phantoms.camera import CAMERAS
from modicum.data.phantoms.chest import ChestPhantom, chest
from modicum.data.phantoms.chest_findings import FINDINGS, LOBES
from modicum.data.phantoms.dataset import (
    write_chest_dataset,
    write_fundus_dataset,
    write_mr_dataset,
    write_phantoms,
)
from modicum.data.phantoms.fundus import GRADE_PROBABILITIES, FundusPhantom, draw_grade, fundus
from modicum.data.phantoms.lesions import LESIONS, SEVERE_PER_QUADRANT
from modicum.data.phantoms.mr_pairs import MrPair, mr_pair

__all__ = [
    "CAMERAS",
    "FINDINGS",
    "GRADE_PROBABILITIES",
    "LESIONS",
    "LOBES",
    "SEVERE_PER_QUADRANT",
    "ChestPhantom",
    "FundusPhantom",
    "MrPair",
    "chest",
    "draw_grade",
    "fundus",
    "mr_pair",
    "write_chest_dataset",
    "write_fundus_dataset",
    "write_mr_dataset",
    "write_phantoms",
]
