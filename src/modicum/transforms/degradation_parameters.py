"""Parameters of classical degradations of fundus photographs, as values that can be drawn, kept and replayed.

Shen et al., "Modeling and Enhancing Low-quality Retinal Fundus Images", IEEE TMI 2020 (arXiv 2005.05594), and its code.

:func:`modicum.transforms.fundus_degradation.degrade` applies them. Lengths are shares of an image's sides, or pixels of
the reference size, so that the same parameters fit images of any size.
"""

from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from modicum.errors import InputError, did_you_mean

REFERENCE = 512
"""Pixels along the side of the images that the paper states its lengths for."""
KINDS = ("illumination", "spots", "blur")
"""In the order in which they are applied."""
COMBINATIONS = ("001", "010", "011", "100", "101", "110", "111")
"""Blur, spots, illumination: what the release calls its seven types."""
_COLOURS = ((141 / 255, 238 / 255, 238 / 255), (177 / 255, 195 / 255, 147 / 255))
_WHITE = (251 / 255, 249 / 255, 246 / 255)

Pair = tuple[float, float]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ColourChange(_Part):
    """Factors as torchvision's, applied in this order."""

    brightness: float = Field(ge=0)
    contrast: float = Field(ge=0)
    saturation: float = Field(ge=0)


class Halo(_Part):
    """A bright ring around the middle.

    Attributes:
        centre: x and y, as shares of width and height.
        inner: diameter of the ring's inside, as a share of the shorter side.
        outer: that of its outside, from 0 (just larger) to 1 (all of the image).
        colour: of the light.
    """

    centre: Pair
    inner: float = Field(gt=0)
    outer: float = Field(ge=0, le=1)
    colour: tuple[float, float, float]


class Hole(_Part):
    """A dark area.

    Attributes:
        centre: x and y, as shares of width and height.
        diameter: as a share of the width.
        kernel: widths of the blur across and down, as shares of the diameter.
        depth: what is added where the image is black, below 0.
        slope: how much more is taken off where the image is bright, as a share of its mean.
    """

    centre: Pair
    diameter: float = Field(gt=0)
    kernel: Pair
    depth: float = Field(le=0)
    slope: float = Field(ge=0)


class Spot(_Part):
    """A bright spot, as of dust on the lens.

    Attributes:
        centre: x and y, from 0 to 1 over where it lies inside the image.
        size: as a share of the largest, which is a twentieth of the height.
        kernel: widths of the blur across and down, as shares of its standard deviation.
    """

    centre: Pair
    size: float = Field(gt=0, le=1)
    kernel: Pair


class Blur(_Part):
    """A Gaussian that is cut off so near its middle that it is close to a mean.

    Attributes:
        sigma: its standard deviation in pixels of the reference size.
        kernel: widths across and down, in such pixels.
    """

    sigma: float = Field(gt=0)
    kernel: Pair


class Degradation(_Part):
    """All parameters of one degradation; JSON by ``model_dump_json``, back by ``model_validate_json``.

    Attributes:
        reference: side of the images that lengths in pixels are stated for; smaller than 512 blurs more.
    """

    colour: ColourChange | None = None
    halo: Halo | None = None
    hole: Hole | None = None
    spots: tuple[Spot, ...] = ()
    blur: Blur | None = None
    reference: int = Field(REFERENCE, ge=1)

    @property
    def kind(self) -> str:
        """The release's name of it: three bits, for blur, spots and illumination."""
        lit = self.colour is not None or self.halo is not None or self.hole is not None
        return f"{int(self.blur is not None)}{int(bool(self.spots))}{int(lit)}"


# --- drawing ----------------------------------------------------------------------------------------------------------


def draw_degradation(
    generator: torch.Generator,
    kind: str | None = None,
    *,
    reference: int = REFERENCE,
    white_halo: bool = False,
) -> Degradation:
    """Draws the parameters of one degradation.

    Args:
        generator: on the CPU.
        kind: one of :data:`COMBINATIONS`; drawn among all seven by default.
        reference: side in pixels that the blur is stated for.
        white_halo: whether rings may be white too; a slip in the release leaves that colour out.

    Raises:
        InputError: an unknown kind.
    """
    if kind is None:
        kind = COMBINATIONS[_whole(0, len(COMBINATIONS) - 1, generator)]
    if kind not in COMBINATIONS:
        raise InputError(f"unknown kind of degradation '{kind}'", did_you_mean(kind, COMBINATIONS))
    blurred, spotted, lit = (bit == "1" for bit in kind)
    parts: dict[str, Any] = {"reference": reference}
    if lit:
        parts["colour"] = ColourChange(
            brightness=_uniform(0.7, 1.2, generator),
            contrast=_uniform(0.6, 1.4, generator),
            saturation=_uniform(0.6, 1.4, generator),
        )
        parts["halo"] = _draw_halo(generator, white_halo)
        parts["hole"] = _draw_hole(generator)
    if spotted:
        parts["spots"] = tuple(_draw_spot(generator) for _ in range(_whole(5, 10, generator)))
    if blurred:
        parts["blur"] = _draw_blur(generator)
    return Degradation(**parts)


def _draw_halo(generator: torch.Generator, white: bool) -> Halo:
    colours = (*_COLOURS, _WHITE) if white else _COLOURS
    return Halo(
        centre=(0.5 + _uniform(-1 / 8, 1 / 8, generator), 0.5 + _uniform(-1 / 8, 1 / 8, generator)),
        inner=_uniform(0.75, 1, generator),
        outer=_uniform(0, 1, generator),
        colour=colours[_whole(0, len(colours) - 1, generator)],
    )


def _draw_hole(generator: torch.Generator) -> Hole:
    return Hole(
        centre=(_uniform(1 / 4, 3 / 4, generator), _uniform(3 / 8, 5 / 8, generator)),
        diameter=_uniform(0.4, 0.7, generator),
        kernel=(_uniform(0.55, 0.75, generator), _uniform(0.55, 0.75, generator)),
        depth=_uniform(-0.262, -0.26, generator),
        slope=_uniform(0.05, 0.06, generator),
    )


def _draw_spot(generator: torch.Generator) -> Spot:
    return Spot(
        centre=(_uniform(0, 1, generator), _uniform(0, 1, generator)),
        size=_uniform(0.2, 1, generator),
        kernel=(_uniform(1 / 5, 1 / 4, generator), _uniform(1 / 5, 1 / 4, generator)),
    )


def _draw_blur(generator: torch.Generator) -> Blur:
    sigma = _uniform(5, 15, generator)
    low, high = int(sigma // 3), int(sigma // 2)
    across, down = (odd_width(_whole(low, high, generator)) for _ in range(2))
    # One tap in both directions, which the release may draw, would blur nothing.
    return Blur(sigma=sigma, kernel=(max(across, 3) if down == 1 else across, down))


def _uniform(low: float | int, high: float | int, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def _whole(low: int, high: int, generator: torch.Generator) -> int:
    """A whole number from ``low`` to ``high``, both among them."""
    return low + int(torch.randint(high - low + 1, (), generator=generator))


def odd_width(number: float | int) -> int:
    """The number itself, rounded down, or one more if it is even."""
    whole = max(1, int(number))
    return whole + 1 - whole % 2
