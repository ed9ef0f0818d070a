"""Faster R-CNN on any network with maps of several sizes: torchvision's parts, on a timm network's maps.

Ren et al., "Faster R-CNN" (NeurIPS 2015, arXiv 1506.01497), with a feature pyramid (Lin et al., CVPR 2017, arXiv
1612.03144). The defaults are those of the detector of "Lesion-based Contrastive Learning" (Huang et al., MICCAI 2021),
whose configuration is MMDetection's.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from modicum._torchvision_schemas import implement_operators
from modicum.errors import InputError
from modicum.nn.backbones import Backbone

STRIDES = (4, 8, 16, 32)
"""Of the maps that a backbone gives; a fifth, of 64, is every other pixel of the last."""
PARTS = 6
"""Numbers of a detection: left, top, right, bottom in pixels of the image, score, and the number of its class."""
BoxLoss = Literal["l1", "smooth_l1"]


@dataclass(frozen=True)
class DetectorSettings:
    """Settings of the detector besides its backbone; defaults as published, the source is section 3.1 there.

    Attributes:
        anchor_scale: side of the square anchor of each map, in strides of the map.
        aspect_ratios: height to width of anchors.
        channels: of the feature pyramid.
        head_width: of the two layers that look at a box.
        box_loss: of the boxes' edges; ``smooth_l1`` is torchvision's.
        score_floor: detections with a lower score are left out.
        proposals: the most places of an image that the heads look at; in training twice as many of each map are ranked.
        samples: of these, places that the heads learn from; the proposals learn from half as many anchors.
        max_detections: the most that are kept of an image.
        overlap: intersection over union above which the lower of two detections of one class is left out.
    """

    anchor_scale: float | int = 8.0
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    channels: int = 256
    head_width: int = 1024
    box_loss: BoxLoss = "l1"
    score_floor: float | int = 0.05
    proposals: int = 1000
    samples: int = 512
    max_detections: int = 100
    overlap: float = 0.5


class FasterRcnn(nn.Module):
    """Maps images in ``[0, 1]`` to detections, a fixed number an image.

    Args:
        backbone: its weights are those that it comes with; its classifier is not used.
        num_classes: of boxes.
        settings: all else.
        fixed_norms: whether the backbone's batch norms keep the statistics that they have.

    Attributes:
        strides: of the maps that are used.

    Raises:
        InputError: the backbone has no maps of several sizes.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        settings: DetectorSettings | None = None,
        *,
        fixed_norms: bool = True,
    ) -> None:
        super().__init__()
        implement_operators()
        from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

        self.settings = settings or DetectorSettings()
        self.encoder = backbone
        self.fixed_norms = fixed_norms
        self._indices, channels, self.strides = _levels(backbone)
        self.pyramid = FeaturePyramidNetwork(channels, self.settings.channels, LastLevelMaxPool())
        self.rpn = _proposals(self.settings, (*self.strides, 2 * self.strides[-1]))
        self.heads = _heads(self.settings, num_classes, len(channels))

    def train(self, mode: bool = True) -> "FasterRcnn":
        super().train(mode)
        if self.fixed_norms:
            for module in self.encoder.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def early_parameters(self, stages: int) -> list[nn.Parameter]:
        """Parameters of the backbone's stem and first stages, up to its map number ``stages`` (from 1); none for 0.

        Raises:
            InputError: the backbone does not say which of its modules makes that map.
        """
        if stages <= 0:
            return []
        end = str(self.encoder.body.feature_info[self._indices[stages - 1]].get("module", ""))
        try:
            return _up_to(self.encoder.body, end)
        except KeyError:
            raise InputError(
                f"the first stages of backbone '{self.encoder.name}' are not known by name",
                "set frozen_stages=0",
            ) from None

    def maps(self, images: Float[Tensor, "b c h w"]) -> "OrderedDict[str, Tensor]":
        """The feature pyramid of images: maps of :attr:`strides` and of twice the last."""
        normalised = self.encoder.normalise(images)
        below, right = (-side % self.strides[-1] for side in images.shape[-2:])
        if below or right:
            normalised = functional.pad(normalised, (0, right, 0, below))
        features = self.encoder.body.forward_intermediates(
            normalised, indices=list(self._indices), intermediates_only=True
        )
        return self.pyramid(OrderedDict((str(level), one) for level, one in enumerate(features)))

    def losses(
        self,
        images: Float[Tensor, "b c h w"],
        boxes: Float[Tensor, "b m 4"],
        classes: Int64[Tensor, "b m"],
    ) -> dict[str, Tensor]:
        """The four losses of a training step; draws (of anchors and proposals) are from PyTorch's global generator.

        Args:
            images: in ``[0, 1]``.
            boxes: edges in pixels; rows of NaN are none.
            classes: of each box, from 0.
        """
        targets = []
        for edges, numbers in zip(boxes, classes, strict=True):
            real = edges.isfinite().all(1) & (edges[:, 2:] > edges[:, :2]).all(1)
            targets.append({"boxes": edges[real].float(), "labels": numbers[real] + 1})
        maps, listed = self._seen(images)
        proposals, of_proposals = self.rpn(listed, maps, targets)
        _, of_heads = self.heads(maps, proposals, listed.image_sizes, targets)
        return {**of_proposals, **of_heads}

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b detections 6"]:
        """Detections in evaluation mode, the best first: see :data:`PARTS`; NaN after the last."""
        maps, listed = self._seen(images)
        proposals, _ = self.rpn(listed, maps)
        detections, _ = self.heads(maps, proposals, listed.image_sizes)
        packed = images.new_full((len(images), self.settings.max_detections, PARTS), torch.nan)
        for row, one in zip(packed, detections, strict=True):
            count = len(one["scores"])
            row[:count, :4] = one["boxes"]
            row[:count, 4] = one["scores"]
            row[:count, 5] = one["labels"] - 1
        return packed

    def for_graph(self) -> nn.Module:
        """The same by sizes that are known beforehand, which a graph can be made of."""
        from modicum.nn.detector_graph import DetectorGraph

        return DetectorGraph(self)

    def _seen(self, images: Tensor) -> tuple["OrderedDict[str, Tensor]", Any]:
        """The pyramid, and the images as torchvision's parts want them: padded, with their own sizes."""
        from torchvision.models.detection.image_list import ImageList

        height, width = images.shape[-2:]
        padded = images.new_zeros(
            (1, 1, height + -height % self.strides[-1], width + -width % self.strides[-1])
        )
        return self.maps(images), ImageList(
            padded.expand(len(images), -1, -1, -1), [(height, width)] * len(images)
        )


