"""Probability maps beside masks: the network's own probabilities, at the size and with the geometry of the image."""

import json

import cv2
import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from made_dense import predictor_of as translator_of
from made_dense import write_volume
from torch import nn

from modicum.data.layouts.given_images import images_of
from modicum.data.prepared import StoreSettings
from modicum.engine.inference.dense_jobs import planned
from modicum.engine.inference.dense_output import DenseOutput
from modicum.engine.inference.dense_prediction import DensePredictor
from modicum.errors import InputError
from modicum.tasks.segmentation.targets import MaskCodes
from modicum.tasks.segmentation.task import Segmentation, SegmentationOptions


class Grey(nn.Module):
    """Logits whose probabilities are known: those of the image's own grey, for each channel times a factor."""

    def __init__(self, *factors: float) -> None:
        super().__init__()
        self.factors = factors

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, :1] * torch.tensor(self.factors).view(1, -1, 1, 1)


def predictor_of(kind: str, names: tuple[str, ...], *factors: float) -> DensePredictor:
    values = {name: ((at, at),) for at, name in enumerate(names, 0 if kind == "multi-class" else 1)}
    codes = MaskCodes(kind, names, values if kind == "multi-class" else {**values, "background": ((0, 0),)})
    task = Segmentation(kind, {"mask": codes}, SegmentationOptions())
    settings = StoreSettings(12, 16, intensity="file")
    return DensePredictor(Grey(*factors), task, settings, "32", torch.device("cpu"), 4)


def write(predictor, out, *given):
    names, refs = images_of(given)
    done = DenseOutput(predictor, out, "made (test)", probabilities=True).write(planned(given, names, refs))
    assert done.broken == 0


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.fixture
def levels():
    made = np.random.default_rng(0).integers(0, 256, (12, 16)).astype(np.uint8)
    made.flat[:2] = 0, 255
    return made


def test_a_picture_s_map_is_the_sigmoid_of_the_output_in_16_bits(tmp_path, levels):
    cv2.imwrite(str(tmp_path / "a.png"), levels)
    write(predictor_of("binary", ("vessel",), 3.0), tmp_path / "out", tmp_path / "a.png")
    made = cv2.imread(str(tmp_path / "out/a_probability_vessel.png"), cv2.IMREAD_UNCHANGED)
    assert made.dtype == np.uint16
    expected = sigmoid(3.0 * levels.astype(float) / 255)
    np.testing.assert_allclose(made / 65535, expected, atol=1e-3)
    mask = cv2.imread(str(tmp_path / "out/a_predicted.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask != 0, expected >= 0.5)
    account = json.loads((tmp_path / "out/predictions.json").read_text())
    assert account["probabilities"]["classes"] == ["vessel"]


def test_maps_of_classes_that_exclude_each_other_sum_to_less_than_one_by_the_background(tmp_path, levels):
    cv2.imwrite(str(tmp_path / "a.png"), levels)
    predictor = predictor_of("multi-class", ("background", "disc", "optic cup/rim"), 0.0, 1.0, 2.0)
    write(predictor, tmp_path / "out", tmp_path / "a.png")
    assert not (tmp_path / "out/a_probability_background.png").exists()
    disc, cup = (
        cv2.imread(str(tmp_path / f"out/a_probability_{name}.png"), cv2.IMREAD_UNCHANGED) / 65535
        for name in ("disc", "optic-cup-rim")
    )
    grey = levels / 255
    np.testing.assert_allclose(1 - disc - cup, 1 / (1 + np.exp(grey) + np.exp(2 * grey)), atol=1e-3)


def test_a_volume_s_maps_have_its_affine_and_real_numbers(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 900, (16, 12, 3)).astype(np.int16)
    source = nib.load(write_volume(tmp_path / "v.nii.gz", voxels))
    write(predictor_of("multi-label", ("core", "whole"), -2.0, 2.0), tmp_path / "out", tmp_path / "v.nii.gz")
    for name, low, high in (("core", 0.1, 0.5), ("whole", 0.5, 0.9)):
        made = nib.load(tmp_path / f"out/v_probability_{name}.nii.gz")
        assert (made.shape, made.get_data_dtype()) == (source.shape, np.float32)
        np.testing.assert_allclose(made.affine, source.affine)
        values = made.get_fdata()
        assert low <= values.min() < values.max() <= high
        order = values if name == "whole" else -values
        assert np.unravel_index(order.argmax(), order.shape) == np.unravel_index(
            voxels.argmax(), voxels.shape
        )


def test_a_dicom_image_s_map_is_a_derived_image_of_its_place(tmp_path):
    path = pydicom.data.get_testdata_file("MR_small.dcm", download=False)
    source = pydicom.dcmread(path)
    write(predictor_of("binary", ("vessel",), 3.0), tmp_path / "out", path)
    made = pydicom.dcmread(tmp_path / "out/MR_small_probability_vessel.dcm")
    assert made.ImagePositionPatient == source.ImagePositionPatient
    assert made.PixelSpacing == source.PixelSpacing
    assert made.SeriesInstanceUID != source.SeriesInstanceUID
    values = made.pixel_array * float(made.RescaleSlope) + float(made.RescaleIntercept)
    assert values.shape == source.pixel_array.shape
    assert 0.5 <= values.min() < values.max() <= sigmoid(3) + 1e-3


def test_a_task_without_classes_has_none(tmp_path):
    with pytest.raises(InputError, match=r"'image-to-image' are not classes; leave --probabilities out"):
        DenseOutput(translator_of(), tmp_path, "made", probabilities=True)
