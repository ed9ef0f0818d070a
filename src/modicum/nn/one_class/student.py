"""The student of reverse distillation: a one-class embedding, and a decoder that mirrors the encoder.

Deng and Li, "Anomaly Detection via Reverse Distillation from One-Class Embedding" (CVPR 2022, arXiv 2201.10703), and its
code, whose embedding also has a convolution and a norm that are never used; they are left out here.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from modicum.nn.backbones import Backbone
from modicum.nn.one_class.scorer import Maps


@dataclass(frozen=True)
class StudentShape:
    """What the student takes over from its teacher.

    Attributes:
        channels: of the teacher's three maps.
        depths: blocks of its three stages.
        bottleneck: whether its blocks are bottlenecks (as of ResNet-50) or basic ones.
        widening: of a bottleneck, its inner width over a quarter of its outer one; 2 of WideResNet-50-2.
    """

    channels: tuple[int, ...]
    depths: tuple[int, ...] = (2, 2, 2)
    bottleneck: bool = False
    widening: float = 1.0

    @classmethod
    def of(cls, backbone: Backbone, channels: tuple[int, ...]) -> "StudentShape":
        """A residual network's own shape; two basic blocks a stage for any other."""
        stages = [getattr(backbone.body, f"layer{number}", None) for number in (1, 2, 3)]
        if any(not isinstance(stage, nn.Sequential) for stage in stages):
            return cls(channels)
        depths = tuple(len(stage) for stage in stages)  # type: ignore[arg-type]
        first = stages[0][0]  # type: ignore[index]
        if not hasattr(first, "conv3"):
            return cls(channels, depths)
        return cls(channels, depths, True, first.conv2.out_channels * 4 / channels[0])


def _conv3(inside: int, outside: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, 3, stride, 1, bias=False)


def _conv1(inside: int, outside: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, 1, stride, bias=False)


def _twice(inside: int, outside: int) -> nn.ConvTranspose2d:
    """Doubles height and width."""
    return nn.ConvTranspose2d(inside, outside, 2, 2, bias=False)


class _Block(nn.Module):
    """A residual block that halves, keeps or doubles height and width.

    Args:
        inside: channels that come in.
        outside: channels that go out.
        scale: ``down``, ``same`` or ``up``.
        shape: kind of block.
    """

    def __init__(self, inside: int, outside: int, scale: str, shape: StudentShape) -> None:
        super().__init__()

        def strided(first: int, second: int) -> nn.Module:
            if scale == "up":
                return _twice(first, second)
            return _conv3(first, second, 2 if scale == "down" else 1)

        if shape.bottleneck:
            width = int(outside / 4 * shape.widening)
            layers: list[nn.Module] = [_conv1(inside, width), strided(width, width), _conv1(width, outside)]
            widths = [width, width, outside]
        else:
            layers, widths = [strided(inside, outside), _conv3(outside, outside)], [outside, outside]
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.shortcut: nn.Module = nn.Identity()
        if scale != "same":
            short = _twice(inside, outside) if scale == "up" else _conv1(inside, outside, 2)
            self.shortcut = nn.Sequential(short, nn.BatchNorm2d(outside))

    def forward(self, inputs: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d rows columns"]:
        out = inputs
        last = len(self.layers) - 1
        for number, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            out = norm(layer(out))
            if number < last:
                out = out.relu()
        return (out + self.shortcut(inputs)).relu()


def _stage(inside: int, outside: int, scale: str, depth: int, shape: StudentShape) -> nn.Sequential:
    blocks = [_Block(inside, outside, scale, shape)]
    blocks += [_Block(outside, outside, "same", shape) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


def _halved(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(_conv3(inside, outside, 2), nn.BatchNorm2d(outside), nn.ReLU())


class OneClassEmbedding(nn.Module):
    """Three maps joined at the coarsest one's grid, then a residual stage to twice its channels at half its grid."""

    def __init__(self, shape: StudentShape) -> None:
        super().__init__()
        fine, middle, coarse = shape.channels
        self.fine = nn.Sequential(_halved(fine, middle), _halved(middle, coarse))
        self.middle = _halved(middle, coarse)
        # the teacher's last stage has two basic blocks in ResNet-18, three bottlenecks in the wide ResNet-50
        self.stage = _stage(3 * coarse, 2 * coarse, "down", 3 if shape.bottleneck else 2, shape)
        _initialise(self)

    def forward(self, maps: Maps) -> Float[Tensor, "b c h w"]:
        size = maps[2].shape[-2:]
        parts = [self.fine(maps[0]), self.middle(maps[1]), maps[2]]
        return self.stage(torch.cat([part[..., : size[0], : size[1]] for part in parts], 1))


class MirrorDecoder(nn.Module):
    """The teacher's stages 3, 2 and 1 in reverse, each doubling height and width; no connections from the teacher."""

    def __init__(self, shape: StudentShape) -> None:
        super().__init__()
        fine, middle, coarse = shape.channels
        depth = shape.depths
        self.stages = nn.ModuleList(
            [
                _stage(2 * coarse, coarse, "up", depth[0], shape),
                _stage(coarse, middle, "up", depth[1], shape),
                _stage(middle, fine, "up", depth[2], shape),
            ]
        )
        _initialise(self)

    def forward(self, code: Float[Tensor, "b c h w"], sizes: list[tuple[int, int]]) -> list[Tensor]:
        """Maps of the given sizes, from fine to coarse; what is over at the right and lower border is cut off."""
        made = []
        for stage, (rows, columns) in zip(self.stages, reversed(sizes), strict=True):
            code = stage(code)[..., :rows, :columns]
            made.append(code)
        return made[::-1]


def _initialise(module: nn.Module) -> None:
    """As the released code does it."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
