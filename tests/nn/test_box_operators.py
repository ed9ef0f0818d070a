"""torchvision's nms and roi_align by PyTorch's own operations, against hand-computed cases and its reference code."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modicum import _torchvision_schemas as operators


def _iou(a, b):
    """Intersection over union of two boxes, from its definition."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def test_a_box_that_overlaps_a_better_one_goes():
    boxes = torch.tensor(
        [[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]]
    )  # overlap of the first two: 81 / 119
    assert operators.nms(boxes, torch.tensor([0.8, 0.9, 0.1]), 0.5).tolist() == [1, 2]
    assert operators.nms(boxes, torch.tensor([0.8, 0.9, 0.1]), 81 / 119 + 1e-4).tolist() == [1, 0, 2]


def test_an_overlap_that_equals_the_threshold_is_kept():
    boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 4]])  # 4 / 8
    assert operators.nms(boxes, torch.tensor([0.9, 0.8]), 0.5).tolist() == [0, 1]


def test_what_a_suppressed_box_overlaps_stays():
    boxes = torch.tensor(
        [[0.0, 0, 10, 1], [5, 0, 15, 1], [10, 0, 20, 1]]
    )  # each overlaps the next by a third
    assert operators.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.3).tolist() == [0, 2]


def test_no_boxes_and_boxes_without_area():
    assert operators.nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []
    assert operators.nms(torch.zeros(2, 4), torch.tensor([0.1, 0.2]), 0.5).tolist() == [1, 0]


@given(seed=st.integers(0, 10_000), count=st.integers(1, 60), threshold=st.sampled_from([0.1, 0.3, 0.5, 0.7]))
@settings(max_examples=25, deadline=None)
def test_nms_is_its_definition(seed, count, threshold):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 30, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 15, (count, 2))], 1)
    scores = rng.permutation(count) / count
    kept = []
    for index in np.argsort(-scores):
        if all(_iou(boxes[index], boxes[other]) <= threshold for other in kept):
            kept.append(int(index))
    assert operators.nms(torch.tensor(boxes), torch.tensor(scores), threshold).tolist() == kept


def test_nms_of_more_boxes_than_a_block(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    corners = 100 * torch.rand(300, 2, generator=generator)
    boxes = torch.cat([corners, corners + 10 + 20 * torch.rand(300, 2, generator=generator)], 1)
    scores = torch.rand(300, generator=generator)
    whole = operators.nms(boxes, scores, 0.4)
    monkeypatch.setattr(operators, "_BLOCK", 7)
    assert operators.nms(boxes, scores, 0.4).tolist() == whole.tolist()


# --- roi_align --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference():
    """torchvision's own Python code of roi_align, which it compiles where its library is absent; here as it is."""
    import torchvision.ops

    assert torchvision.ops is not None
    return sys.modules["torchvision.ops.roi_align"]._roi_align.__wrapped__


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling", [1, 2, 3])
def test_roi_align_is_torchvisions(reference, aligned, sampling):
    generator = torch.Generator().manual_seed(sampling)
    maps = torch.randn(2, 3, 9, 13, generator=generator, dtype=torch.float64, requires_grad=True)
    corners = torch.rand(12, 2, generator=generator, dtype=torch.float64) * torch.tensor([40.0, 26.0])
    sides = 0.5 + torch.rand(12, 2, generator=generator, dtype=torch.float64) * 11
    rois = torch.cat([torch.arange(12)[:, None] % 2, corners, corners + sides], 1)
    expected = reference(maps, rois, 0.25, 4, 3, sampling, aligned)
    found = operators.roi_align(maps, rois, (4, 3), 0.25, sampling, aligned)
    assert torch.allclose(found, expected, atol=1e-9)
    weights = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    gradients = [torch.autograd.grad((value * weights).sum(), maps)[0] for value in (found, expected)]
    assert torch.allclose(*gradients, atol=1e-9)


def test_of_a_slope_roi_align_is_the_middle_of_each_cell():
    """Bilinear sampling is exact on a plane."""
    columns = torch.arange(16.0).expand(1, 1, 16, 16)
    found = operators.roi_align(columns, [torch.tensor([[2.0, 4.0, 10.0, 12.0]])], 4, 1.0, 2)
    assert found[0, 0, 0].tolist() == [3, 5, 7, 9]


def test_points_beyond_the_map_are_zero():
    found = operators.roi_align(torch.ones(1, 1, 4, 4), [torch.tensor([[20.0, 20.0, 24.0, 24.0]])], 2, 1.0, 2)
    assert found.flatten().tolist() == [0, 0, 0, 0]


def test_images_without_boxes_give_none():
    assert operators.roi_align(torch.ones(2, 3, 4, 4), [torch.zeros(0, 4)] * 2, 2, 1.0, 2).shape == (
        0,
        3,
        2,
        2,
    )


def test_torchvisions_own_functions_work():
    import torchvision.ops

    operators.implement_operators()
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30]])
    scores, classes = torch.tensor([0.8, 0.9, 0.1]), torch.tensor([0, 1, 0])
    assert torchvision.ops.nms(boxes, scores, 0.5).tolist() == [1, 2]
    assert torchvision.ops.batched_nms(boxes, scores, classes, 0.5).tolist() == [1, 0, 2]
    pool = torchvision.ops.MultiScaleRoIAlign(["0"], 2, 2)
    found = pool({"0": torch.ones(1, 1, 8, 8)}, [torch.tensor([[0.0, 0, 16, 16]])], [(32, 32)])
    assert found.flatten().tolist() == [1, 1, 1, 1]
