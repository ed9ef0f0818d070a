"""Comparisons of segmentations: decoders as rows, Dice as a share that has a price, words for pixels."""

import cv2
import numpy as np
import pandas as pd
import pytest
from small_comparison import Tables, markdown_rows

import modicum

TINY = {
    "backbone": "test_resnet",
    "weights": "random",
    "image_size": 64,
    "epochs": 1,
    "repeats_per_epoch": 1,
    "batch_size": 4,
    "decoder_width": 64,
    "resamples": 20,
    "workers": 0,
    "device": "cpu",
}
ROWS = ["segment-architecture=unet", "segment-architecture=fpn"]


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    """12 pictures of blurred noise and where it is bright, of 6 patients."""
    folder = tmp_path_factory.mktemp("masks")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(12):
        noise = cv2.GaussianBlur(rng.normal(size=(64, 64)), (0, 0), 4)
        cv2.imwrite(str(folder / f"i{number}.png"), np.clip(128 + 500 * noise, 0, 255).astype(np.uint8))
        cv2.imwrite(str(folder / f"m{number}.png"), 255 * (noise > 0.05).astype(np.uint8))
        split = "train" if number < 4 else "val" if number < 8 else "test"
        row = {"image": f"i{number}.png", "mask": f"m{number}.png", "split": split}
        rows.append(row | {"patient": f"p{number // 2}"})
    pd.DataFrame(rows).to_csv(folder / "masks.csv", index=False)
    return folder / "masks.csv"


def compare(masks, runs, name, **given):
    settings = {**TINY, "sweep": {"architecture": ["unet", "fpn"]}, "seeds": 1, **given}
    return modicum.compare(masks, "segment", runs=runs, name=name, stores=masks.parent / "stores", **settings)


@pytest.fixture(scope="module")
def done(masks, tmp_path_factory):
    return compare(masks, tmp_path_factory.mktemp("runs"), "decoders")


def test_every_decoder_is_a_row_and_the_higher_dice_is_named_best(done):
    assert done.failed == []
    table = done.table.set_index("method")
    assert list(table.index) == ROWS
    assert set(table["metric"]) == {"dice"}
    best = table["score"].idxmax().removeprefix("segment-")
    page = (done.path / "compare.html").read_text()
    assert f"{best} scores best (Dice {table['score'].max():.3f})" in page
    assert "Up and to the left is better" in page


def test_only_columns_that_are_there_are_explained(done):
    page = (done.path / "compare.html").read_text().rpartition("</style>")[2].partition("Made again")[0]
    titles = Tables((done.path / "compare.html").read_text()).tables[0][0]
    assert "PPE" in titles
    assert "PME" not in titles  # full fine-tuning of a classifier is no measure of such a network
    assert "PPE: score in percent, discounted for learned parameters." in page
    for words in ("PME", "% of full", "AUROC", " class "):
        assert words not in page, words
    assert done.table["pme"].isna().all()
    assert (done.table["ppe"] < 100 * done.table["score"]).all()


def test_csv_and_markdown_agree(done):
    table = pd.read_csv(done.path / "table.csv")
    markdown = markdown_rows((done.path / "table.md").read_text())
    place = markdown[0].index("Dice (test)")
    assert [float(row[place]) for row in markdown[1:]] == pytest.approx(table["score"].tolist(), abs=5e-4)


def test_a_comparison_by_the_accuracy_of_pixels_says_that_it_is_of_pixels(masks, tmp_path):
    found = compare(masks, tmp_path, "pixels", sweep=None, monitor="accuracy", select="best")
    page = (found.path / "compare.html").read_text()
    assert "Accuracy (test)" in page
    assert "pixels that are right, of all images together" in page
    assert "right decisions" not in page
