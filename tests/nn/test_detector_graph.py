"""The detector of graphs, whose sizes are known beforehand, finds the boxes of the detector that was trained."""

import torch

from modicum.nn import Backbone
from modicum.nn.detector_graph import clipped, larger
from modicum.nn.faster_rcnn import DetectorSettings, FasterRcnn


def test_the_same_boxes_in_the_same_order():
    torch.manual_seed(0)
    settings = DetectorSettings(channels=16, head_width=32, proposals=30, max_detections=70, score_floor=0.33)
    detector = FasterRcnn(Backbone("test_resnet", (64, 64)), 2, settings).eval()
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        expected, found = detector(images), detector.for_graph()(images)
    boxes = (~expected.isnan()).all(2).sum(1)
    assert 0 < int(boxes.min()) <= int(boxes.max()) <= 60  # fewer than there is room for: the rest is NaN
    torch.testing.assert_close(found, expected, equal_nan=True, atol=1e-5, rtol=1e-5)


def test_boxes_are_cut_at_the_border_and_flat_ones_are_known():
    boxes = torch.tensor([[[-3.0, 5, 70, 40], [10, 10, 10, 30]]])
    cut = clipped(boxes, (32, 64))
    assert cut.tolist() == [[[0, 5, 64, 32], [10, 10, 10, 30]]]
    assert larger(cut, 1e-3).tolist() == [[True, False]]
