"""Auxiliary images: masks, target images and saliency maps, loaded with each image in the same geometry."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import UInt8, UInt16
from torch import Tensor

from modicum.data.prepared import StoreSettings


@dataclass(frozen=True)
class AuxiliaryImage:
    """An auxiliary image of each row of a manifest, prepared with the same geometry as the image.

    Attributes:
        column: column of the manifest, and the name in a batch.
        kind: ``image`` (float32 ``[b, c, h, w]`` in ``[0, 1]``), ``saliency`` (the same with one channel, from the whole
            range of its file's type), or ``label_map`` (uint8 ``[b, 1, h, w]``, never scaled).
        required: whether every row must have one.
        absent: the code (or level) of every pixel for rows without one.
        channels: channels of an ``image``: 1 (grey) or 3.
        window: centre and width, in the file's units, of an image's values that are mapped to 0 to 1.
        intensity: rule for these values if no window is given; see
            :class:`~modicum.data.prepared.StoreSettings`.
    """

    column: str
    kind: Literal["image", "label_map", "saliency"]
    required: bool = True
    absent: int = 0
    channels: int = 3
    window: tuple[float, float] | None = None
    intensity: str = "file"

    @property
    def intensity_rule(self) -> str | None:
        """The ``intensity`` argument of ``read_image``."""
        ruled = self.kind == "image" and self.window is None and self.intensity != "file"
        return self.intensity if ruled else None

    def store_settings(self, image: StoreSettings) -> StoreSettings:
        """Store settings, with the geometry of the image.

        Args:
            image: how the image is stored.
        """
        plain = replace(image, crop="none", window=None, intensity="file")
        if self.kind == "label_map":
            return replace(plain, channels=1, levels=256, kind="label_map")
        if self.kind == "saliency":
            return replace(plain, channels=1, kind="saliency")
        return replace(plain, window=self.window, intensity=self.intensity_rule or "file")

    def example(
        self, count: int, size: tuple[int, int], levels: int
    ) -> UInt8[Tensor, "..."] | UInt16[Tensor, "..."]:
        """A batch as loaded from a store, all 0.

        Args:
            count: number of rows.
            size: height and width of stored images.
            levels: number of grey levels of the task's stored images.
        """
        if self.kind == "label_map":
            return torch.zeros(count, 1, *size, dtype=torch.uint8)
        return example_picture(count, size, self.channels if self.kind == "image" else 1, levels)


def example_picture(
    count: int, size: tuple[int, int], channels: int, levels: int
) -> UInt8[Tensor, "b h w c"] | UInt16[Tensor, "b h w c"]:
    """Black images as loaded from a store with this number of grey levels."""
    dtype = torch.uint8 if levels == 256 else torch.uint16
    return torch.zeros(count, *size, channels, dtype=dtype)
