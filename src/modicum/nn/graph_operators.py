"""Operators that PyTorch's exporter cannot follow and that ONNX has: which boxes are kept, and what is in a box."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor


@cache
def define_operators() -> None:
    """Makes ``torch.ops.modicum.kept_boxes`` and ``roi_mean``, which work in PyTorch as well; once a process."""
    torch.library.custom_op("modicum::kept_boxes", _kept_boxes, mutates_args=()).register_fake(
        lambda boxes, scores, overlap: torch.empty_like(scores, dtype=torch.bool)
    )
    torch.library.custom_op("modicum::roi_mean", _roi_mean, mutates_args=()).register_fake(
        lambda features, boxes, numbers, scale, size, samples: features.new_empty(
            boxes.shape[0], features.shape[1], size, size
        )
    )


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """The operators as ONNX has them, for ``torch.onnx.export``; needs onnxscript."""
    define_operators()
    return {
        torch.ops.modicum.kept_boxes.default: _kept_boxes_onnx,
        torch.ops.modicum.roi_mean.default: _roi_mean_onnx,
        torch.ops.prims.hypot.default: _hypot_onnx,
    }


def _kept_boxes(boxes: Tensor, scores: Tensor, overlap: float) -> Tensor:
    """Which boxes ``[b, n, 4]`` are kept by non-maximum suppression within each class, by scores ``[b, classes, n]``.

    Scores below 0 stand for boxes that are not there.
    """
    from torchvision import ops

    kept = torch.zeros_like(scores, dtype=torch.bool)
    for image in range(scores.shape[0]):
        for number in range(scores.shape[1]):
            there = torch.nonzero(scores[image, number] >= 0)[:, 0]
            chosen = ops.nms(boxes[image, there], scores[image, number, there], overlap)
            kept[image, number, there[chosen]] = True
    return kept


def _kept_boxes_onnx(boxes: Any, scores: Any, overlap: float) -> Any:
    op = _onnx()
    count = op.Constant(value_ints=[1 << 20])
    chosen = op.NonMaxSuppression(
        boxes, scores, count, op.Constant(value_floats=[float(overlap)]), op.Constant(value_floats=[-0.5])
    )
    zero, one = op.Constant(value_float=0.0), op.Constant(value_float=1.0)
    rows = op.Slice(op.Shape(chosen), op.Constant(value_ints=[0]), op.Constant(value_ints=[1]))
    marked = op.ScatterND(op.Expand(zero, op.Shape(scores)), chosen, op.Expand(one, rows))
    return op.Greater(marked, op.Constant(value_float=0.5))


def _roi_mean(
    features: Tensor, boxes: Tensor, numbers: Tensor, scale: float, size: int, samples: int
) -> Tensor:
    """Means of cells of boxes ``[k, 4]`` of the maps of these numbers: ``[k, channels, size, size]``."""
    from torchvision import ops

    rois = torch.cat([numbers[:, None].to(boxes.dtype), boxes], 1)
    return ops.roi_align(features, rois, (size, size), scale, samples).clone()


def _roi_mean_onnx(features: Any, boxes: Any, numbers: Any, scale: float, size: int, samples: int) -> Any:
    op = _onnx()
    return op.RoiAlign(
        features,
        boxes,
        numbers,
        coordinate_transformation_mode="output_half_pixel",
        mode="avg",
        output_height=size,
        output_width=size,
        sampling_ratio=samples,
        spatial_scale=float(scale),
    )


def _hypot_onnx(one: Any, other: Any) -> Any:
    op = _onnx()
    return op.Sqrt(op.Add(op.Mul(one, one), op.Mul(other, other)))


def _onnx() -> Any:
    """ONNX's operators of opset 18."""
    from onnxscript import opset18

    return opset18
