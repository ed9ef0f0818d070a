"""Masks predicted for DICOM images: one segmentation object a series, or images of codes without highdicom."""

import json

import cv2
import numpy as np
import pandas as pd
import pydicom
import pytest
import torch
from pydicom.data import get_testdata_file
from pydicom.uid import SegmentationStorage
from torch import nn

from modicum.data.layouts.given_images import images_of
from modicum.data.prepared import StoreSettings
from modicum.data.writers.segmentation_object import SegmentationObject
from modicum.engine.inference import segmentation_series
from modicum.engine.inference.dense_jobs import planned
from modicum.engine.inference.dense_output import DenseOutput
from modicum.engine.inference.dense_prediction import DensePredictor
from modicum.errors import BrokenImageError
from modicum.tasks.segmentation.targets import MaskCodes
from modicum.tasks.segmentation.task import Segmentation, SegmentationOptions

highdicom = pytest.importorskip("highdicom", reason="needs the extra 'dicom'")


class Bright(nn.Module):
    """Logits: above one half, and above one quarter."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 100 * (images[:, :1] - torch.tensor([0.5, 0.25]).view(1, 2, 1, 1))


class Exclusive(nn.Module):
    """Logits of three classes: dark, middling, bright."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        grey = images[:, :1]
        return -100 * (grey - torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1)).abs()


def predictor_of(kind: str) -> DensePredictor:
    if kind == "multi-label":
        codes = MaskCodes(
            kind, ("core", "whole"), {"core": ((1, 1),), "whole": ((1, 2),), "background": ((0, 0),)}
        )
    else:
        names = ("background", "middling", "bright")
        codes = MaskCodes(kind, names, {name: ((at, at),) for at, name in enumerate(names)})
    task = Segmentation(kind, {"mask": codes}, SegmentationOptions())
    network = Bright() if kind == "multi-label" else Exclusive()
    return DensePredictor(network, task, StoreSettings(64, 64), "32", torch.device("cpu"), 4)


def regions_of(predictor: DensePredictor, path) -> np.ndarray:
    """What the task says of each class in an image, for the classes that are looked for."""
    (predicted,) = predictor.predict([(0, images_of([path])[1][0])])
    regions = predictor.task.regions(predicted.activated)
    return regions[1:] if predictor.task.exclusive else regions


def write(predictor, out, *given, **more):
    names, refs = images_of(given)
    return DenseOutput(predictor, out, "vessels-3 (segment)", **more).write(planned(given, names, refs))


def series(folder, uid, numbers, **changes):
    path = get_testdata_file("MR_small.dcm", download=False)
    if path is None:
        pytest.skip("this pydicom has no packaged MR_small.dcm")
    dataset = pydicom.dcmread(path)
    dataset.SeriesInstanceUID = uid
    folder.mkdir(exist_ok=True)
    for number in numbers:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{uid}.{number}"
        dataset.ImagePositionPatient = [-83.9, -91.2, 2.0 * number]
        for keyword, value in changes.items():
            setattr(dataset, keyword, value)
        dataset.save_as(folder / f"{number}.dcm")


@pytest.mark.parametrize("kind", ["multi-class", "multi-label"])
def test_each_series_is_one_object_that_holds_the_masks_of_its_slices(kind, tmp_path):
    # Files of two series, and a picture, that take turns.
    series(tmp_path / "in", "1.2.3", [0, 2, 4])
    series(tmp_path / "in", "1.2.4", [1, 3])
    cv2.imwrite(str(tmp_path / "in/2b.png"), np.full((8, 8), 99, np.uint8))
    predictor = predictor_of(kind)
    done = write(predictor, tmp_path / "out", tmp_path / "in", pseudonym="P9")
    assert (done.predicted, done.broken) == (6, 0)
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == [
        "0_predicted.dcm",
        "1_predicted.dcm",
        "2b_predicted.png",
        "predictions.csv",
        "predictions.json",
    ]
    for name, uid, numbers in (("0", "1.2.3", [0, 2, 4]), ("1", "1.2.4", [1, 3])):
        read = highdicom.seg.segread(tmp_path / f"out/{name}_predicted.dcm")
        assert (read.PatientID, read.SOPClassUID) == ("P9", SegmentationStorage)
        assert [one.SegmentLabel for one in read.SegmentSequence] == list(predictor.task.foreground)
        assert read.SegmentSequence[0].SegmentAlgorithmName == "vessels-3 (segment)"
        uids = [f"{uid}.{number}" for number in numbers]
        masks = read.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
        for mask, number in zip(masks, numbers, strict=True):
            expected = regions_of(predictor, tmp_path / f"in/{number}.dcm")
            assert expected.any()
            np.testing.assert_array_equal(np.moveaxis(mask, -1, 0), expected)
    table = pd.read_csv(tmp_path / "out/predictions.csv").set_index("image")
    assert list(table.index) == ["0.dcm", "2.dcm", "4.dcm", "1.dcm", "3.dcm", "2b.png"]
    assert list(table["file"][["2.dcm", "3.dcm"]]) == ["0_predicted.dcm", "1_predicted.dcm"]
    account = json.loads((tmp_path / "out/predictions.json").read_text())
    assert account["values"]["dicom"] == "segmentation objects"


