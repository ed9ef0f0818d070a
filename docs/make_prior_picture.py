"""Draws ``pictures/prior.png``: which regions of made radiographs a sentence reads, and where the finding is.

    python benchmarks/learning/prior/phantoms.py --work WORK --seeds 0 --only "+ local"
    python docs/make_prior_picture.py WORK

A row a sentence: the five test images that are nearest, in red what the sentence reads of each, in green the outline of
the finding that it names, where there is one.
"""

import argparse
import sys
from pathlib import Path

import modicum

# isort: split
import cv2
import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "benchmarks" / "learning" / "prior"))
import phantoms  # noqa: E402 - the small network of the run

from modicum.data.phantoms.chest import chest  # noqa: E402
from modicum.data.phantoms.dataset import patient_seed  # noqa: E402
from modicum.report.retrieval_page import picture_of  # noqa: E402

QUERIES = {
    "Large right pleural effusion.": "effusion_right",
    "There is a large left pneumothorax.": "pneumothorax",
    "The heart is enlarged.": "cardiomegaly",
}
SIDE, GAP, TEXT = 150, 6, 18


def outlined(picture: Image.Image, mask: np.ndarray | None) -> Image.Image:
    """Enlarged, with the outline of a mask."""
    pixels = np.array(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    if mask is not None:
        large = cv2.resize(mask.astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        contours, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(pixels, contours, -1, (80, 230, 80), 1)
    return Image.fromarray(pixels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    work = parser.parse_args().work
    phantoms.register_networks()
    data = work / f"chest{phantoms.PATIENTS}" / "manifest.csv"
    table = pd.read_csv(data, dtype=str)
    test = data.parent / "test.csv"
    table[table["split"] == "test"].to_csv(test, index=False)
    run = modicum.Run.open(work / "runs" / "+local-0")
    found = run.retrieve(list(QUERIES), test, work / "retrieved", k=5)
    refs = found.manifest.refs()
    settings = run.recipe.image
    height = SIDE + TEXT + GAP
    sheet = Image.new("RGB", (5 * (SIDE + GAP) - GAP, len(QUERIES) * height - GAP), "white")
    draw = ImageDraw.Draw(sheet)
    from modicum.engine.inputs.preparation import store_settings

    stored = store_settings(settings, run.recipe.task, run.recipe.options)
    for row, ((query, finding), answer) in enumerate(zip(QUERIES.items(), found.answers, strict=True)):
        draw.text((0, row * height + 2), query, fill="black")
        for column, hit in enumerate(answer.hits):
            name = str(found.manifest.table["patient"].iloc[hit.row])
            phantom = chest(patient_seed(phantoms.DATA_SEED, int(name[1:])), phantoms.SIDE)
            picture = picture_of(refs[hit.row], stored, hit.reading)
            assert picture is not None
            place = (column * (SIDE + GAP), row * height + TEXT)
            sheet.paste(outlined(picture, phantom.masks.get(finding)), place)
    sheet.save(HERE / "pictures" / "prior.png", optimize=True)


if __name__ == "__main__":
    main()
