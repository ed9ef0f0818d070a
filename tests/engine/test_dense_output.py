"""Predicted pictures in files: geometry, values, names, what is broken, and how much memory it takes."""

import json
import time
import tracemalloc
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
import torch
from made_dense import SIDE, Negative, predictor_of, write_volume
from torch import nn

from modicum.data.layouts.given_images import images_of
from modicum.data.prepared import StoreSettings
from modicum.engine.inference import dense_output
from modicum.engine.inference.dense_jobs import planned
from modicum.engine.inference.dense_output import DenseOutput, background_of
from modicum.engine.inference.dense_prediction import DensePredictor
from modicum.errors import InputError
from modicum.progress import Bar
from modicum.tasks.segmentation.task import Segmentation
from modicum.tasks.value_range import ValueRange

RNG = np.random.default_rng(0)
MR = ValueRange(100, 900, "percentile", background=0.0, files=4)
PLAIN = ValueRange(100, 900, "file")


def write(predictor, out: Path, *given, **more):
    names, refs = images_of(given)
    return DenseOutput(predictor, out, "made (test)", **more).write(planned(given, names, refs))


def rows_of(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "predictions.csv")


def grey(path: Path, height=SIDE, width=SIDE, bits=8) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = np.uint8 if bits == 8 else np.uint16
    levels = RNG.integers(1, 2**bits - 1, (height, width)).astype(kind)
    levels.flat[:2] = 0, 2**bits - 1  # so that the range is the type's
    cv2.imwrite(str(path), levels)
    return levels


def test_pictures_are_written_beside_each_other_as_their_sources_are(tmp_path):
    levels = grey(tmp_path / "in/a/one.png"), grey(tmp_path / "in/two.jpg.png")
    done = write(predictor_of(values=ValueRange(0, 255, "file", bits=8)), tmp_path / "out", tmp_path / "in")
    assert (done.predicted, done.broken) == (2, 0)
    made = cv2.imread(str(tmp_path / "out/a/one_predicted.png"), cv2.IMREAD_UNCHANGED)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, 255 - levels[0])
    table = rows_of(tmp_path / "out")
    assert list(table["image"]) == ["a/one.png", "two.jpg.png"]
    assert list(table["file"]) == ["a/one_predicted.png", "two.jpg_predicted.png"]
    assert table["mean"][0] == pytest.approx((1 - levels[0] / 255).mean(), abs=1e-4)


def test_targets_of_more_than_8_bits_make_pictures_of_16(tmp_path):
    levels = grey(tmp_path / "a.png", bits=16)
    write(predictor_of(values=PLAIN), tmp_path / "out", tmp_path / "a.png")
    made = cv2.imread(str(tmp_path / "out/a_predicted.png"), cv2.IMREAD_UNCHANGED)
    assert made.dtype == np.uint16
    assert np.abs(made.astype(int) - (65535 - levels)).max() <= 1
    account = json.loads((tmp_path / "out/predictions.json").read_text())
    assert account["values"]["png_value"] == "low + level / 65535 * (high - low)"
    assert (account["values"]["range"]["low"], account["values"]["range"]["high"]) == (100, 900)


def test_a_volume_keeps_shape_affine_zooms_and_number_type(tmp_path):
    voxels = RNG.integers(0, 1000, (14, 18, 6)).astype(np.int16)
    voxels.flat[:2] = 0, 999
    source = nib.load(write_volume(tmp_path / "v.nii.gz", voxels))
    done = write(predictor_of(values=ValueRange(100, 900, "file")), tmp_path / "out", tmp_path / "v.nii.gz")
    assert done.predicted == 6
    made = nib.load(tmp_path / "out/v_predicted.nii.gz")
    assert made.shape == source.shape
    np.testing.assert_allclose(made.affine, source.affine)
    np.testing.assert_allclose(made.header.get_zooms(), source.header.get_zooms())
    assert made.get_data_dtype() == np.int16
    assert made.get_fdata().min() >= 100
    assert made.get_fdata().max() <= 900
    # Each slice at its own place: dark where the source is bright. (The network saw it at another size.)
    before, after = voxels.reshape(-1, 6).astype(float), made.get_fdata().reshape(-1, 6)
    for index in range(6):
        assert np.corrcoef(before[:, index], after[:, index])[0, 1] < -0.7
    table = rows_of(tmp_path / "out")
    assert list(table["image"]) == [f"{tmp_path}/v.nii.gz#axis=2&index={index}" for index in range(6)]
    assert set(table["file"]) == {"v_predicted.nii.gz"}


def test_at_its_own_size_a_volume_of_float_is_exact(tmp_path):
    voxels = RNG.random((14, 18, 5)).astype(np.float32) * 800
    voxels.flat[:2] = 0, 800
    write_volume(tmp_path / "v.nii", voxels)
    predictor = predictor_of(values=ValueRange(0, 400, "file"), native=True)
    write(predictor, tmp_path / "out", tmp_path / "v.nii")
    made = nib.load(tmp_path / "out/v_predicted.nii")
    assert made.get_data_dtype() == np.float32
    np.testing.assert_allclose(made.get_fdata(), 400 - voxels / 2, atol=0.02)  # levels of 16 bits


