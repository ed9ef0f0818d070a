"""Which images are unlike all that a network learned from: by their colour, contrast and sharpness."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from modicum.distributed import gather_without_gradient

FAR = 4.0
"""Standard deviations of the training images beyond which an image is unlike them."""
_LEAST_STD = 0.02
"""Few training images may be all alike, which says little."""


class Familiarity(nn.Module):
    """Means and deviations of what is measured of the training images, in one pass over them.

    Args:
        channels: of the images.
        size: height and width that images are brought to before they are measured.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        for name, shape in (("count", ()), ("mean", (2 * channels + 1,)), ("squares", (2 * channels + 1,))):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    @torch.no_grad()
    def observe(self, images: Float[Tensor, "b c h w"]) -> None:
        """Takes training images in [0, 1] into account, those of all processes that train together."""
        measured = gather_without_gradient(self.measure(images))
        before = self.count.clone()
        self.count += len(measured)
        mean, spread = measured.mean(0), (measured - measured.mean(0)).square().sum(0)
        shift = mean - self.mean
        self.mean += shift * len(measured) / self.count
        self.squares += spread + shift.square() * before * len(measured) / self.count

    @torch.no_grad()
    def unlike(self, images: Float[Tensor, "b c h w"]) -> Bool[Tensor, "b"]:
        """Which images differ from the training images in one measure or more; none where nothing was observed."""
        std = (self.squares / self.count.clamp_min(1)).sqrt().clamp_min(_LEAST_STD)
        far = ((self.measure(images) - self.mean).abs() > FAR * std).any(1)
        return far & (self.count > 0)

    def measure(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b measures"]:
        """Mean and deviation of each channel, and the root of the variance of the Laplacian."""
        images = images.float()
        if tuple(images.shape[2:]) != self.size:
            images = functional.interpolate(images, self.size, mode="bilinear", antialias=True)
        grey = images.mean(1)
        laplacian = 4 * grey[:, 1:-1, 1:-1] - grey[:, :-2, 1:-1] - grey[:, 2:, 1:-1]
        laplacian = laplacian - grey[:, 1:-1, :-2] - grey[:, 1:-1, 2:]
        parts = [images.mean((2, 3)), images.std((2, 3)), laplacian.std((1, 2))[:, None]]
        return torch.cat(parts, 1).double()
