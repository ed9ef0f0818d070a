"""A plain vision transformer as the encoder of a segmentation network: feature maps of four sizes from one grid."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modicum.errors import InputError


class VitPyramid(nn.Module):
    """Feature maps after four blocks of a vision transformer, resized to 4, 2, 1 and 1/2 times its grid of patches.

    After a third, half, two thirds and all of the blocks (4, 6, 8 and 12 of 12), without the last norm: Bao et al.,
    "BEiT" (ICLR 2022, arXiv 2106.08254) with UPerNet. The larger maps come from transposed convolutions (two with batch
    norm and GELU between, or one), the smallest from max pooling. For a width of 768 the four have 7,081,728 parameters.
    Position embeddings are resampled where images have another size than ``image_size``.

    Args:
        name: name of a timm vision transformer.
        image_size: height and width that position embeddings are made for.

    Attributes:
        out_channels: of the maps of :meth:`forward`.
        output_stride: images whose height and width are multiples of it have maps that fit each other exactly.

    Raises:
        InputError: ``name`` is not a vision transformer with one grid.
    """

    def __init__(self, name: str, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.body = _plain_body(name, image_size)
        width, depth = int(self.body.embed_dim), len(self.body.blocks)
        self.taps = [depth // 3 - 1, depth // 2 - 1, 2 * depth // 3 - 1, depth - 1]
        self.steps = nn.ModuleList(
            [
                nn.Sequential(_doubling(width), nn.BatchNorm2d(width), nn.GELU(), _doubling(width)),
                _doubling(width),
                nn.Identity(),
                nn.MaxPool2d(2),
            ]
        )
        # The image itself, and nothing at half its size: the list that decoders expect.
        self.out_channels = [3, 0, *[width] * 4]
        self.output_stride = 2 * int(self.body.patch_embed.patch_size[0])

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        """The images, an empty map, and four feature maps from fine to coarse."""
        maps = self.body.forward_intermediates(
            images, indices=self.taps, norm=False, output_fmt="NCHW", intermediates_only=True
        )
        batch, _, height, width = images.shape
        nothing = images.new_empty(batch, 0, height // 2, width // 2)
        return [images, nothing, *(step(features) for step, features in zip(self.steps, maps, strict=True))]


def _doubling(width: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(width, width, 2, 2)


def _plain_body(name: str, image_size: tuple[int, int]) -> Any:
    import timm

    arguments: dict[str, Any] = {"img_size": image_size, "dynamic_img_size": True, "num_classes": 0}
    body: Any = timm.create_model(name, pretrained=False, **arguments)
    if len(body.blocks) < 4:
        raise InputError(
            f"encoder '{name}' has {len(body.blocks)} blocks, and four maps are needed",
            "choose a deeper one, for instance vit_small_patch16_224",
        )
    # Blocks after the last map get no gradients, which would stop training on several devices.
    for unused in ("norm", "fc_norm"):
        setattr(body, unused, nn.Identity())
    return body


def is_plain_vit(name: str) -> bool:
    """Whether a timm name is a vision transformer with one grid of patches, without building its weights."""
    import timm
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    with torch.device("meta"):
        return isinstance(timm.create_model(name, pretrained=False), VisionTransformer | Eva)
