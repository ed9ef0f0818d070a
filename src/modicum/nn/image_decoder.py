"""From a small feature map back to an image (PRIOR, Cheng et al., ICCV 2023): upsampling and pairs of convolutions."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class ImageDecoder(nn.Module):
    """Nearest upsampling to twice the size, then two 3x3 convolutions with batch norm, until the image's size.

    From 7x7 maps of 1,536 channels to 224x224 pixels: 768, 384, 192, 96 and 48 channels, 21,219,313 parameters. No
    skip connections.

    Args:
        inputs: channels of the map.
        grid: rows and columns of the map.
        image_size: rows and columns of the image; the last step goes to exactly this size.
    """

    def __init__(self, inputs: int, grid: tuple[int, int], image_size: tuple[int, int]) -> None:
        super().__init__()
        self.sizes = _sizes(grid, image_size)
        widths = [max(8, inputs // 2 ** (1 + step)) for step in range(len(self.sizes))]
        self.blocks = nn.ModuleList(
            nn.Sequential(*_convolution(before, width), *_convolution(width, width))
            for before, width in zip([inputs, *widths], widths, strict=False)
        )
        self.head = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, features: Float[Tensor, "b c rows columns"]) -> Float[Tensor, "b 1 h w"]:
        """One-channel images."""
        for size, block in zip(self.sizes, self.blocks, strict=True):
            features = block(F.interpolate(features, size=size, mode="nearest"))
        return self.head(features)


def _sizes(grid: tuple[int, int], image_size: tuple[int, int]) -> list[tuple[int, int]]:
    """Twice the size in each step; the last is the image's.

    >>> _sizes((7, 7), (224, 224)), _sizes((2, 2), (7, 7))
    ([(14, 14), (28, 28), (56, 56), (112, 112), (224, 224)], [(4, 4), (7, 7)])
    """
    sizes = []
    rows, columns = 2 * grid[0], 2 * grid[1]
    while rows < image_size[0] and columns < image_size[1]:
        sizes.append((rows, columns))
        rows, columns = 2 * rows, 2 * columns
    return [*sizes, image_size]


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]
