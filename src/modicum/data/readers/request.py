"""The request to a reader, and the error for unreadable content."""

from dataclasses import dataclass

from modicum.data.image import ImageRef
from modicum.data.intensity_window import BACKGROUND, IntensityWindow


class Unreadable(Exception):
    """A file's content cannot be used; ``reason`` says why, without anything from a patient's header."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True)
class Request:
    """The arguments of one call of ``read_image``, for the readers."""

    ref: ImageRef
    window: tuple[float | int, float | int] | None
    at_least: tuple[int, int] | None
    max_pixels: int
    intensity: IntensityWindow | str | None = None
    empty: bool = False

    @property
    def rule(self) -> str | None:
        """``range`` or ``percentile``, if one of them is requested."""
        return self.intensity if isinstance(self.intensity, str) else None

    @property
    def background(self) -> float | int | None:
        """The background value that becomes exactly 0, if any."""
        if isinstance(self.intensity, IntensityWindow):
            return self.intensity.background
        return BACKGROUND if self.rule == "percentile" else None

    @property
    def window_ends(self) -> tuple[float, float] | None:
        """The values that the requested window maps to 0 and 1."""
        if isinstance(self.intensity, IntensityWindow):
            return float(self.intensity.low), float(self.intensity.high)
        if self.window is None:
            return None
        centre, width = self.window
        return centre - width / 2, centre + width / 2

    def check_size(self, *sides: int) -> None:
        """Raises for empty and absurdly large images; called with the header's sides, before any decoding."""
        size = " x ".join(str(side) for side in sides)
        if any(side < 1 for side in sides):
            raise Unreadable(f"has no pixels ({size})")
        pixels = 1
        for side in sides:
            pixels *= side
        if pixels > self.max_pixels:
            raise Unreadable(
                f"declares {size} = {pixels:,} pixels, more than the {self.max_pixels:,} allowed "
                "(decompression bomb?)"
            )

    def choose(self, what: str, requested: int | None, count: int, default: int) -> int:
        """The requested index, or the default; raises if the file does not have it."""
        if requested is None:
            return default
        if not 0 <= requested < count:
            raise Unreadable(f"{what} {requested} was requested, but it has {count} (0 to {count - 1})")
        return requested

    def allow_only(self, what: str, *parts: str) -> None:
        """Raises for a reference with a part that does not apply to this kind of file."""
        for part in ("frame", "axis", "index", "array", "segment"):
            if part not in parts and getattr(self.ref, part) is not None:
                raise Unreadable(f"'{part}=' in its reference does not apply to {what}")
