"""Reconstruction of pixels: the classical one-class score, and the one that blur deceives."""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from modicum.nn.one_class.maps import Reduce, blurred, reduce_map
from modicum.nn.one_class.scorer import Maps, OneClassScore, OneClassScorer


class Pixels(nn.Module):
    """Images as they are, in place of the maps of an encoder."""

    def forward(self, images: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b c h w"]]:
        """A list with the images alone."""
        return [images.float()]


class PixelReconstruction(OneClassScorer):
    """Squared error of a convolutional auto-encoder of the image.

    Each of its steps halves height and width and doubles the channels, and the code keeps few of them; back up by nearest
    neighbours and a convolution. Images that are simpler than those it learned from, such as blurred ones, are
    reconstructed *better*: its score is then the wrong way round.

    Args:
        channels: of the images.
        width: channels after the first step.
        steps: how often height and width are halved.
        code: channels of the code.
        reduce: from the map to the score.
        sigma: of the map's blur, in pixels of the image.
    """

    num_passes = 0

    def __init__(
        self,
        channels: int,
        width: int = 16,
        steps: int = 4,
        code: int = 32,
        reduce: Reduce = "mean",
        sigma: float = 4.0,
    ) -> None:
        super().__init__()
        widths = [channels, *(width * 2**step for step in range(steps))]
        down: list[nn.Module] = []
        for inside, outside in pairwise(widths):
            down += [nn.Conv2d(inside, outside, 4, 2, 1), nn.BatchNorm2d(outside), nn.ReLU()]
        up: list[nn.Module] = [nn.Conv2d(code, widths[-1], 1), nn.ReLU()]
        for inside, outside in zip(widths[:0:-1], [*widths[-2:0:-1], width], strict=True):
            up += [
                nn.Upsample(scale_factor=2),
                nn.Conv2d(inside, outside, 3, 1, 1),
                nn.BatchNorm2d(outside),
                nn.ReLU(),
            ]
        self.encoder = nn.Sequential(*down, nn.Conv2d(widths[-1], code, 1))
        self.decoder = nn.Sequential(*up, nn.Conv2d(width, channels, 3, 1, 1), nn.Sigmoid())
        self.multiple = 2**steps
        self.reduce, self.sigma = reduce, sigma

    def reconstructed(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The images as the auto-encoder has them; sides that do not divide are padded by repeating the border."""
        below, right = (-side % self.multiple for side in images.shape[-2:])
        padded = nn.functional.pad(images, (0, right, 0, below), mode="replicate")
        return self.decoder(self.encoder(padded))[..., : images.shape[2], : images.shape[3]]

    def _errors(self, maps: Maps) -> Float[Tensor, "b h w"]:
        return ((self.reconstructed(maps[0]) - maps[0]) ** 2).mean(1)

    def losses(self, maps: Maps) -> Float[Tensor, ""]:
        """Mean squared error of grey levels in ``[0, 1]``."""
        return self._errors(maps).mean()

    def forward(self, maps: Maps, size: tuple[int, int]) -> OneClassScore:
        errors = self._errors(maps)
        return OneClassScore(reduce_map(errors, self.reduce), blurred(errors, self.sigma))


def blur_ratio(scores: Float[Tensor, "n"], of_blurred: Float[Tensor, "n"]) -> float:
    """Share of images whose blurred copy scores higher, a tie half: below a half the score is the wrong way round."""
    return float(((of_blurred > scores).float() + 0.5 * (of_blurred == scores).float()).mean())
