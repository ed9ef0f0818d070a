"""What a reader is asked for, and how it says that it cannot."""

from dataclasses import dataclass

from modicum.data.image import ImageRef
from modicum.data.intensity_window import BACKGROUND, IntensityWindow


class Unreadable(Exception):
    """A file's content cannot be used; ``reason`` says why, with nothing from a patient's header."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True)
class Request:
    """One call of ``read_image``, as the readers see it."""

    ref: ImageRef
    window: tuple[float | int, float | int] | None
    at_least: tuple[int, int] | None
    max_pixels: int
    intensity: IntensityWindow | str | None = None
    empty: bool = False

    @property
    def rule(self) -> str | None:
        """``range`` or ``percentile``, where one of them was asked for."""
        return self.intensity if isinstance(self.intensity, str) else None

    @property
    def background(self) -> float | int | None:
        """The value that becomes exactly 0, where one is set apart."""
        if isinstance(self.intensity, IntensityWindow):
            return self.intensity.background
        return BACKGROUND if self.rule == "percentile" else None

    @property
    def window_ends(self) -> tuple[float, float] | None:
        """The values that the asked window shows as 0 and as 1."""
        if isinstance(self.intensity, IntensityWindow):
            return float(self.intensity.low), float(self.intensity.high)
        if self.window is None:
            return None
        centre, width = self.window
        return centre - width / 2, centre + width / 2

    def check_size(self, *sides: int) -> None:
        """Refuses empty and absurdly large images; called with the header's sides, before any decoding."""
        shown = " x ".join(str(side) for side in sides)
        if any(side < 1 for side in sides):
            raise Unreadable(f"has no pixels ({shown})")
        pixels = 1
        for side in sides:
            pixels *= side
        if pixels > self.max_pixels:
            raise Unreadable(
                f"declares {shown} = {pixels:,} pixels, more than the {self.max_pixels:,} allowed "
                "(decompression bomb?)"
            )

    def choose(self, what: str, asked: int | None, count: int, default: int) -> int:
        """The position asked for, or the default; refused where the file has none such."""
        if asked is None:
            return default
        if not 0 <= asked < count:
            raise Unreadable(f"{what} {asked} was asked for, but it has {count} (0 to {count - 1})")
        return asked

    def allow_only(self, what: str, *parts: str) -> None:
        """Refuses a reference whose part makes no sense for this kind of file."""
        for part in ("frame", "axis", "index", "array"):
            if part not in parts and getattr(self.ref, part) is not None:
                raise Unreadable(f"'{part}=' in its reference does not apply to {what}")