@pytest.mark.parametrize("tile", [None, (32, 32), (64, 32)])
def test_tiles_at_native_size_make_no_seams(tile, tmp_path):
    levels = grey(tmp_path / "a.png", 70, 101, bits=16)
    predictor = predictor_of(values=PLAIN, native=True, tile=tile)
    write(predictor, tmp_path / "out", tmp_path / "a.png")
    made = cv2.imread(str(tmp_path / "out/a_predicted.png"), cv2.IMREAD_UNCHANGED)
    assert np.abs(made.astype(int) - (65535 - levels)).max() <= 1


def test_native_sizes_reach_the_network_as_multiples_of_its_strides(tmp_path):
    seen = []

    class Watched(Negative):
        def forward(self, images):
            seen.append(tuple(images.shape[2:]))
            return super().forward(images)

    grey(tmp_path / "a.png", 70, 101)
    write(predictor_of(Watched(), native=True), tmp_path / "out", tmp_path / "a.png")
    assert seen == [(96, 128)]


def test_background_stays_background_with_percentiles(tmp_path):
    voxels = np.zeros((16, 16, 4), np.float32)
    voxels[4:12, 4:12] = RNG.uniform(50, 400, (8, 8, 4))
    voxels[7, 7] = 0  # inside the body
    write_volume(tmp_path / "v.nii.gz", voxels, flip=False)
    write(predictor_of(values=MR, intensity="percentile"), tmp_path / "out", tmp_path / "v.nii.gz")
    made = nib.load(tmp_path / "out/v_predicted.nii.gz").get_fdata()
    around = np.ones((16, 16), bool)
    around[4:12, 4:12] = False
    assert (made[around] == 0).all()
    assert rows_of(tmp_path / "out")["mean"].max() < 0.25  # a quarter of each slice is body
    assert (made[7, 7] == 900).all()  # the negative of the darkest
    assert (made[~around] >= 100).mean() > 0.97  # but for the brightest, whose negative is 0


def test_only_what_is_connected_with_the_border_is_background():
    pixels = np.ones((1, 7, 7), np.float32)
    pixels[0, 0], pixels[0, 1:3, 3], pixels[0, 4, 4] = 0, 0, 0
    expected = np.zeros((7, 7), bool)
    expected[0] = expected[1:3, 3] = True
    np.testing.assert_array_equal(background_of(pixels), expected)


def test_dicom_becomes_derived_dicom_in_the_targets_units(real_images, tmp_path):
    source = real_images("dicom_nifti") / "MR_small.dcm"
    write(predictor_of(values=MR), tmp_path / "out", source, pseudonym="P1")
    made, own = pydicom.dcmread(tmp_path / "out/MR_small_predicted.dcm"), pydicom.dcmread(source)
    assert made.SOPInstanceUID != own.SOPInstanceUID
    assert made.SeriesInstanceUID != own.SeriesInstanceUID
    assert made.PatientID == "P1"
    assert (made.Rows, made.Columns) == (own.Rows, own.Columns)
    assert "0 to 1 became 100 to 900 (median of 4 files, rule percentile)" in made.DerivationDescription
    values = made.pixel_array * float(made.RescaleSlope) + float(made.RescaleIntercept)
    assert values.min() >= -0.01
    assert values.max() <= 900.01


def test_slices_of_one_series_are_one_series_again(real_images, tmp_path):
    header = pydicom.dcmread(real_images("dicom_nifti") / "MR_small.dcm")
    (tmp_path / "series").mkdir()
    for number in range(3):
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        header.InstanceNumber = number + 1
        header.save_as(tmp_path / f"series/{number}.dcm")
    header.SeriesInstanceUID = "1.2.9"
    header.save_as(tmp_path / "series/other.dcm")
    write(predictor_of(), tmp_path / "out", tmp_path / "series")
    made = [pydicom.dcmread(path) for path in sorted((tmp_path / "out").glob("*.dcm"))]
    assert len({one.SOPInstanceUID for one in made}) == 4
    assert [one.SeriesInstanceUID == made[0].SeriesInstanceUID for one in made] == [True, True, True, False]


