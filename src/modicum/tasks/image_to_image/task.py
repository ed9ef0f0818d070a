"""Image to image: translation between modalities, enhancement, any task whose output is an image of the same scene."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor, nn

from modicum.data.image import ImageRef
from modicum.data.manifest import Manifest
from modicum.data.prepared import StoreSettings
from modicum.data.readers import read_image
from modicum.errors import BrokenImageError, InputError
from modicum.tasks.base import AuxiliaryImage, Batch, Example, Scores, TaskOptions
from modicum.tasks.dense import DenseTask
from modicum.tasks.image_to_image.metric_table import METRICS
from modicum.tasks.image_to_image.metrics import sharpness
from modicum.tasks.image_to_image.pictures import comparison_pictures
from modicum.tasks.image_to_image.scores import TranslationScores
from modicum.tasks.metric import Metric
from modicum.tasks.stored_values import one_of
from modicum.tasks.value_range import ValueRange

LOOKED_AT = 4
"""Rows whose images are opened to see whether they are grey."""

Intensity = Literal["file", "percentile"]


class ImageToImageOptions(TaskOptions):
    """Settings of image-to-image tasks."""

    pairing: Literal["rows", "shuffled"] = Field(
        "rows",
        description="rows: image and target of a row show the same. shuffled: they need not; in training each image sees "
        "another row's target, anew in every epoch.",
    )
    channels: Literal["auto", 1, 3] = Field("auto", description="Of images; auto: 1 where they are grey.")
    target_channels: Literal["auto", 1, 3] = Field(
        "auto", description="Of targets; auto: 1 where they are grey."
    )
    intensity: Intensity = Field(
        "file",
        description="Which values of images of more than 8 bits become 0 and 1. file: the file's window, or its range. "
        "percentile: 0.5 to 99.5 of what is not 0 in the volume; 0 stays 0.",
    )
    target_window: tuple[float, float] | None = Field(
        None, description="Centre and width, in the targets' own units, of the values that become 0 to 1."
    )
    field_of_view: Literal["none", "found"] = Field(
        "none",
        description="found: predictions are black outside the field of view, which is given (column fov) or found in the "
        "photograph.",
    )
    change: bool = Field(
        False,
        description="Whether reports show how far each pixel was changed; for outputs that are the enhanced image.",
    )
    adjacent_slices: int = Field(
        0,
        ge=0,
        le=16,
        description="Slices to each side of a grey image that the network sees with it, as further channels; the first "
        "and the last slice stand in for what is missing. Of NIfTI and DICOM volumes, and of names that differ in their "
        "last number.",
    )


class ImageToImage(DenseTask):
    """Predicts a target image from each image.

    Args:
        channels: of images and of targets: 1 (grey) or 3.
        options: the task's settings.
        target_range: the values of 0 and 1 in the units of the training targets.

    Raises:
        InputError: neighbours of images in colour.
    """

    name: ClassVar[str] = "image-to-image"
    Options: ClassVar[type[TaskOptions]] = ImageToImageOptions
    metric_table: ClassVar[tuple[Metric, ...]] = METRICS
    levels: ClassVar[int] = 65536
    output_kind: ClassVar[Literal["label_map", "image"]] = "image"
    made_of_the_table: ClassVar[bool] = False
    target_image: ClassVar[str | None] = "target"

    def __init__(
        self,
        channels: tuple[int, int],
        options: ImageToImageOptions,
        target_range: ValueRange | None = None,
    ) -> None:
        if options.adjacent_slices and channels[0] != 1:
            raise InputError(
                f"adjacent_slices={options.adjacent_slices} with images in colour",
                "leave it out, or read the images as grey (channels=1)",
            )
        self.options = options
        self.target_range = target_range
        self.kind = "paired" if options.pairing == "rows" else "unpaired"
        self._channels = channels

    @classmethod
    def from_manifest(cls, manifest: Manifest, options: Mapping[str, Any]) -> "ImageToImage":
        """Determines channels of images and targets, and the targets' value range, by opening a few of each."""
        own_options = {
            name: value for name, value in options.items() if name in ImageToImageOptions.model_fields
        }
        settings = ImageToImageOptions(**own_options)
        cls.check_columns(manifest, options)
        channels = settings.channels if settings.channels != "auto" else _channels(manifest, "image")
        target_channels = (
            settings.target_channels if settings.target_channels != "auto" else _channels(manifest, "target")
        )
        learned = manifest.table["target"].notna()
        if "split" in manifest.table and (manifest.table["split"] == "train").any():
            learned &= manifest.table["split"] == "train"
        refs = manifest.subset(learned.to_numpy(dtype=bool)).refs("target")
        target_range = ValueRange.of_files(refs, settings.target_window, settings.intensity)
        return cls((channels, target_channels), settings, target_range)

    @classmethod
    def reads_pools(cls, options: Mapping[str, Any]) -> bool:
        return options.get("pairing") == "shuffled"

    @classmethod
    def check_columns(cls, manifest: Manifest, options: Mapping[str, Any]) -> None:
        if "target" not in manifest.table:
            columns = ", ".join(str(name) for name in manifest.table.columns)
            raise InputError(
                f"{manifest.source}: no column 'target' (columns: {columns})",
                "name the column of the table with --target COLUMN, or lay the pairs out in two folders",
            )

    @classmethod
    def from_options(cls, options: Mapping[str, Any], num_classes: int | None = None) -> "ImageToImage":
        """Grey images unless the options give channels, and targets of ``num_classes`` channels, 1 by default."""
        settings = ImageToImageOptions(**options)
        channels = 1 if settings.channels == "auto" else settings.channels
        target_channels = (
            (num_classes or 1) if settings.target_channels == "auto" else settings.target_channels
        )
        return cls((channels, target_channels), settings)

    @classmethod
    def store_settings(cls, image: StoreSettings, options: Mapping[str, Any]) -> StoreSettings:
        """A given window has priority over the task's intensity rule."""
        settings = super().store_settings(image, options)
        rule = options.get("intensity", "file") if image.window is None else "file"
        return replace(settings, intensity=rule)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "channels": list(self._channels),
            "options": self.options.model_dump(mode="json"),
            "target_range": None if self.target_range is None else self.target_range.as_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ImageToImage":
        channels, target_channels = (one_of(count, (1, 3), "channels") for count in values["channels"])
        target_range = ValueRange.from_dict(values.get("target_range"))
        return cls((channels, target_channels), ImageToImageOptions(**values["options"]), target_range)

    @property
    def channels(self) -> int:
        return self._channels[0] * (1 + 2 * self.adjacent_slices)

    @property
    def adjacent_slices(self) -> int:
        return self.options.adjacent_slices

    @property
    def finds_region(self) -> bool:
        return self.options.field_of_view == "found"

    @property
    def value_range(self) -> ValueRange | None:
        return self.target_range

    def output_values(self) -> dict[str, Any]:
        """Values in ``[0, 1]``, with the physical values of 0 and 1 if they are known."""
        return {"range": [0, 1], "values": None if self.target_range is None else self.target_range.as_dict()}

    def graph_outputs(self) -> tuple[str, ...]:
        return ("translation",)

    @property
    def num_outputs(self) -> int:
        """Channels of the translation."""
        return self._channels[1]

    @property
    def auxiliary_images(self) -> tuple[AuxiliaryImage, ...]:
        window, rule = self.options.target_window, self.options.intensity
        return (AuxiliaryImage("target", "image", channels=self.num_outputs, window=window, intensity=rule),)

    @property
    def shuffled(self) -> tuple[str, ...]:
        return () if self.options.pairing == "rows" else ("target",)

    @property
    def monitor(self) -> str:
        return "nmae"

    def loss(self, targets: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> nn.Module:
        """The mean absolute error."""
        return _AbsoluteError()

    def activate(self, outputs: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return outputs.float().clamp(0, 1)

    def averaged(self, outputs: Float[Tensor, "members n *outputs"]) -> Float[Tensor, "n *outputs"]:
        """The mean picture, of pictures as they are shown."""
        return self.activate(outputs).mean(0)

    def agreement(self) -> dict[str, Any]:
        options = self.options.model_dump(include={"intensity", "target_window", "adjacent_slices"})
        return {**super().agreement(), "channels": list(self._channels), **options}

    def scores(self) -> TranslationScores:
        return TranslationScores()

    def ground_truth(self, auxiliary_images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"target": auxiliary_images["target"]}

    def to_file(
        self, activated: Float[np.ndarray, "channels height width"]
    ) -> UInt8[np.ndarray, "height width"] | Float[np.ndarray, "out height width"]:
        return activated

    def summary(
        self, activated: Float[np.ndarray, "channels height width"], spacing: tuple[float, float] | None
    ) -> dict[str, float]:
        mean, std = float(activated.mean()), float(activated.std())
        return {"mean": mean, "std": std, "sharpness": sharpness(activated)}

    def render(
        self,
        image: Float[np.ndarray, "image_channels height width"],
        activated: Float[np.ndarray, "channels height width"],
        truth: Mapping[str, np.ndarray] | None,
    ) -> dict[str, UInt8[np.ndarray, "picture_height picture_width 3"]]:
        target = None if truth is None else truth["target"]
        return comparison_pictures(image, activated, target, change=self.options.change)

    def examples(self, scores: Scores, count: int) -> list[Example]:
        assert isinstance(scores, TranslationScores)
        return scores.examples(count)


class _AbsoluteError(nn.Module):
    def forward(self, outputs: Float[Tensor, "b channels h w"], batch: Batch) -> Float[Tensor, ""]:
        return (outputs - batch["target"]).abs().mean()


def _channels(manifest: Manifest, column: str) -> int:
    """1 where the first readable images of a column are grey, else 3."""
    for text in manifest.table[column].dropna().head(LOOKED_AT):
        try:
            pixels = read_image(ImageRef.parse(text, manifest.root)).pixels
        except BrokenImageError:
            continue  # named by who decodes all of them
        if len(pixels) == 3 and not ((pixels[0] == pixels[1]).all() and (pixels[0] == pixels[2]).all()):
            return 3
    return 1
