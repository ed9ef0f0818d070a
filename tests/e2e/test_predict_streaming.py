"""Prediction of any number of images: memory does not grow with them, order is kept, stopped work is kept."""

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from modicum.data.image import ImageRef
from modicum.data.prepared import StoreSettings
from modicum.engine.inference.prediction import TablePredictor
from modicum.methods import Rows
from modicum.tasks import task_from_dict

SIZE = 96


class Brightness(nn.Module):
    """Logits (0, b) of an image of mean brightness b: the chance of class `bright` is the logistic function of b."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.batches = 0
        self.stop_at = stop_at

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.batches == self.stop_at:
            raise KeyboardInterrupt
        self.batches += 1
        mean = images.mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(mean), mean], dim=1)


@pytest.fixture(scope="module")
def greys(tmp_path_factory) -> list[Path]:
    """256 files, each of one grey level."""
    folder = tmp_path_factory.mktemp("greys")
    paths = [folder / f"{level:03d}.png" for level in range(256)]
    for level, path in enumerate(paths):
        Image.new("L", (SIZE, SIZE), level).save(path)
    return paths


def predicted(files: list[Path], out: Path, network: nn.Module | None = None, batch_size: int = 16):
    task = task_from_dict(
        {
            "name": "classification",
            "kind": "binary",
            "classes": ["dark", "bright"],
            "ordered": False,
            "specificity": 0.95,
        }
    )
    refs = [ImageRef(path) for path in files]
    names = [f"{number}:{path.name}" for number, path in enumerate(files)]
    settings = StoreSettings(height=SIZE, width=SIZE)
    predictor = TablePredictor(network or Brightness(), task, settings, batch_size, "32", torch.device("cpu"))
    nothing = [None] * len(names)
    return predictor.write(refs, Rows(names, nothing, nothing, nothing), out)


def shuffled(files: list[Path], count: int) -> tuple[list[Path], np.ndarray]:
    levels = np.random.default_rng(count).integers(0, 256, count)
    return [files[level] for level in levels], levels


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_each_row_is_its_image_in_the_order_given(greys, tmp_path, suffix):
    files, levels = shuffled(greys, 333)
    out = tmp_path / f"p{suffix}"
    predicted(files, out)
    rows = pd.read_csv(out) if suffix == ".csv" else pd.read_parquet(out)
    assert list(rows["image"]) == [f"{number}:{path.name}" for number, path in enumerate(files)]
    np.testing.assert_allclose(rows["p_bright"], 1 / (1 + np.exp(-levels / 255)), atol=1e-6)
    assert not out.with_name(out.name + ".part").exists()


def test_parquet_holds_what_csv_holds_with_broken_images_between(greys, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b'no image, "quoted",\nover two lines')
    # Whole batches of broken images, the first among them: a column's type must not come from the first rows.
    files = [broken] * 20 + greys[:30] + [broken] + greys[30:40] + [broken] * 5
    summaries = [predicted(files, tmp_path / name, batch_size=8) for name in ("p.csv", "p.parquet")]
    assert [(done.predicted, done.broken) for done in summaries] == [(40, 26)] * 2
    csv, parquet = pd.read_csv(tmp_path / "p.csv"), pd.read_parquet(tmp_path / "p.parquet")
    assert list(csv) == list(parquet) == ["image", "prediction", "p_dark", "p_bright", "error"]
    for column in ("p_dark", "p_bright"):
        np.testing.assert_allclose(csv[column], parquet[column], atol=1e-6)
    for column in ("image", "prediction", "error"):
        assert csv[column].fillna("").tolist() == parquet[column].fillna("").tolist()
    assert csv["error"].notna().sum() == 26


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_ctrl_c_leaves_the_finished_rows_and_the_former_file(greys, tmp_path, suffix):
    out = tmp_path / f"p{suffix}"
    out.write_text("of an earlier run")
    with pytest.raises(KeyboardInterrupt):
        predicted(greys, out, Brightness(stop_at=5))
    part = out.with_name(out.name + ".part")
    rows = pd.read_csv(part) if suffix == ".csv" else pd.read_parquet(part)
    assert list(rows["image"]) == [f"{level}:{level:03d}.png" for level in range(5 * 16)]
    np.testing.assert_allclose(rows["p_bright"], 1 / (1 + np.exp(-np.arange(80) / 255)), atol=1e-6)
    assert out.read_text() == "of an earlier run"


def test_ten_times_the_images_take_the_same_memory(greys, tmp_path):
    """600 grey images of 96 x 96 are 5.5 MB decoded; the peak may be 2 MB over that of 60 (their names and paths)."""
    peaks = []
    for count in (60, 60, 600):  # the first for what is imported and cached once
        files, _ = shuffled(greys, count)
        tracemalloc.start()  # Python's objects and NumPy's arrays
        try:
            assert predicted(files, tmp_path / "p.csv").predicted == count
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[2] - peaks[1] < 2e6, peaks
