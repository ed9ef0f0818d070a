"""Boxes around what is seen in images: from files to the pixels of the stored images.

:mod:`~modicum.data.boxes.reading` reads files of boxes (CSV, COCO, YOLO, JSON), :mod:`~modicum.data.boxes.column` brings
them into a manifest's column ``boxes``, :mod:`~modicum.data.boxes.from_masks` makes them of masks,
:mod:`~modicum.data.boxes.checking` holds them against the images' sizes,
:mod:`~modicum.data.boxes.stored` moves them with the image's crop and resize, and :mod:`~modicum.data.boxes.source` packs
them for batches.
"""

from modicum.data.boxes.boxes import Boxes
from modicum.data.boxes.checking import CheckedBoxes, checked_boxes
from modicum.data.boxes.column import with_box_cells, with_box_file
from modicum.data.boxes.from_masks import boxes_around, with_mask_boxes
from modicum.data.boxes.options import BoxOptions
from modicum.data.boxes.reading import read_boxes
from modicum.data.boxes.source import BoxSource, pack_boxes
from modicum.data.boxes.stored import large_enough, stored_boxes

__all__ = [
    "BoxOptions",
    "BoxSource",
    "Boxes",
    "CheckedBoxes",
    "boxes_around",
    "checked_boxes",
    "large_enough",
    "pack_boxes",
    "read_boxes",
    "stored_boxes",
    "with_box_cells",
    "with_box_file",
    "with_mask_boxes",
]
