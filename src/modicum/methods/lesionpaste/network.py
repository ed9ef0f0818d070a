"""The classifier of normal and pasted images, and the score of an image that it gives."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.errors import InputError
from modicum.nn import Backbone
from modicum.nn.attribution import input_gradient
from modicum.nn.local_contrast import local_contrast


class PasteNetwork(nn.Module):
    """Backbone and head; what is done to images before it sees them is part of it.

    Args:
        backbone: any timm network.
        vgg_head: 7 x 7 means of the feature map and three linear layers, as in the release, instead of one linear layer.
        input_size: side of what the backbone sees.
        contrast: whether the local mean is taken away first.
        segments: whether a second head finds the pasted lesions.
    """

    def __init__(
        self, backbone: Backbone, vgg_head: bool, input_size: int, contrast: bool, segments: bool
    ) -> None:
        super().__init__()
        if "vgg" in backbone.name and hasattr(backbone.body, "pre_logits"):
            backbone.body.pre_logits = nn.Identity()  # its own linear layers: the head has new ones
        self.backbone = backbone
        self.vgg_head = vgg_head
        self.input_size = None if hasattr(backbone.body, "patch_embed") else input_size
        self.contrast = contrast
        planes, pooled = self._widths()
        if not planes and (vgg_head or segments):
            raise InputError(
                f"backbone '{backbone.name}' has no feature map with places",
                "choose another, or head=linear and segmentation_weight=0",
            )
        self.head = _vgg_head(planes) if vgg_head else nn.Linear(pooled, 2)
        self.finder = nn.Conv2d(planes, 1, 1) if segments else None

    @torch.no_grad()
    def _widths(self) -> tuple[int, int]:
        """Width of the feature map (0 where it has no places) and of pooled features."""
        backbone, training = self.backbone, self.backbone.training
        size = backbone.image_size if self.input_size is None else (64, 64)
        weight = next(backbone.parameters())
        features = backbone.eval().feature_map(
            torch.zeros(1, 3, *size, dtype=weight.dtype, device=weight.device)
        )
        planes, pooled = backbone.spatial(features), backbone.pool(features)
        backbone.train(training)
        return 0 if planes is None else planes.shape[1], pooled.shape[1]

    def enhanced(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Images as lesions are pasted into them."""
        return local_contrast(images) if self.contrast else images

    def features(self, enhanced: Float[Tensor, "b c h w"]) -> Tensor:
        """The feature map of enhanced images."""
        side = self.input_size
        if side is not None and min(enhanced.shape[-2:]) > side:
            scale = side / min(enhanced.shape[-2:])
            size = [round(scale * length) for length in enhanced.shape[-2:]]
            enhanced = F.interpolate(
                enhanced, size, mode="bilinear", align_corners=False, antialias=True
            ).clamp(0, 1)
        return self.backbone.feature_map(enhanced)

    def classify(self, features: Tensor) -> Float[Tensor, "b 2"]:
        """Logits of normal and abnormal."""
        if not self.vgg_head:
            return self.head(self.backbone.pool(features))
        return self.head(self.backbone.spatial(features))

    def find(self, features: Tensor) -> Float[Tensor, "b rows columns"]:
        """Log-odds that something abnormal is there."""
        assert self.finder is not None
        return self.finder(self.backbone.spatial(features))[:, 0]


def _vgg_head(width: int) -> nn.Sequential:
    """VGG-16's three linear layers, 119,554,050 parameters for 512 planes."""
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(7),
        nn.Flatten(),
        nn.Linear(49 * width, 4096),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(4096, 4096),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Linear(4096, 2),
    )


class AbnormalScore(nn.Module):
    """Log-odds of "abnormal" of images in ``[0, 1]``."""

    def __init__(self, network: PasteNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1"]:
        network = self.network
        logits = network.classify(network.features(network.enhanced(images)))
        return logits[:, 1:] - logits[:, :1]

    def explain(
        self, image: Float[Tensor, "1 c h w"], output: int
    ) -> tuple[Float[Tensor, "1 1 rows columns"], str] | None:
        """Grad-CAM of the log-odds; the gradient at the pixels where there is no feature map of at least 3 x 3."""
        network = self.network
        with torch.enable_grad():
            features = network.features(network.enhanced(image)).detach().requires_grad_(True)
            planes = network.backbone.spatial(features)
            if planes is None or min(planes.shape[-2:]) < 3:
                found = input_gradient(self, image, output)
                return None if found is None else (found, "input gradient")
            logits = network.classify(features)
            (gradient,) = torch.autograd.grad(logits[0, 1] - logits[0, 0], features)
        slopes = network.backbone.spatial(gradient)
        assert slopes is not None
        shown = (slopes.mean((2, 3), keepdim=True) * planes).sum(1, keepdim=True).relu().detach()
        return shown, "Grad-CAM"


class FindingScore(AbnormalScore):
    """The same with a map of where: the probability that a lesion is there."""

    def maps(self, images: Float[Tensor, "b c h w"]) -> Mapping[str, Float[Tensor, "b rows columns"]]:
        """``anomaly``: in ``[0, 1]``, at the resolution of the feature map."""
        network = self.network
        return {"anomaly": network.find(network.features(network.enhanced(images))).sigmoid()}

    def explain(
        self, image: Float[Tensor, "1 c h w"], output: int
    ) -> tuple[Float[Tensor, "1 1 rows columns"], str] | None:
        """The map itself."""
        with torch.no_grad():
            return self.maps(image)["anomaly"][:, None], "anomaly map"