class Thirds(nn.Module):
    """Logits of three classes: the left, the middle and the right third."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        part = torch.arange(images.shape[3]) * 3 // images.shape[3]
        here = part.view(1, 1, 1, -1) == torch.arange(3).view(1, 3, 1, 1)
        return 20.0 * here.float().expand(len(images), 3, *images.shape[2:])


def masks_of(tmp_path: Path) -> DensePredictor:
    (tmp_path / "learned").mkdir()
    cv2.imwrite(str(tmp_path / "learned/i.png"), np.zeros((6, 6), np.uint8))
    cv2.imwrite(str(tmp_path / "learned/m.png"), np.repeat(np.arange(3, dtype=np.uint8), 12).reshape(6, 6))
    (tmp_path / "learned/t.csv").write_text("image,mask\ni.png,m.png\n")
    from modicum.data.layouts import load_manifest

    task = Segmentation.from_manifest(load_manifest(tmp_path / "learned/t.csv"), {})
    return DensePredictor(Thirds(), task, StoreSettings(24, 24), "32", torch.device("cpu"), 4)


def test_masks_are_codes_in_png_and_nifti(tmp_path):
    grey(tmp_path / "in/a.png", 9, 27)
    write_volume(tmp_path / "in/v.nii.gz", np.zeros((27, 9, 2), np.int16) + np.arange(2, dtype=np.int16))
    done = write(masks_of(tmp_path), tmp_path / "out", tmp_path / "in")
    assert done.broken == 0
    made = cv2.imread(str(tmp_path / "out/a_predicted.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(made, np.tile(np.repeat([0, 1, 2], 9), (9, 1)))
    volume = nib.load(tmp_path / "out/v_predicted.nii.gz")
    assert volume.get_data_dtype() == np.uint8
    assert np.unique(volume.get_fdata()).tolist() == [0, 1, 2]


def test_what_is_broken_is_a_row_with_an_error_and_the_rest_is_made(tmp_path):
    grey(tmp_path / "in/a.png"), grey(tmp_path / "in/c.png")
    (tmp_path / "in/b.png").write_bytes(b"")
    write_volume(tmp_path / "in/v.nii", np.ones((8, 8, 3), np.float32))
    data = (tmp_path / "in/v.nii").read_bytes()
    (tmp_path / "in/v.nii").write_bytes(data[:-100])
    done = write(predictor_of(), tmp_path / "out", tmp_path / "in")
    assert (done.predicted, done.broken) == (2, 2)
    table = rows_of(tmp_path / "out").set_index("image")
    assert "empty" in table["error"]["b.png"]
    assert "truncated" in table["error"]["v.nii"]
    assert table["error"][["a.png", "c.png"]].isna().all()
    assert table["file"][["b.png", "v.nii"]].isna().all()
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == ["a_predicted.png", "c_predicted.png", "predictions.csv", "predictions.json"]


class Stops(Negative):
    left = 3

    def forward(self, images):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().forward(images)


def test_stopped_work_leaves_whole_files_and_no_scratch(tmp_path):
    for number in range(8):
        grey(tmp_path / f"in/{number}.png")
    write_volume(tmp_path / "in/z.nii.gz", np.ones((8, 8, 30), np.float32))
    network = Stops()
    with pytest.raises(KeyboardInterrupt):
        write(predictor_of(network), tmp_path / "out", tmp_path / "in")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [*(f"{n}_predicted.png" for n in range(8)), "predictions.csv.part", "predictions.json"]
    assert len(pd.read_csv(tmp_path / "out/predictions.csv.part")) == 8


def test_predicting_again_says_what_it_replaces(tmp_path, capsys):
    grey(tmp_path / "in/a.png")
    write(predictor_of(), tmp_path / "out", tmp_path / "in")
    assert "replaced" not in capsys.readouterr().err
    grey(tmp_path / "in/a.png")
    write(predictor_of(), tmp_path / "out", tmp_path / "in")
    assert "1 file of an earlier prediction" in capsys.readouterr().err


def test_a_prediction_never_takes_the_place_of_its_source(tmp_path):
    grey(tmp_path / "x_predicted.png")
    (tmp_path / "x.png").symlink_to(tmp_path / "x_predicted.png")
    with pytest.raises(InputError, match="would be replaced by a prediction of itself"):
        write(predictor_of(), tmp_path, tmp_path / "x.png")


def test_a_volume_is_predicted_in_bounded_memory_with_a_bar_that_counts_its_slices(tmp_path, monkeypatch):
    shape = 256, 256, 160
    voxels = np.broadcast_to(np.arange(160, dtype=np.int16), shape)
    write_volume(tmp_path / "v.nii", voxels)
    time.sleep(2.1)  # of a file that may still change readers remember nothing
    steps = []

    class Counting(Bar):
        def advance(self, count=1):
            steps.append(count)

    class Shown:
        def __init__(self, what, total):
            self.total = steps.append(("predicting", total)) if what == "predicting" else None

        def __enter__(self):
            return Counting()

        def __exit__(self, *error):
            return None

    monkeypatch.setattr(dense_output, "bar", Shown)
    predictor = predictor_of(nn.Conv2d(1, 1, 3, padding=1), size=(256, 256))
    write_volume(tmp_path / "small.nii", voxels[:32, :32, :4])
    write(predictor, tmp_path / "warm", tmp_path / "small.nii")  # what is imported late
    steps.clear()
    tracemalloc.start()
    try:
        done = write(predictor, tmp_path / "out", tmp_path / "v.nii")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert done.predicted == 160
    assert steps[0] == ("predicting", 160)
    assert sum(steps[1:]) == 160
    assert peak < 0.25 * np.prod(shape) * 8, f"{peak / 2**20:.0f} MiB"
    made = nib.load(tmp_path / "out/v_predicted.nii")
    assert made.shape == shape
    assert made.get_data_dtype() == np.int16
