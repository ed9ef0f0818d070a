"""Parallel frames of a file as one stack, and where the pixels of another image fall in it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from modicum.data.plane import Grid, Plane
from modicum.data.readers.request import Unreadable

_SAME_DEPTH = 1e-3
_SAME_STEP = 1e-3


@dataclass(frozen=True, eq=False)
class FrameStack:
    """Frames of one orientation and pixel size.

    Attributes:
        plane: of the first frame; the others differ in their first pixel only.
        normal: unit vector across the frames.
        levels: depths at which frames lie, ascending, in millimetres along the normal from the first frame.
        origins: of each level the centre of its first pixel.
        level_of: of each frame, its level.
        thickness: millimetres that a frame fills.
        height: rows of each frame.
        width: columns.
    """

    plane: Plane
    normal: Float64[np.ndarray, "3"]
    levels: Float64[np.ndarray, "levels"]
    origins: Float64[np.ndarray, "levels 3"]
    level_of: Int64[np.ndarray, "frames"]
    thickness: float
    height: int
    width: int

    @classmethod
    def of(
        cls, planes: Sequence[Plane | None], thickness: float | None, size: tuple[int, int]
    ) -> "FrameStack":
        """From where each frame lies.

        Args:
            planes: of the frames.
            thickness: of a slice; None for the least distance of two frames.
            size: rows and columns.

        Raises:
            Unreadable: a frame does not say where it lies, or they differ in orientation or pixel size.
        """
        placed = [plane for plane in planes if plane is not None]
        if not placed or len(placed) < len(planes):
            raise Unreadable("does not say where its frames lie")
        first = placed[0]
        steps = np.array([(*plane.row_step, *plane.column_step) for plane in placed])
        if np.abs(steps - steps[0]).max() > _SAME_STEP * first.pixel():
            raise Unreadable("has frames of several orientations or pixel sizes, which are no stack")
        normal = np.cross(first.column_step, first.row_step)
        normal /= np.linalg.norm(normal)
        origins = np.array([plane.origin for plane in placed])
        depths = (origins - origins[0]) @ normal
        order = np.argsort(depths, kind="stable")
        starts = np.r_[True, np.diff(depths[order]) > _SAME_DEPTH]
        level_of = np.empty(len(placed), np.int64)
        level_of[order] = np.cumsum(starts) - 1
        levels = depths[order][starts]
        if thickness is None:
            thickness = float(np.diff(levels).min()) if len(levels) > 1 else 0.0
        return cls(first, normal, levels, origins[order][starts], level_of, thickness, *size)

    def points(self, grid: Grid) -> Float64[np.ndarray, "height width 3"]:
        """The centres of a grid's pixels."""
        rows, columns = np.mgrid[: grid.height, : grid.width]
        steps = np.array([grid.plane.row_step, grid.plane.column_step])
        return np.array(grid.plane.origin) + np.stack([rows, columns], -1) @ steps

    def nearest(
        self, grid: Grid
    ) -> tuple[
        Int64[np.ndarray, "height width"],
        Int64[np.ndarray, "height width"],
        Int64[np.ndarray, "height width"],
        Bool[np.ndarray, "height width"],
    ]:
        """Of each pixel of a grid the nearest level, row and column, and whether it lies within a frame."""
        points = self.points(grid)
        depth = (points - self.origins[0]) @ self.normal + self.levels[0]
        level = np.searchsorted((self.levels[1:] + self.levels[:-1]) / 2, depth)
        row, column = (np.rint(at).astype(np.int64) for at in self._in_plane(points - self.origins[level]))
        inside = np.abs(depth - self.levels[level]) <= self.thickness / 2 + _SAME_DEPTH
        inside &= (row >= 0) & (row < self.height) & (column >= 0) & (column < self.width)
        return level, row.clip(0, self.height - 1), column.clip(0, self.width - 1), inside

    def between(
        self, grid: Grid
    ) -> tuple[Float64[np.ndarray, "3 height width"], Bool[np.ndarray, "height width"]]:
        """Of each pixel of a grid its level, row and column as fractions, and whether it lies in the stack."""
        points = self.points(grid)
        depth = (points - self.origins[0]) @ self.normal + self.levels[0]
        level = np.interp(depth, self.levels, np.arange(len(self.levels), dtype=np.float64))
        # Frames may be shifted in their own plane, as with a tilted gantry.
        origin = np.stack([np.interp(depth, self.levels, self.origins[:, at]) for at in range(3)], -1)
        row, column = self._in_plane(points - origin)
        ends = self.levels[[0, -1]] + np.array([-0.5, 0.5]) * self.thickness
        inside = (depth >= ends[0] - _SAME_DEPTH) & (depth <= ends[1] + _SAME_DEPTH)
        return np.stack([level, row, column]), inside

    def _in_plane(
        self, apart: Float64[np.ndarray, "height width 3"]
    ) -> tuple[Float64[np.ndarray, "height width"], Float64[np.ndarray, "height width"]]:
        down, right = np.array(self.plane.row_step), np.array(self.plane.column_step)
        return apart @ down / (down @ down), apart @ right / (right @ right)

    def distance(self, grid: Grid) -> float:
        """Millimetres from the nearest pixel of a grid to the nearest frame, along the normal."""
        depth = (self.points(grid) - self.origins[0]) @ self.normal + self.levels[0]
        return float(np.abs(depth[..., None] - self.levels).min())
