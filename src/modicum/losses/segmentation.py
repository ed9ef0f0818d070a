"""Losses of segmentation: regions (Dice), pixels (cross-entropy, focal) and thin structures (clDice).

Targets are channels ``[b, c, h, w]`` of 0 and 1, or of values between where images were mixed. Channels are either
*exclusive* (softmax; channel 0 is the background, the targets of a pixel add up to 1) or independent (sigmoid).
``inside`` is non-zero where a pixel counts: in the camera's field of view, and with a known target. Pixels outside
add nothing to any loss and get no gradient, whatever their target.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor, nn
from torch.nn import functional

from modicum.distributed import mean_over_processes

Channels = Float[Tensor, "b c h w"]
Inside = Num[Tensor, "b 1 h w"] | Bool[Tensor, "b 1 h w"]
Scalar = Float[Tensor, ""]


def channel_probabilities(logits: Channels, exclusive: bool) -> Channels:
    """Softmax over the channels, or sigmoid, in at least float32, whatever precision the network ran in."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits.softmax(1) if exclusive else logits.sigmoid()


def dice_loss(
    probabilities: Channels,
    targets: Channels,
    inside: Inside | None = None,
    *,
    smooth: float = 1.0,
    squared: bool = True,
) -> Scalar:
    """1 minus the soft Dice coefficient of each image and channel, the mean over both.

    ``1 - (2 sum(p t) + smooth) / (sum(p^2) + sum(t^2) + smooth)``: Milletari et al., "V-Net" (3DV 2016, arXiv
    1606.04797), which has no ``smooth``.

    Args:
        probabilities: in ``[0, 1]``, of the channels that count: for exclusive ones leave out the background.
        targets: 0 to 1.
        inside: where pixels count; None for everywhere.
        smooth: makes the loss of an empty target 0 where nothing is predicted, and keeps it finite.
        squared: squares in the denominator; without them it is the sum of areas (Sudre et al. 2017).

    >>> half = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])
    >>> round(dice_loss(half, half.flip(3), smooth=0.0).item(), 4), dice_loss(half, half).item()
    (1.0, 0.0)
    """
    if inside is not None:
        counts = inside != 0
        probabilities, targets = probabilities.where(counts, 0), targets.where(counts, 0)
    shared = (probabilities * targets).sum((2, 3))
    total = (probabilities.square() + targets.square()) if squared else probabilities + targets
    return (1 - (2 * shared + smooth) / (total.sum((2, 3)) + smooth)).mean()


def pixel_bce_with_logits(logits: Channels, targets: Channels, inside: Inside | None = None) -> Scalar:
    """Binary cross-entropy, the mean over the pixels that count and all channels; 0 where none counts.

    >>> round(pixel_bce_with_logits(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).item(), 4)  # log 2
    0.6931
    """
    losses = functional.binary_cross_entropy_with_logits(_float32(logits), targets, reduction="none")
    return _mean_inside(losses, inside)


def pixel_cross_entropy(
    logits: Channels,
    targets: Channels,
    inside: Inside | None = None,
    class_weights: Float[Tensor, "c"] | None = None,
) -> Scalar:
    """Cross-entropy of exclusive channels, the mean over the pixels that count; 0 where none counts.

    Args:
        logits: one score a channel.
        targets: shares that add up to 1 at each pixel that counts.
        inside: where pixels count; None for everywhere.
        class_weights: one weight a channel; the mean is then a weighted one, as in
            :func:`~modicum.losses.cross_entropy`.
    """
    weighted = targets if class_weights is None else targets * class_weights.view(1, -1, 1, 1)
    losses = -(weighted * _float32(logits).log_softmax(1)).sum(1, keepdim=True)
    if class_weights is None:
        return _mean_inside(losses, inside)
    weights = weighted.sum(1, keepdim=True)
    if inside is not None:
        losses, weights = losses.where(inside != 0, 0), weights.where(inside != 0, 0)
    return losses.sum() / mean_over_processes(weights.sum()).clamp_min(torch.finfo(weights.dtype).tiny)


def sigmoid_focal_loss(
    logits: Channels,
    targets: Channels,
    inside: Inside | None = None,
    *,
    gamma: float = 2.0,
    alpha: float = 0.5,
) -> Scalar:
    """Focal loss of each channel against the rest, the mean over the pixels that count and all channels.

    ``-alpha_t (1 - p_t)^gamma log p_t``: Lin et al., "Focal Loss for Dense Object Detection" (ICCV 2017). For
    exclusive channels too it is that of one sigmoid a channel, as segmentation frameworks have it.

    Args:
        logits: one score a channel.
        targets: 0 to 1.
        inside: where pixels count; None for everywhere.
        gamma: how strongly confident predictions are down-weighted.
        alpha: weight of present pixels; absent ones have ``1 - alpha``.
    """
    logits = _float32(logits)
    surprise = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    probabilities = logits.sigmoid()
    missed = probabilities * (1 - targets) + (1 - probabilities) * targets
    balance = alpha * targets + (1 - alpha) * (1 - targets)
    return _mean_inside(balance * missed**gamma * surprise, inside)


