"""Faster R-CNN for a graph: as many proposals and detections for every image, and marks for those that are none.

Torchvision's parts drop boxes on the way, so that sizes depend on what is in an image. Here boxes that it would drop have
scores below 0 instead, and the numbers that come out are the same.
"""

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from modicum.nn.graph_operators import define_operators

if TYPE_CHECKING:
    from modicum.nn.faster_rcnn import FasterRcnn

_SMALLEST_PROPOSAL, _SMALLEST_BOX = 1e-3, 1e-2
"""Sides in pixels, as in torchvision."""


class DetectorGraph(nn.Module):
    """The detections of a :class:`~modicum.nn.faster_rcnn.FasterRcnn`, by sizes that are known beforehand.

    Args:
        detector: with what it has learned.
    """

    def __init__(self, detector: "FasterRcnn") -> None:
        super().__init__()
        define_operators()
        self.detector = detector

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b detections 6"]:
        """As the detector's: the best first, NaN after the last."""
        rows, columns = int(images.shape[2]), int(images.shape[3])
        maps = list(self.detector.maps(images).values())
        proposals, there = self._proposals(maps, (rows, columns))
        return self._detections(maps, proposals, there, (rows, columns))

    def _proposals(
        self, maps: list[Tensor], size: tuple[int, int]
    ) -> tuple[Float[Tensor, "b n 4"], Bool[Tensor, "b n"]]:
        rpn: Any = self.detector.rpn
        objectness, deltas = rpn.head(maps)
        anchors = self._anchors(maps, size)
        boxes, scores, levels = [], [], []
        for level, (score, delta, own) in enumerate(zip(objectness, deltas, anchors, strict=True)):
            flat = score.permute(0, 2, 3, 1).flatten(1)
            offsets = delta.unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3)
            best = flat.topk(min(rpn.pre_nms_top_n(), own.shape[0]), 1)
            at = best.indices[..., None].expand(-1, -1, 4)
            chosen = own.expand(flat.shape[0], -1, -1).gather(1, at)
            made = rpn.box_coder.decode_single(offsets.gather(1, at).flatten(0, 1), chosen.flatten(0, 1))
            boxes.append(made.unflatten(0, (-1, best.indices.shape[1])))
            scores.append(best.values.sigmoid())
            levels += [level] * best.indices.shape[1]
        found, sure = clipped(torch.cat(boxes, 1), size), torch.cat(scores, 1)
        sure = torch.where(larger(found, _SMALLEST_PROPOSAL) & (sure >= rpn.score_thresh), sure, -1.0)
        of_level = torch.tensor(levels) == torch.arange(len(maps))[:, None]
        by_level = torch.where(of_level, sure[:, None], -1.0)
        kept = torch.ops.modicum.kept_boxes(found, by_level, rpn.nms_thresh).any(1)
        ranked = torch.where(kept, sure, -1.0).topk(min(rpn.post_nms_top_n(), len(levels)), 1)
        return found.gather(1, ranked.indices[..., None].expand(-1, -1, 4)), ranked.values >= 0

    def _anchors(self, maps: list[Tensor], size: tuple[int, int]) -> list[Float[Tensor, "n 4"]]:
        """Of each map, for one image: all have the same size."""
        from torchvision.models.detection.image_list import ImageList

        rpn: Any = self.detector.rpn
        step = self.detector.strides[-1]
        padded = torch.zeros(1, 1, *(side + -side % step for side in size))
        single = [one[:1] for one in maps]
        (anchors,) = rpn.anchor_generator(ImageList(padded, [size]), single)
        counts = [
            int(one.shape[2] * one.shape[3]) * number
            for one, number in zip(maps, rpn.anchor_generator.num_anchors_per_location(), strict=True)
        ]
        return list(anchors.split(counts))

    def _detections(
        self, maps: list[Tensor], proposals: Tensor, there: Tensor, size: tuple[int, int]
    ) -> Float[Tensor, "b detections 6"]:
        heads: Any = self.detector.heads
        count = proposals.shape[1]
        flat = proposals.flatten(0, 1)
        logits, offsets = heads.box_predictor(heads.box_head(self._pooled(maps, proposals)))
        scores = logits.softmax(-1)[:, 1:].unflatten(0, (-1, count)).transpose(1, 2)  # b classes n
        boxes = heads.box_coder.decode_single(offsets, flat).unflatten(1, (-1, 4))[:, 1:]
        boxes = clipped(boxes.unflatten(0, (-1, count)).transpose(1, 2), size)  # b classes n 4
        sure = there[:, None] & (scores > heads.score_thresh) & larger(boxes, _SMALLEST_BOX)
        scores = torch.where(sure, scores, -1.0)
        classes = scores.shape[1]
        kept = torch.ops.modicum.kept_boxes(
            boxes.flatten(0, 1), scores.flatten(0, 1)[:, None], heads.nms_thresh
        )
        scores = torch.where(kept[:, 0].unflatten(0, (-1, classes)), scores, -1.0).flatten(1)
        best = scores.topk(min(heads.detections_per_img, classes * count), 1)
        at = best.indices[..., None].expand(-1, -1, 4)
        numbers = best.indices.div(count, rounding_mode="floor").to(boxes.dtype)
        packed = torch.cat([boxes.flatten(1, 2).gather(1, at), best.values[..., None], numbers[..., None]], 2)
        packed = torch.where((best.values >= 0)[..., None], packed, torch.nan)
        left = self.detector.settings.max_detections - packed.shape[1]
        return nn.functional.pad(packed, (0, 0, 0, left), value=torch.nan) if left > 0 else packed

    def _pooled(self, maps: list[Tensor], proposals: Tensor) -> Tensor:
        """What is in each box, of the map that fits its size (Lin et al., equation 1)."""
        heads: Any = self.detector.heads
        pool, flat = heads.box_roi_pool, proposals.flatten(0, 1)
        images = torch.arange(proposals.shape[0])
        numbers = images[:, None].expand(-1, proposals.shape[1]).flatten()
        strides = self.detector.strides
        lowest, highest = (stride.bit_length() - 1 for stride in (strides[0], strides[-1]))
        side = ((flat[:, 2] - flat[:, 0]) * (flat[:, 3] - flat[:, 1])).sqrt()
        level = (pool.canonical_level + (side / pool.canonical_scale).log2() + 1e-6).floor()
        level = level.clamp(lowest, highest)
        total = None
        for number, stride in enumerate(strides):
            made = torch.ops.modicum.roi_mean(
                maps[number], flat, numbers, 1 / stride, pool.output_size[0], pool.sampling_ratio
            )
            part = torch.where((level == lowest + number)[:, None, None, None], made, 0.0)
            total = part if total is None else total + part
        assert total is not None
        return total


def clipped(boxes: Float[Tensor, "*n 4"], size: tuple[int, int]) -> Float[Tensor, "*n 4"]:
    """Boxes, with what is outside of an image of this height and width cut off."""
    height, width = size
    left, top, right, bottom = boxes.unbind(-1)
    return torch.stack(
        [left.clamp(0, width), top.clamp(0, height), right.clamp(0, width), bottom.clamp(0, height)], -1
    )


def larger(boxes: Float[Tensor, "*n 4"], side: float) -> Bool[Tensor, "*n"]:
    """Which boxes have both sides of at least so many pixels."""
    return (boxes[..., 2] - boxes[..., 0] >= side) & (boxes[..., 3] - boxes[..., 1] >= side)
