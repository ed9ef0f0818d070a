"""Displacements of examples: what a network estimates goes into the record and the pictures; others have none."""

import json

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from modicum.data.manifest import Manifest
from modicum.data.prepared import StoreSettings
from modicum.engine.inference.dense_evaluation import write_dense_examples
from modicum.engine.inference.dense_prediction import DensePredictor
from modicum.engine.inference.displacement import Displacement
from modicum.errors import InputError
from modicum.tasks.base import Example
from modicum.tasks.image_to_image.task import ImageToImage, ImageToImageOptions

SIDE = 32


class Same(nn.Module):
    def forward(self, images):
        return images


class Moves(Same):
    """Says that every target lies 3 rows and 4 columns away, and keeps what it was asked about."""

    def displacement(self, image, target):
        self.image, self.target = image, target
        return torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).expand(1, 2, *image.shape[2:])


class Refuses(Same):
    def displacement(self, image, target):
        raise InputError("this mode learns no registration", "use another")


@pytest.fixture
def pairs(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), rng.integers(0, 256, (50, 40), dtype=np.uint8))
    return Manifest(pd.DataFrame({"image": ["a.png"], "target": ["b.png"]}), tmp_path)


def written(network, pairs, folder):
    task = ImageToImage((1, 1), ImageToImageOptions())
    settings = StoreSettings(SIDE, SIDE, levels=task.levels)
    predictor = DensePredictor(network, task, settings, "32", torch.device("cpu"))
    folder.mkdir()
    write_dense_examples(folder, predictor, [Example(0, "worst", 0, "", "NMAE 0.2", 0.2)], pairs)
    return json.loads((folder / "examples.json").read_text())[0]


def test_an_estimated_field_is_told_in_pixels_and_drawn_after_the_other_panels(pairs, tmp_path):
    network = Moves()
    record = written(network, pairs, tmp_path / "out")
    assert record["displacement"] == {"mean": 5.0, "max": 5.0, "folded": 0.0}
    assert [panel["name"] for panel in record["panels"]] == ["source", "output", "target", "error", "field"]
    drawn = cv2.imread(str(tmp_path / "out" / record["panels"][-1]["picture"]))
    assert drawn.shape == (320, 320, 3)


def test_the_network_is_asked_about_both_pictures_at_the_size_it_works_at(pairs, tmp_path):
    network = Moves()
    written(network, pairs, tmp_path / "out")
    for name, seen in (("a", network.image), ("b", network.target)):
        pixels = cv2.imread(str(tmp_path / f"{name}.png"), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
        expected = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(seen[0, 0].numpy(), expected, atol=1e-3)


@pytest.mark.parametrize("network", [Same(), Refuses()])
def test_where_no_field_is_estimated_none_is_shown(network, pairs, tmp_path):
    record = written(network, pairs, tmp_path / "out")
    assert "displacement" not in record
    assert [panel["name"] for panel in record["panels"]] == ["source", "output", "target", "error"]


def test_a_mirrored_picture_is_folded_everywhere():
    rows = torch.arange(6.0).view(1, 1, 6, 1).expand(1, 1, 6, 5)
    found = Displacement.of(torch.cat([-2 * rows, 0 * rows], 1))
    assert found.folded == 1
    assert (found.mean, found.max) == (5, 10)  # 0, 2, ..., 10 rows