def _levels(backbone: Backbone) -> tuple[tuple[int, ...], list[int], tuple[int, ...]]:
    """Of a backbone's maps the last of each stride: their indices, channels and strides."""
    info = getattr(backbone.body, "feature_info", None) or []
    by_stride = {int(one["reduction"]): (index, int(one["num_chs"])) for index, one in enumerate(info)}
    strides = tuple(stride for stride in STRIDES if stride in by_stride)
    if len(strides) < 2 or not hasattr(backbone.body, "forward_intermediates"):
        raise InputError(
            f"backbone '{backbone.name}' has no maps of several sizes, in which boxes are looked for",
            "choose for instance resnet50, resnet18 or convnext_tiny",
        )
    return tuple(by_stride[s][0] for s in strides), [by_stride[s][1] for s in strides], strides


def _up_to(module: nn.Module, path: str) -> list[nn.Parameter]:
    """Parameters of a module's children up to one, by its dotted name. Raises KeyError where there is none."""
    first, _, rest = path.partition(".")
    parameters: list[nn.Parameter] = []
    for name, child in module.named_children():
        parameters += _up_to(child, rest) if name == first and rest else child.parameters()
        if name == first:
            return parameters
    raise KeyError(path)


def _proposals(settings: DetectorSettings, strides: tuple[int, ...]) -> nn.Module:
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

    class Proposals(RegionProposalNetwork):
        """torchvision's, with a choice of the loss of edges."""

        def compute_loss(
            self,
            objectness: Tensor,
            pred_bbox_deltas: Tensor,
            labels: Sequence[Tensor],
            regression_targets: Sequence[Tensor],
        ) -> tuple[Tensor, Tensor]:
            if settings.box_loss == "smooth_l1":
                return super().compute_loss(objectness, pred_bbox_deltas, labels, regression_targets)
            positive, negative = (torch.cat(drawn) for drawn in self.fg_bg_sampler(list(labels)))
            hits = torch.where(positive)[0]
            sampled = torch.cat([hits, torch.where(negative)[0]])
            off = (pred_bbox_deltas[hits] - torch.cat(list(regression_targets))[hits]).abs().sum()
            sure = functional.binary_cross_entropy_with_logits(
                objectness.flatten()[sampled], torch.cat(list(labels))[sampled]
            )
            return sure, off / max(1, sampled.numel())

    anchors = AnchorGenerator(
        tuple((settings.anchor_scale * stride,) for stride in strides),
        (settings.aspect_ratios,) * len(strides),
    )
    return Proposals(
        anchors,
        RPNHead(settings.channels, anchors.num_anchors_per_location()[0]),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=max(1, settings.samples // 2),
        positive_fraction=0.5,
        pre_nms_top_n={"training": 2 * settings.proposals, "testing": settings.proposals},
        post_nms_top_n={"training": settings.proposals, "testing": settings.proposals},
        nms_thresh=0.7,
    )


def _heads(settings: DetectorSettings, num_classes: int, levels: int) -> nn.Module:
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.models.detection.roi_heads import RoIHeads
    from torchvision.ops import MultiScaleRoIAlign

    class Heads(RoIHeads):
        """torchvision's for boxes, with a choice of the loss of edges."""

        def forward(
            self,
            features: dict[str, Tensor],
            proposals: list[Tensor],
            image_shapes: list[tuple[int, int]],
            targets: list[dict[str, Tensor]] | None = None,
        ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
            if targets is None or settings.box_loss == "smooth_l1":
                return super().forward(features, proposals, image_shapes, targets)
            proposals, _, drawn, wanted = self.select_training_samples(proposals, targets)
            seen = self.box_head(self.box_roi_pool(features, proposals, image_shapes))
            logits, edges = self.box_predictor(seen)
            labels = torch.cat(drawn)
            hits = torch.where(labels > 0)[0]
            of_class = edges.unflatten(1, (-1, 4))[hits, labels[hits]]
            off = (of_class - torch.cat(wanted)[hits]).abs().sum() / max(1, labels.numel())
            return [], {"loss_classifier": functional.cross_entropy(logits, labels), "loss_box_reg": off}

    return Heads(
        MultiScaleRoIAlign([str(level) for level in range(levels)], output_size=7, sampling_ratio=2),
        TwoMLPHead(settings.channels * 49, settings.head_width),
        FastRCNNPredictor(settings.head_width, num_classes + 1),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=settings.samples,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=settings.score_floor,
        nms_thresh=settings.overlap,
        detections_per_img=settings.max_detections,
    )
