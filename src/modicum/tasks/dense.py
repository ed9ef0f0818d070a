"""Base class of tasks whose prediction is an image of the input image's size."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8

from modicum.data.manifest import Manifest, class_order
from modicum.data.prepared import StoreSettings
from modicum.errors import InputError
from modicum.tasks.base import Task
from modicum.tasks.scores import DenseScores
from modicum.tasks.value_range import ValueRange


class DenseTask(Task):
    """A task whose prediction is an image of the input image's size.

    Attributes:
        output_kind: what a prediction's file holds: ``label_map`` (a mask) or ``image`` (values in ``[0, 1]``, which the
            engine converts to physical units where they are known).
    """

    needs_labels: ClassVar[bool] = False
    output_kind: ClassVar[Literal["label_map", "image"]]
    region_column: ClassVar[str | None] = None
    """The auxiliary image that says where pixels count: nothing is learned outside, and nothing is predicted there."""
    padding_value: ClassVar[float] = 0.0
    """The output for pixels outside the network's input (``resize="crop"``)."""
    target_image: ClassVar[str | None] = None
    """Name of the auxiliary image that is the target of predictions, if there is one."""

    @property
    def value_range(self) -> ValueRange | None:
        """Physical values of 0 and 1 in ``image`` outputs; None if unknown, or for label maps."""
        return None

    @classmethod
    def store_settings(cls, image: StoreSettings, options: Mapping[str, Any]) -> StoreSettings:
        if image.crop != "none":
            raise InputError(
                f"crop '{image.crop}' does not work with task '{cls.name}': masks and target images would not be cropped",
                "leave the crop out, and use resize 'pad' to keep the aspect ratio",
            )
        return super().store_settings(image, options)

    def example_targets(self, count: int) -> dict[str, np.ndarray]:
        """Two domains in turn."""
        return {"domain": np.arange(count, dtype=np.int64) % 2}

    def targets(self, manifest: Manifest) -> dict[str, np.ndarray]:
        """``domain``: the number of each row's domain, in the order of their names; -1 if unknown."""
        if "domain" not in manifest.table:
            return {}
        domains = manifest.table["domain"]
        number = {name: index for index, name in enumerate(class_order(domains.dropna().astype(str)))}
        # Blanks are NaN, which is not a domain's name.
        numbers = [number.get(str(name), -1) for name in domains]
        return {"domain": np.array(numbers, dtype=np.int64)}

    def sampling_labels(self, targets: Mapping[str, np.ndarray]) -> np.ndarray:
        """Domains; images without one are one more group."""
        return np.unique(targets["domain"], return_inverse=True)[1]

    @abstractmethod
    def scores(self) -> DenseScores:
        """A fresh collector."""

    def validate_label_values(
        self, column: str, held: Bool[np.ndarray, "rows 256"], places: Sequence[str]
    ) -> list[str]:
        """Checks the values in the label maps of all rows, before training.

        Args:
            column: column of the auxiliary images, of kind ``label_map``.
            held: for each row, which codes occur.
            places: description of each row for messages.

        Returns:
            Notes for the report.

        Raises:
            InputError: codes without a meaning; the message names the row.
        """
        return []

    @abstractmethod
    def ground_truth(self, auxiliary_images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The ground truth for :meth:`DenseScores.add`.

        Args:
            auxiliary_images: by column, at the image's own size: images and saliency float32 ``[c, h, w]`` in ``[0, 1]``,
                codes uint8 ``[h, w]``.
        """

    @abstractmethod
    def to_file(
        self, activated: Float[np.ndarray, "channels height width"]
    ) -> UInt8[np.ndarray, "height width"] | Float[np.ndarray, "out height width"]:
        """The pixels of a prediction's file."""

    @property
    def foreground(self) -> tuple[str, ...]:
        """Names of the classes whose regions are predicted; empty if predictions are not masks."""
        return ()

    def foreground_regions(
        self, activated: Float[np.ndarray, "channels height width"]
    ) -> Bool[np.ndarray, "classes height width"]:
        """Where each class of :attr:`foreground` is predicted."""
        return np.zeros((0, *activated.shape[1:]), dtype=bool)

    def probabilities(
        self, activated: Float[np.ndarray, "channels height width"]
    ) -> Float[np.ndarray, "classes height width"]:
        """The probability of each class of :attr:`foreground`."""
        return activated[:0]

    @abstractmethod
    def summary(
        self, activated: Float[np.ndarray, "channels height width"], spacing: tuple[float, float] | None
    ) -> dict[str, float]:
        """A few numbers for the predictions' table, such as the area of each class."""

    @abstractmethod
    def render(
        self,
        image: Float[np.ndarray, "image_channels height width"],
        activated: Float[np.ndarray, "channels height width"],
        truth: Mapping[str, np.ndarray] | None,
    ) -> dict[str, UInt8[np.ndarray, "picture_height picture_width 3"]]:
        """Named pictures of one prediction for reports, in display order."""
