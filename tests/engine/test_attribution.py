"""Maps of networks of which it is known where they look."""

import json

import cv2
import numpy as np
import pytest
import torch
from torch import nn

import modicum
from modicum.data.phantoms import write_fundus_dataset
from modicum.data.prepared import StoreSettings
from modicum.engine.inference.attribution import attribution_map, write_examples
from modicum.engine.inputs.preparation import stored
from modicum.nn import Backbone, Classifier, linear_head
from modicum.tasks import Example

CORNERS = {"top left": (0, 0), "top right": (0, -1), "bottom left": (-1, 0), "bottom right": (-1, -1)}


class CornerFeatures(Backbone):
    """A backbone of 8x8 cells whose only plane is the mean grey of each; what is pooled is one corner's cell."""

    def __init__(self, corner: tuple[int, int], cells: int = 8) -> None:
        nn.Module.__init__(self)
        self.cells, self.corner = nn.AdaptiveAvgPool2d(cells), corner

    def feature_map(self, images):
        return self.cells(images.mean(1, keepdim=True))

    def forward(self, images):
        return self.pool(self.feature_map(images))

    def pool(self, features):
        row, column = self.corner
        return features[:, :, row, column]

    def spatial(self, features):
        return features


def in_corner(values: torch.Tensor, corner: tuple[int, int]) -> bool:
    """Whether the largest value is in that corner's eighth."""
    rows, columns = values.shape
    row, column = divmod(int(values.argmax()), columns)
    near_row = row < rows / 8 if corner[0] == 0 else row >= rows * 7 / 8
    near_column = column < columns / 8 if corner[1] == 0 else column >= columns * 7 / 8
    return near_row and near_column


@pytest.mark.parametrize("corner", CORNERS.values(), ids=CORNERS)
def test_grad_cam_points_at_the_bright_corner_of_the_class_that_it_explains(corner):
    head = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    network = Classifier(CornerFeatures(corner), head)
    image = torch.zeros(1, 3, 64, 48)
    row, column = (slice(0, 8) if end == 0 else slice(-8, None) for end in corner)
    image[:, :, row, column] = 1
    values, name = attribution_map(network, image, 0)
    assert name == "Grad-CAM"
    assert values.shape == (64, 48)
    assert in_corner(values, corner)
    against, _ = attribution_map(network, image, 1)
    assert against.max() == 0  # nothing speaks for the other class


def test_grad_cam_equals_its_formula_on_a_real_network():
    torch.manual_seed(0)
    backbone = Backbone("test_resnet", (128, 128))
    network = Classifier(backbone, linear_head(backbone.num_features, 3)).eval()
    image = torch.rand(1, 3, 128, 128)
    values, name = attribution_map(network, image, 2)
    assert name == "Grad-CAM"
    planes = backbone.feature_map(image).detach()
    # Mean pooling and one linear layer: the gradient at every cell is the class's weight over the number of cells.
    weights = network.head[-1].weight[2].detach()
    coarse = torch.einsum("chw,c->hw", planes[0], weights).relu()
    coarse = coarse / coarse.max()
    rows, columns = coarse.shape
    fine = nn.functional.adaptive_avg_pool2d(values[None], (rows, columns))[0]
    assert np.corrcoef(fine.flatten(), coarse.flatten())[0, 1] > 0.95


class OnePixel(nn.Module):
    def forward(self, images):
        return torch.stack([images[:, 0, 40, 10], images[:, 2, 5, 50]], dim=1)


@pytest.mark.parametrize(("output", "place"), [(0, (40, 10)), (1, (5, 50))])
def test_input_gradient_points_at_the_pixel_that_counts(output, place):
    values, name = attribution_map(OnePixel(), torch.rand(1, 3, 64, 64), output)
    assert name == "input gradient"
    row, column = divmod(int(values.argmax()), 64)
    assert abs(row - place[0]) <= 1
    assert abs(column - place[1]) <= 1
    assert values.sum() == pytest.approx(9, rel=1e-5)  # smoothed over 3x3 pixels


def test_too_few_cells_for_a_map_fall_back_to_pixels():
    network = Classifier(CornerFeatures((0, 0), cells=2), nn.Linear(1, 2))
    values, name = attribution_map(network, torch.rand(1, 3, 32, 32), 0)
    assert name == "input gradient"
    assert values[:16, :16].sum() > 0
    assert values[18:, 18:].sum() == 0


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_maps_are_in_the_unit_interval_and_leave_no_gradients(name):
    backbone = Backbone(name, (96, 96))
    network = Classifier(backbone, linear_head(backbone.num_features, 2)).eval()
    with torch.no_grad():
        values, kind = attribution_map(network, torch.rand(1, 3, 96, 96), 1)
    assert values.shape == (96, 96)
    assert 0 <= values.min() <= values.max() <= 1
    assert torch.isfinite(values).all()
    if kind == "Grad-CAM":
        assert all(parameter.grad is None for parameter in network.parameters())


def test_examples_are_pictures_with_their_maps(tmp_path):
    manifest = modicum.load(write_fundus_dataset(tmp_path / "data", 2, 40, seed=3, masks=False))
    manifest, store, positions = stored(manifest, StoreSettings(40, 40), tmp_path / "stores", 0, False, None)
    example = Example(2, "mistake", 1, "0", "1", 0.75)
    write_examples(
        tmp_path / "examples", Middle(), [example], manifest, store, positions, torch.device("cpu")
    )
    (record,) = json.loads((tmp_path / "examples" / "examples.json").read_text())
    assert record["image"] == str(manifest.table["image"][2])
    picture = cv2.imread(str(tmp_path / "examples" / record["picture"]))
    overlay = cv2.imread(str(tmp_path / "examples" / record["overlay"]))
    assert picture.shape == overlay.shape == (320, 320, 3)
    small = cv2.resize(picture, (40, 40), interpolation=cv2.INTER_AREA)[..., ::-1]
    stored_pixels = store.get(positions[[2]])[0]
    # The picture was enlarged bilinearly: its means differ from the pixels at edges, and red is not blue.
    assert np.corrcoef(small.ravel(), stored_pixels.ravel())[0, 1] > 0.99


class Middle(nn.Module):
    def forward(self, images):
        return images[:, :2, 20, 20]
