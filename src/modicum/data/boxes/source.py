"""Boxes by row of a manifest, packed for batches."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32, Int, Int64

from modicum.data.boxes.boxes import Boxes
from modicum.data.manifest import class_order
from modicum.errors import InputError
from modicum.wording import listed


def padded(values: Sequence[np.ndarray], fill: float | int, tail: tuple[int, ...], dtype: type) -> np.ndarray:
    """Arrays ``[n_i, *tail]`` of different lengths as one ``[len(values), max n_i, *tail]``, the rest filled."""
    most = max((len(one) for one in values), default=0)
    packed: np.ndarray = np.full((len(values), most, *tail), fill, dtype)
    for index, one in enumerate(values):
        packed[index, : len(one)] = one
    return packed


def pack_boxes(
    boxes: Sequence[Float32[np.ndarray, "_ 4"]], classes: Sequence[Int64[np.ndarray, "_"]]
) -> tuple[Float32[np.ndarray, "batch most 4"], Int64[np.ndarray, "batch most"]]:
    """Boxes and their classes, image by image, as two arrays; padded with NaN and -1 to the largest count."""
    return padded(boxes, np.nan, (4,), np.float32), padded(classes, -1, (), np.int64)


@dataclass(frozen=True, eq=False)
class BoxSource:
    """Boxes of all rows of a manifest, in pixels of the stored images.

    Attributes:
        xyxy: edges of all boxes, row after row.
        classes: the index of each box's class; 0 where boxes have no classes.
        scores: of each box, or None.
        starts: where the boxes of each row begin, and the end.
        class_names: of the classes, in the order of their indices; empty where boxes have no classes.
    """

    xyxy: Float32[np.ndarray, "boxes 4"]
    classes: Int64[np.ndarray, "boxes"]
    scores: Float32[np.ndarray, "boxes"] | None
    starts: Int64[np.ndarray, "ends"]
    class_names: tuple[str, ...]

    @classmethod
    def of_rows(cls, rows: Sequence[Boxes | None]) -> "BoxSource":
        """From the boxes of each row, in pixels of the stored images."""
        some = [Boxes.none() if boxes is None else boxes for boxes in rows]
        names = class_order({name for boxes in some for name in boxes.class_names or ()})
        index = {name: number for number, name in enumerate(names)}
        classes = [index[name] for boxes in some for name in boxes.class_names or ()]
        count = sum(map(len, some))
        scored = [boxes.scores for boxes in some if len(boxes) and boxes.scores is not None]
        return cls(
            np.concatenate([boxes.xyxy for boxes in some]) if some else np.zeros((0, 4), np.float32),
            np.array(classes if names else [0] * count, np.int64),
            np.concatenate(scored) if scored else None,
            np.cumsum([0, *map(len, some)], dtype=np.int64),
            tuple(names),
        )

    @property
    def counts(self) -> Int64[np.ndarray, "rows"]:
        """Boxes of each row."""
        return np.diff(self.starts)

    def of(self, rows: Int[np.ndarray, "batch"]) -> dict[str, np.ndarray]:
        """What a batch of rows gets.

        ``boxes``: float32 ``[b, m, 4]``, padded with NaN to the largest count among the rows; ``box_classes``: int64
        ``[b, m]``, padded with -1; ``box_scores`` where boxes have scores: float32 ``[b, m]``, padded with NaN.
        """
        names = ("boxes", "box_classes", *(() if self.scores is None else ("box_scores",)))
        return {name: self.read(name, rows) for name in names}

    def read(self, name: str, rows: Int[np.ndarray, "batch"]) -> np.ndarray:
        """One of :meth:`of`'s arrays, by its name. Raises KeyError for ``box_scores`` where there are none."""
        arrays: dict[str, tuple[np.ndarray, float | int]] = {
            "boxes": (self.xyxy, np.nan),
            "box_classes": (self.classes, -1),
        }
        if self.scores is not None:
            arrays["box_scores"] = self.scores, np.nan
        values, fill = arrays[name]
        parts = [values[self.starts[row] : self.starts[row + 1]] for row in rows]
        return padded(parts, fill, values.shape[1:], values.dtype.type)

    def with_classes(self, names: Sequence[str]) -> "BoxSource":
        """With the classes numbered in the order of these names. One that has no classes takes the only name.

        Raises:
            InputError: boxes are of a class that is not among them, or have no classes, and there are several.
        """
        if not self.class_names:
            if len(names) > 1 and len(self.xyxy):
                raise InputError(
                    f"the boxes have no classes, and there are several: {listed(names, 8)}",
                    "give each box its class",
                )
            return replace(self, class_names=tuple(names))
        if unknown := [name for name in self.class_names if name not in names]:
            raise InputError(
                f"boxes are of class '{unknown[0]}', and known are {listed(names, 8)}",
                "rename the class, or leave its boxes out",
            )
        number = np.array([names.index(name) for name in self.class_names], np.int64)
        return replace(self, classes=number[self.classes], class_names=tuple(names))

    def subset(self, kept: Bool[np.ndarray, "rows"]) -> "BoxSource":
        """Of the rows where a mask is true; classes keep their indices."""
        counts = self.counts
        boxes = np.repeat(kept, counts)
        return BoxSource(
            self.xyxy[boxes],
            self.classes[boxes],
            None if self.scores is None else self.scores[boxes],
            np.cumsum([0, *counts[kept]], dtype=np.int64),
            self.class_names,
        )
