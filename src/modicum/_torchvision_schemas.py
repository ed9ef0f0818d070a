"""Makes torchvision importable, and its detectors usable, with a PyTorch build that its compiled operators are not for.

torchvision registers shape functions for its operators ``nms`` and ``qnms`` when it is imported. With a CPU
build of PyTorch and the CUDA build of torchvision (a pair that installers make when the two come from different
places) the compiled library does not load, the operators are unknown, and ``import torchvision`` fails, and with
it timm, torchmetrics and lightning. Declaring the two *schemas*, without an implementation, is enough to import it.

Its detectors need two operators that work, ``nms`` and ``roi_align``. :func:`implement_operators` gives them: the same
answers, computed by PyTorch's own operations, slower than compiled ones. Whoever uses a detector calls it first.

Where torchvision's library loads, nothing is declared and nothing is replaced. Nothing is imported until torchvision is.
"""

import importlib
import importlib.machinery
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_BLOCK = 1024  # boxes whose overlaps with all others are in memory at once
_library: Any = None  # a torch.library.Library; its registrations last as long as the object


class _BeforeTorchvision(MetaPathFinder):
    """Runs once, just before the import system looks for torchvision; finds nothing itself."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            _declare_if_missing()


def install() -> None:
    """Arranges for the schemas to be declared before torchvision is first imported."""
    if "torchvision" not in sys.modules and not any(isinstance(f, _BeforeTorchvision) for f in sys.meta_path):
        sys.meta_path.insert(0, _BeforeTorchvision())


def _declare_if_missing() -> None:
    global _library
    try:
        import torch
    except ImportError:
        return
    if _compiled_library_loads():
        return
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        _library.define(operator + _SCHEMA)


def _compiled_library_loads() -> bool:
    import torch

    spec = importlib.machinery.PathFinder.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True
    for library in Path(spec.origin).parent.glob("_C*"):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            return False
    return hasattr(torch.ops.torchvision, "nms")


# --- the operators that detectors need ---------------------------------------------------------------------------------


def implement_operators() -> None:
    """Makes ``torchvision.ops.nms`` and ``roi_align`` work where the compiled operators are absent.

    Both are Python functions that ask whether the compiled library is there and call it. Where it is not, the question
    is answered by this file's functions in torchvision's modules ``ops.boxes``, ``ops.roi_align`` and ``ops.poolers``.
    """
    importlib.import_module("torchvision.ops")  # with it the schemas, where they are missing

    if _library is None or sys.modules["torchvision.ops.boxes"].nms is nms:
        return
    for module, name, function in (
        ("ops.boxes", "nms", nms),
        ("ops", "nms", nms),
        ("ops.roi_align", "roi_align", roi_align),
        ("ops.poolers", "roi_align", roi_align),
        ("ops", "roi_align", roi_align),
    ):
        setattr(sys.modules[f"torchvision.{module}"], name, function)


def nms(boxes: "Tensor", scores: "Tensor", iou_threshold: float) -> "Tensor":
    """Non-maximum suppression, as ``torchvision.ops.nms`` has it.

    From the highest score down, a box is kept unless its intersection over union with a kept one is above the threshold.

    Args:
        boxes: ``[n, 4]``, edges x0, y0, x1, y1.
        scores: ``[n]``; of equal ones the first in order comes first.
        iou_threshold: overlap up to which boxes are both kept.

    Returns:
        Int64 indices of the boxes that are kept, the highest score first.
    """
    import torch

    order = scores.argsort(descending=True, stable=True)
    x0, y0, x1, y1 = boxes[order].to(torch.promote_types(boxes.dtype, torch.float32)).unbind(1)
    areas = (x1 - x0) * (y1 - y0)
    removed = torch.zeros(len(areas), dtype=torch.bool).numpy()
    kept: list[int] = []
    for start in range(0, len(areas), _BLOCK):
        block = slice(start, start + _BLOCK)
        width = torch.minimum(x1[block, None], x1[start:]) - torch.maximum(x0[block, None], x0[start:])
        height = torch.minimum(y1[block, None], y1[start:]) - torch.maximum(y0[block, None], y0[start:])
        shared = width.clamp_(min=0) * height.clamp_(min=0)
        unions = areas[block, None] + areas[start:] - shared
        overlapping = (shared / unions > iou_threshold).cpu().numpy()
        for index in range(len(overlapping)):
            if not removed[start + index]:
                kept.append(start + index)
                removed[start:] |= overlapping[index]
    return order[torch.tensor(kept, dtype=torch.int64, device=order.device)]


def roi_align(
    input: "Tensor",
    boxes: "Tensor | list[Tensor]",
    output_size: "int | tuple[int, int] | list[int]",
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> "Tensor":
    """Pools boxes of feature maps to one size, as ``torchvision.ops.roi_align`` has it, with gradients.

    Args:
        input: feature maps ``[n, c, h, w]``.
        boxes: ``[k, 5]`` (number of the map, x0, y0, x1, y1), or for each map its boxes ``[k_i, 4]``.
        output_size: rows and columns of the result.
        spatial_scale: pixels of a map for a pixel that boxes are measured in.
        sampling_ratio: points along each side of a cell, whose mean it is. Their number may not depend on the box here.
        aligned: whether pixels have their centres at halves; torchvision's old rule, at whole numbers, otherwise.

    Returns:
        ``[k, c, rows, columns]``, in the order of the boxes.

    Raises:
        NotImplementedError: ``sampling_ratio`` is not given.
    """
    import torch
    from torch.nn import functional

    if sampling_ratio <= 0:
        raise NotImplementedError("roi_align without compiled operators needs a sampling_ratio above 0")
    rows, columns = (output_size, output_size) if isinstance(output_size, int) else output_size
    if not isinstance(boxes, torch.Tensor):
        numbers = [torch.full_like(one[:, :1], number) for number, one in enumerate(boxes)]
        boxes = torch.cat([torch.cat(numbers), torch.cat(list(boxes))], dim=1)
    x0, y0, x1, y1 = (boxes[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)).unbind(1)
    least = 0.0 if aligned else 1.0
    width, height = x1 - x0, y1 - y0
    if least:
        width, height = width.clamp(min=least), height.clamp(min=least)
    x = x0[:, None] + width[:, None] * _centres(columns * sampling_ratio, boxes)
    y = y0[:, None] + height[:, None] * _centres(rows * sampling_ratio, boxes)
    high, wide = input.shape[2:]
    points = torch.stack(
        [
            ((2 * x + 1) / wide - 1)[:, None, :].expand(-1, y.shape[1], -1),
            ((2 * y + 1) / high - 1)[:, :, None].expand(-1, -1, x.shape[1]),
        ],
        dim=-1,
    )  # as grid_sample counts: -1 and 1 are the outer edges
    inside = ((y >= -1) & (y <= high))[:, :, None] & ((x >= -1) & (x <= wide))[:, None, :]
    pooled = input.new_zeros(len(boxes), input.shape[1], rows, columns)
    for number in range(len(input)):
        of_map = torch.nonzero(boxes[:, 0] == number)[:, 0]
        if not len(of_map):
            continue
        values = functional.grid_sample(
            input[number : number + 1],
            points[of_map].flatten(0, 1)[None].to(input.dtype),
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )
        values = values[0].unflatten(1, (len(of_map), y.shape[1])) * inside[of_map].to(values.dtype)
        cells = functional.avg_pool2d(values, sampling_ratio).movedim(1, 0)
        pooled = pooled.index_copy(0, of_map, cells)
    return pooled


def _centres(count: int, like: "Tensor") -> "Tensor":
    """Centres of so many equal parts of the way from 0 to 1."""
    import torch

    return (torch.arange(count, dtype=like.dtype, device=like.device) + 0.5) / count
