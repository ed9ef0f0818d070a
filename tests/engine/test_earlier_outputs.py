"""Outputs of another enhancer in a folder are read by the levels of their files."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from modicum.data.image import ImageRef
from modicum.data.writers import write_png
from modicum.engine.inference.earlier_outputs import EarlierOutputs, keep, outputs_in

DIM = np.linspace(0.25, 0.5, 80, dtype=np.float32).reshape(1, 8, 10)  # neither black nor white anywhere


def read(folder):
    Image.new("L", (10, 8)).save(folder / "a.png")
    (folder / "out").mkdir(exist_ok=True)
    refs = [ImageRef(folder / "a.png")]
    return outputs_in(folder / "out", ["a.png"], refs).pixels(refs[0], (8, 10))


@pytest.mark.parametrize(
    ("name", "write", "tolerance"),
    [
        ("a_predicted.png", lambda path: write_png(path, DIM, 16), 1e-5),
        ("a.png", lambda path: write_png(path, DIM, 8), 0.002),
        ("a.png", lambda path: write_png(path, DIM.repeat(3, 0), 16), 1e-5),
        ("a.tif", lambda path: cv2.imwrite(str(path), np.rint(DIM[0] * 65535).astype(np.uint16)), 1e-5),
        ("a.tif", lambda path: cv2.imwrite(str(path), DIM[0]), 1e-6),
    ],
    ids=["grey of 16 bits", "grey of 8 bits", "colour of 16 bits", "TIFF of 16 bits", "TIFF of floats"],
)
def test_the_contrast_of_an_output_stays_as_it_was_written(tmp_path, name, write, tolerance):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out" / name)
    np.testing.assert_allclose(read(tmp_path)[:1], DIM, atol=tolerance)


def test_a_folder_says_the_same_as_the_run_that_wrote_it(tmp_path):
    (tmp_path / "out").mkdir()
    write_png(tmp_path / "out" / "a_predicted.png", DIM, 16)
    ref = ImageRef(tmp_path / "a.png")
    kept = EarlierOutputs({ref: keep(tmp_path / "k", DIM)}, "run").pixels(ref, (8, 10))
    np.testing.assert_allclose(read(tmp_path), kept, atol=1e-6)
    assert torch.from_numpy(kept).dtype == torch.float32
