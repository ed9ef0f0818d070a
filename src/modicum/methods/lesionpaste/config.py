"""Settings of LesionPaste."""

from typing import Literal

from pydantic import Field, field_validator

from modicum.methods.base import MethodConfig

MEAN, STD = (0.5312, 0.5193, 0.5130), (0.11666, 0.11394, 0.07832)
"""Statistics of the release, of photographs after contrast normalisation."""


class LesionPasteConfig(MethodConfig):
    """Settings of LesionPaste. "Release" is the code of arXiv 2203.06354; of CT it has none."""

    blend: float | tuple[float, float] = Field(
        0.7,
        description="Share of the lesion where it is pasted, or two limits to draw it between for each "
        "lesion. The paper "
        "blends without saying how much; the release has 1 (a hard paste).",
    )
    augment_lesions: bool = Field(
        True,
        description="Whether lesions are scaled, mirrored, turned and recoloured anew for each paste (as published).",
    )
    scale: tuple[float, float] = Field(
        (0.5, 1.0),
        description="Limits of the factors on a lesion's width and height (release: 0.5 to 1).",
    )
    degrees: float = Field(
        45.0,
        ge=0,
        le=180,
        description="Largest rotation of a lesion to either side, in degrees (release: 45).",
    )
    colour: float = Field(
        10.0,
        ge=0,
        description="Largest change of brightness, hue and saturation of a lesion, in grey levels of 255 "
        "(release: 10).",
    )
    severity: dict[str, int] = Field(
        {},
        description="By type of lesion, the severity (drawn from 0 to 100) above which images get it; -1: "
        "always. By default "
        "as released for MA (-1), HE (80), EX (90) and SE (95), else by how common a type is.",
    )
    rim: float = Field(
        180 / 255,
        gt=0,
        lt=1,
        description="Share of a lesion in a pixel from which on it is pasted (release: 180 of 255; 0.5 keeps "
        "areas on average).",
    )
    feather: int = Field(
        0, ge=0, description="Width in pixels over which borders of lesions fade; 0 (as released): sharp."
    )
    organ: Literal["disc", "threshold", "fov", "image"] = Field(
        "disc",
        description="Where lesions may lie: the largest disc of the image (fundus, as released); the largest "
        "part brighter "
        "than 'organ_threshold', without holes; the mask in column fov (a lung, say); or anywhere.",
    )
    organ_threshold: float = Field(
        0.06, ge=0, lt=1, description="Grey value above which organ 'threshold' begins, from 0 to 1."
    )
    contrast: Literal["fundus", "none"] = Field(
        "fundus",
        description="What is done to images before lesions are pasted: 'fundus' takes the local mean away (4 "
        "I - 4 Gauss(I) + "
        "128 inside the disc), which the release's statistics are of; 'none' for other images.",
    )
    input_size: int = Field(
        256,
        ge=16,
        description="Side in pixels of what the classifier sees (release: 256); lesions are pasted at the "
        "size of the images. "
        "Smaller images and vision transformers see the image as it is.",
    )
    head: Literal["auto", "vgg", "linear"] = Field(
        "auto",
        description="vgg: 7 x 7 means of the feature map and three linear layers, newly initialised (the "
        "release's); linear: "
        "one layer after the backbone's pooling; auto: vgg for VGG backbones.",
    )
    segmentation_weight: float = Field(
        0.0,
        ge=0,
        description="Weight of a second loss: to find the pasted lesions in the feature map. Above 0 the "
        "method makes maps.",
    )

    @field_validator("blend")
    @classmethod
    def _shares(cls, value: float | tuple[float, float]) -> float | tuple[float, float]:
        low, high = (value, value) if isinstance(value, float | int) else value
        if not 0 <= low <= high <= 1:
            raise ValueError("must be a share from 0 to 1, or two rising ones")
        return value

    @field_validator("scale")
    @classmethod
    def _factors(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1] <= 4:
            raise ValueError("must be two rising factors above 0, such as 0.5,1")
        return value
