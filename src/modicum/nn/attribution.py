"""Where in an image an output comes from: Grad-CAM of a classifier, and the gradient at the pixels of any network."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from modicum.nn.classifier import Classifier


def grad_cam(
    network: Classifier, image: Float[Tensor, "1 c h w"], output: int
) -> Float[Tensor, "1 1 rows columns"] | None:
    """The planes of the last feature map, weighted with the mean gradient of an output, negative sums cut off.

    Selvaraju et al. (ICCV 2017), section 3. On a transformer the planes are the last block's tokens on their grid.

    Args:
        network: backbone and head, in evaluation mode.
        image: in ``[0, 1]``.
        output: index of the output.

    Returns:
        The map at the resolution of the feature map; None where there is no feature map of at least 3 x 3, or the
        output does not depend on its places (a class token alone is read).
    """
    with torch.enable_grad():
        features = network.backbone.feature_map(image).detach().requires_grad_(True)
        planes = network.backbone.spatial(features)
        if planes is None or min(planes.shape[-2:]) < 3:
            return None
        logit = network.head(network.backbone.pool(features))[0, output]
        (gradient,) = torch.autograd.grad(logit, features)
    slopes = network.backbone.spatial(gradient)
    assert slopes is not None
    weights = slopes.mean((2, 3), keepdim=True)
    if not torch.any(weights):
        return None
    return (weights * planes).sum(1, keepdim=True).relu().detach()


def input_gradient(
    network: Callable[[Tensor], Tensor], image: Float[Tensor, "1 c h w"], output: int
) -> Float[Tensor, "1 1 h w"] | None:
    """The gradient of an output at each pixel: the largest magnitude over channels, smoothed over a 24th of the image.

    None where there is no such output, or it does not depend on the pixels by gradients.
    """
    with torch.enable_grad():
        pixels = image.detach().clone().requires_grad_(True)
        outputs = network(pixels)
        if not outputs.requires_grad or output >= outputs.shape[1]:
            return None
        (gradient,) = torch.autograd.grad(outputs[0, output], pixels, allow_unused=True)
    if gradient is None:
        return None
    size = max(3, round(max(image.shape[-2:]) / 24) | 1)
    return F.avg_pool2d(gradient.abs().amax(1, keepdim=True), size, stride=1, padding=size // 2)
