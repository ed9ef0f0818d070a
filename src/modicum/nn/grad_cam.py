"""Grad-CAM: where a classifier's last feature map speaks for an output."""

import torch
from jaxtyping import Float
from torch import Tensor

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