def soft_skeleton(probabilities: Channels, iterations: int = 10) -> Channels:
    """Differentiable centre lines of soft masks: the sum over erosions of what each opening removes.

    Shit et al., "clDice" (CVPR 2021, arXiv 2003.07311), algorithm 1. Erosion is the minimum over a plus of 3 pixels,
    dilation the maximum over 3x3.

    Args:
        probabilities: in ``[0, 1]``.
        iterations: at least the largest half-width of what is to be thinned, in pixels.
    """
    eroded = probabilities
    skeleton = (eroded - _dilated(_eroded(eroded))).relu()
    for _ in range(iterations):
        eroded = _eroded(eroded)
        ridge = (eroded - _dilated(_eroded(eroded))).relu()
        skeleton = skeleton + (ridge - skeleton * ridge).relu()
    return skeleton


def cldice_loss(
    probabilities: Channels,
    targets: Channels,
    inside: Inside | None = None,
    *,
    iterations: int = 10,
    smooth: float = 1.0,
) -> Scalar:
    """1 minus the centre-line Dice of each image and channel, the mean over both.

    Shit et al. (CVPR 2021): the harmonic mean of the share of the predicted centre line that lies in the true mask
    (topology precision) and of the true centre line that lies in the predicted mask (topology sensitivity).

    Args:
        probabilities: in ``[0, 1]``, of the channels that count.
        targets: 0 to 1.
        inside: where pixels count; None for everywhere.
        iterations: of :func:`soft_skeleton`.
        smooth: added to both shares, above and below.
    """
    if inside is not None:
        counts = inside != 0
        probabilities, targets = probabilities.where(counts, 0), targets.where(counts, 0)
    shares = []
    for line, mask in ((probabilities, targets), (targets, probabilities)):
        centre = soft_skeleton(line, iterations)
        shares.append(((centre * mask).sum((2, 3)) + smooth) / (centre.sum((2, 3)) + smooth))
    precision, sensitivity = shares
    return (1 - 2 * precision * sensitivity / (precision + sensitivity)).mean()


class SegmentationLoss(nn.Module):
    """A weighted sum of the losses above, of one set of logits.

    Args:
        parts: weight of each, by name: ``dice``, ``bce``, ``cross_entropy``, ``focal``, ``cldice``.
        exclusive: softmax, with the background in channel 0; Dice and clDice then leave that channel out.
        smooth: of Dice.
        squared: of Dice.
        class_weights: of cross-entropy.

    Raises:
        ValueError: an unknown part, or one that does not fit ``exclusive``.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        parts: Mapping[str, float],
        *,
        exclusive: bool = False,
        smooth: float = 1.0,
        squared: bool = True,
        class_weights: Float[Tensor, "c"] | None = None,
    ) -> None:
        super().__init__()
        fitting = {"dice", "focal", "cldice", "cross_entropy" if exclusive else "bce"}
        if not parts or not set(parts) <= fitting:
            raise ValueError(f"loss parts {sorted(parts)} are not all among {sorted(fitting)}")
        self.parts = dict(parts)
        self.exclusive = exclusive
        self.smooth, self.squared = smooth, squared
        # Not persistent: weights belong to the recipe and the training masks, not to what was learned.
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, logits: Channels, targets: Channels, inside: Inside | None = None) -> Scalar:
        return torch.stack([w * self._part(n, logits, targets, inside) for n, w in self.parts.items()]).sum()

    def _part(self, name: str, logits: Channels, targets: Channels, inside: Inside | None) -> Scalar:
        if name == "bce":
            return pixel_bce_with_logits(logits, targets, inside)
        if name == "cross_entropy":
            return pixel_cross_entropy(logits, targets, inside, self.class_weights)
        if name == "focal":
            return sigmoid_focal_loss(logits, targets, inside)
        first = 1 if self.exclusive else 0
        probabilities, targets = channel_probabilities(logits, self.exclusive)[:, first:], targets[:, first:]
        if name == "cldice":
            return cldice_loss(probabilities, targets, inside)
        return dice_loss(probabilities, targets, inside, smooth=self.smooth, squared=self.squared)


def _float32(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _mean_inside(losses: Float[Tensor, "b c h w"], inside: Inside | None) -> Scalar:
    if inside is None:
        return losses.mean()
    counts = inside != 0
    # Replaced, not multiplied: losses outside may be anything, infinity too.
    return losses.where(counts, 0).sum() / mean_over_processes(counts.sum() * losses.shape[1]).clamp_min(1)


def _eroded(values: Channels) -> Channels:
    across = -functional.max_pool2d(-values, (3, 1), 1, (1, 0))
    along = -functional.max_pool2d(-values, (1, 3), 1, (0, 1))
    return torch.minimum(across, along)


def _dilated(values: Channels) -> Channels:
    return functional.max_pool2d(values, 3, 1, 1)
