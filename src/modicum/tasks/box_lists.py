"""Base of tasks whose prediction is a list of boxes an image, as many as there are."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Float32, Int64, UInt8

from modicum.data.boxes.boxes import Boxes
from modicum.tasks.base import Scores, Task


class BoxListScores(Scores):
    """Scores of predictions that are boxes, which it keeps for pictures and files."""

    @abstractmethod
    def found(self, row: int) -> Float[np.ndarray, "n 6"]:
        """The boxes found in a row that was scored: left, top, right, bottom, score, number of the class."""

    @abstractmethod
    def truth(self, row: int) -> Float[np.ndarray, "m 5"]:
        """The true boxes of such a row: left, top, right, bottom, number of the class."""


class BoxListTask(Task):
    """A task whose prediction is a list of boxes an image.

    A network's outputs are ``[b, k, 6]``: of each box left, top, right and bottom in pixels of the network's input, a
    score in ``[0, 1]`` and the number of its class; NaN after the last box of an image. A batch is scored against its
    ``boxes`` and ``box_classes``, which the engine brings for the task's :attr:`box_classes`.
    """

    needs_labels: ClassVar[bool] = False

    @property
    @abstractmethod
    def box_classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their numbers."""

    @abstractmethod
    def scores(self) -> BoxListScores:
        """A fresh collector."""

    def boxes(self, detections: Float[np.ndarray, "k 6"]) -> Boxes:
        """An image's outputs as boxes with names of classes and scores, without the rows of NaN."""
        real = detections[np.isfinite(detections).all(axis=1)]
        return Boxes(
            real[:, :4].astype(np.float32),
            tuple(self.box_classes[int(number)] for number in real[:, 5]),
            real[:, 4].astype(np.float32),
        )

    @abstractmethod
    def render(
        self,
        picture: UInt8[np.ndarray, "height width 3"],
        detections: Float[np.ndarray, "n 6"],
        truth: Float[np.ndarray, "m 5"],
    ) -> Mapping[str, UInt8[np.ndarray, "picture_height picture_width 3"]]:
        """Named pictures of one prediction for reports, in display order.

        Args:
            picture: the image as the network sees it.
            detections: boxes in its pixels, with score and class.
            truth: true boxes in its pixels, with class.
        """


Edges = Float32[np.ndarray, "n 4"]
Numbers = Int64[np.ndarray, "n"]
