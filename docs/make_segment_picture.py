"""Draws docs/pictures/segment.png: the vessels that a run found in one photograph, and where it and the annotator differ.

    python docs/make_segment_picture.py RUN IMAGE MASK FOV

The photograph itself is not in it: DRIVE's makers give it away themselves.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import modicum
from modicum.tasks.segmentation.pictures import differences

PICTURE = Path(__file__).parent / "pictures" / "segment.png"


def main() -> None:
    run, image, mask, fov = sys.argv[1:5]
    with tempfile.TemporaryDirectory() as folder:
        modicum.Run.open(run).predict([image], out=folder)
        (file,) = Path(folder).glob("*.png")
        found = np.asarray(Image.open(file)) > 0
    inside = np.asarray(Image.open(fov)) > 0
    true = np.asarray(Image.open(mask)) > 0
    background = np.zeros((*found.shape, 3), np.uint8)
    background[inside] = 40
    drawn = background.copy()
    drawn[found & inside] = 255
    compared = differences(background, (found & inside)[None], (true & inside)[None])
    Image.fromarray(np.concatenate((drawn, compared), axis=1)).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