def test_slices_that_make_no_stack_are_in_objects_named_after_the_first_of_each(tmp_path):
    series(tmp_path / "in", "1.2.3", [0, 1])
    series(tmp_path / "in", "1.2.3", [2, 3], ImageOrientationPatient=[0, 1, 0, 1, 0, 0])
    write(predictor_of("multi-label"), tmp_path / "out", tmp_path / "in")
    table = pd.read_csv(tmp_path / "out/predictions.csv")
    assert list(table["file"]) == ["0_predicted.dcm"] * 2 + ["2_predicted.dcm"] * 2
    first, second = (pydicom.dcmread(tmp_path / f"out/{name}_predicted.dcm") for name in "02")
    assert first.StudyInstanceUID == second.StudyInstanceUID
    assert first.SeriesInstanceUID != second.SeriesInstanceUID


def test_a_broken_slice_is_a_row_with_an_error_and_the_rest_an_object(tmp_path):
    series(tmp_path / "in", "1.2.3", [0, 1, 2])
    data = (tmp_path / "in/1.dcm").read_bytes()
    (tmp_path / "in/1.dcm").write_bytes(data[:-4000])
    done = write(predictor_of("multi-label"), tmp_path / "out", tmp_path / "in")
    assert (done.predicted, done.broken) == (2, 1)
    made = pydicom.dcmread(tmp_path / "out/0_predicted.dcm")
    assert [item.ReferencedSOPInstanceUID for item in made.SourceImageSequence] == ["1.2.3.0", "1.2.3.2"]


def test_what_highdicom_refuses_are_rows_with_an_error(tmp_path, monkeypatch):
    series(tmp_path / "in", "1.2.3", [0, 1])
    cv2.imwrite(str(tmp_path / "in/a.png"), np.full((8, 8), 99, np.uint8))

    def refused(self, path):
        raise BrokenImageError(path.name, "no segmentation object can be made from it")

    monkeypatch.setattr(SegmentationObject, "write", refused)
    done = write(predictor_of("multi-label"), tmp_path / "out", tmp_path / "in")
    assert (done.predicted, done.broken) == (1, 2)
    table = pd.read_csv(tmp_path / "out/predictions.csv").set_index("image")
    assert table.loc["0.dcm"].drop("error").isna().all()
    assert "no segmentation object" in table["error"]["1.dcm"]


def test_without_highdicom_codes_are_written_and_the_way_to_objects_is_told_once(
    tmp_path, monkeypatch, capsys
):
    series(tmp_path / "in", "1.2.3", [0, 1, 2])
    monkeypatch.setattr(segmentation_series, "can_write_segmentation", lambda: False)
    predictor = predictor_of("multi-class")
    write(predictor, tmp_path / "out", tmp_path / "in")
    told = capsys.readouterr().err
    assert told.count("pip install modicum[dicom]") == 1
    for number in range(3):
        made = pydicom.dcmread(tmp_path / f"out/{number}_predicted.dcm")
        assert made.Modality == "MR"
        codes = np.rint(made.pixel_array * float(made.RescaleSlope) + float(made.RescaleIntercept))
        regions = regions_of(predictor, tmp_path / f"in/{number}.dcm")
        np.testing.assert_array_equal(codes, regions[0] + 2 * regions[1])


def test_stopped_in_a_series_nothing_of_it_is_there(tmp_path):
    series(tmp_path / "in", "1.2.3", range(9))

    class Stops(Bright):
        left = 2

        def forward(self, images):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().forward(images)

    predictor = predictor_of("multi-label")
    object.__setattr__(predictor, "network", Stops())
    with pytest.raises(KeyboardInterrupt):
        write(predictor, tmp_path / "out", tmp_path / "in")
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == ["predictions.csv.part", "predictions.json"]
