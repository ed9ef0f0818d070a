"""Settings of FPT and FPT+. Defaults are the papers'; sources in brackets are sections of the papers' code."""

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from modicum.errors import InputError
from modicum.methods.base import MethodConfig
from modicum.nn.key_value_taps import Score

# The transforms of the small image in training, in the papers' order.
AUGMENT = [
    {"name": "horizontal_flip", "p": 0.5},
    {"name": "color_jitter", "brightness": 0.2, "contrast": 0.2},
    {"name": "random_resized_crop", "area": [0.8, 1.0], "aspect": [0.7, 1.3]},
]


class FptConfig(MethodConfig):
    """Settings of FPT."""

    layers: str = Field(
        "all",
        description="Blocks of the frozen network that are read: all, last-half, a range (6-11) or a list (0,3,11).",
    )
    rho: float = Field(0.2, gt=0, le=1, description="Share of the tokens kept in each layer and head.")
    score: Score = Field(
        "global",
        description="What makes a token important: the attention of all tokens, or of the class token.",
    )
    prefix_tokens: Literal["keep", "drop"] = Field(
        "keep", description="Whether class and register tokens can be among the important ones."
    )
    num_prompts: int = Field(16, ge=1, description="Prompts of each layer.")
    prompt_std: float = Field(1e-6, ge=0, description="Standard deviation of the prompts at the start.")
    prompt_reduction: int | None = Field(
        None,
        ge=1,
        description="Frozen width over the prompts' width; by default the side network's (papers: 8).",
    )
    prompt_norm: bool = Field(False, description="LayerNorm of the prompts before they attend.")
    prompt_projection: bool = Field(True, description="Linear map of the prompts before they attend.")
    side_reduction: int = Field(8, ge=1, description="Frozen width over the side network's width.")
    side_size: int | tuple[int, int] = Field(
        224, description="Pixels of the side network's image, rounded down to whole patches."
    )
    fusion_dropout: float = Field(0.5, ge=0, lt=1, description="Dropout of the fused prompts.")
    normalisation: Literal["dataset", "backbone"] = Field(
        "dataset",
        description="Mean and deviation of the training images (the papers), or the backbone's own.",
    )
    store_dtype: str = Field(
        "float16",
        description="How features are stored: float32, float16, bfloat16, int8, or lowrankR with a rank R.",
    )
    views: list[str] = Field(
        ["identity"],
        description="Views of the large image with features of their own, one of which is drawn each time: hflip, "
        "vflip, rot90, rot180, rot270, transpose, antitranspose, crop1, crop2, ...",
    )
    aligned_views: bool = Field(
        False, description="Whether the small image shows the same view before it is augmented (papers: no)."
    )
    recompute: bool = Field(
        True,
        description="Compute the side network's MLPs again in the backward pass instead of keeping them.",
    )

    @field_validator("layers", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

    @field_validator("layers")
    @classmethod
    def _check_form(cls, value: str) -> str:
        if value not in {"all", "last-half"} and not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", value):
            raise ValueError("write all, last-half, a range such as 6-11 or a list such as 0,3,11")
        for first, last in re.findall(r"(\d+)-(\d+)", value):
            if int(first) > int(last):
                raise ValueError(f"the range {first}-{last} is empty; write {last}-{first}")
        return value

    @field_validator("side_size", mode="before")
    @classmethod
    def _sides(cls, value: Any) -> Any:
        return tuple(value.split("x")) if isinstance(value, str) and "x" in value else value

    @field_validator("side_size")
    @classmethod
    def _positive(cls, value: int | tuple[int, int]) -> int | tuple[int, int]:
        if min((value,) if isinstance(value, int) else value) < 1:
            raise ValueError("sides have at least 1 pixel")
        return value


class FptPlusConfig(FptConfig):
    """Settings of FPT+."""

    layers: str = Field(
        "last-half",
        description="Blocks of the frozen network that are read: all, last-half, a range (6-11) or a list (0,3,11).",
    )
    prompt_reduction: int | None = Field(1, ge=1, description="Frozen width over the prompts' width.")
    prompt_norm: bool = Field(True, description="LayerNorm of the prompts before they attend.")
    prompt_projection: bool = Field(False, description="Linear map of the prompts before they attend.")
    side_size: int | tuple[int, int] = Field(
        128, description="Pixels of the side network's image, rounded down to whole patches."
    )


def tapped_layers(layers: str, depth: int) -> list[int]:
    """Numbers of the tapped blocks, ascending.

    >>> tapped_layers("last-half", 12), tapped_layers("0,3,9-11", 12)
    ([6, 7, 8, 9, 10, 11], [0, 3, 9, 10, 11])

    Raises:
        InputError: a block number of ``depth`` or more.
    """
    if layers == "all":
        return list(range(depth))
    if layers == "last-half":
        return list(range(depth // 2, depth))
    numbers: set[int] = set()
    for part in layers.split(","):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    if not numbers or max(numbers) >= depth:
        raise InputError(
            f"layers={layers}: the backbone has {depth} blocks", f"choose numbers from 0 to {depth - 1}"
        )
    return sorted(numbers)


def side_pixels(size: int | tuple[int, int], patch: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the side image, rounded down to whole patches (at least one)."""
    height, width = (size, size) if isinstance(size, int) else size
    return max(height // patch[0], 1) * patch[0], max(width // patch[1], 1) * patch[1]
