"""Physical values of 0 and 1 in predicted images: maps a network's output back to physical units."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from modicum.data.image import ImageRef, MedicalImage
from modicum.data.intensity_window import BACKGROUND, IntensityWindow
from modicum.data.readers import dicom_header, read_image
from modicum.errors import BrokenImageError, InputError
from modicum.tasks.stored_values import count_of_values, number_of

LOOKED_AT = 16
"""Number of files that are opened to estimate the range (the median of their windows)."""


@dataclass(frozen=True)
class ValueRange:
    """Linear map from ``[0, 1]`` to the units of the training images.

    Attributes:
        low: the value of 0.
        high: the value of 1.
        rule: its source: ``window`` (given by the user), or the median over files by the rule ``file``
            (a file's own window, or its range) or ``percentile``.
        background: the value of exactly 0, if the background has a separate one.
        bits: bits a sample of the files.
        units: ``HU`` where the files are CT images in DICOM, else ``US`` (unspecified: the files' own).
        files: number of files that were read.
    """

    low: float | int
    high: float | int
    rule: str
    background: float | int | None = None
    bits: int = 16
    units: str = "US"
    files: int = 0

    @property
    def window(self) -> IntensityWindow:
        """The range as an intensity window."""
        return IntensityWindow(self.low, self.high, self.background)

    @property
    def ends(self) -> tuple[float, float]:
        """Smallest and largest value of an image, including its background."""
        values = [self.low, self.high, *([] if self.background is None else [self.background])]
        return float(min(values)), float(max(values))

    @property
    def described(self) -> str:
        """In words, for a file's description: ``0 to 1 became 12 to 480 HU (median of 16 files, rule percentile)``."""
        units = f" {self.units}" if self.units != "US" else ""
        how = "given window" if self.rule == "window" else f"median of {self.files} files, rule {self.rule}"
        return f"0 to 1 became {self.low:.6g} to {self.high:.6g}{units} ({how})"

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def of_files(
        cls, refs: Sequence[ImageRef], window: tuple[float, float] | None, intensity: str
    ) -> "ValueRange | None":
        """Estimates the range of images that are read with a window (centre and width), or by a rule.

        Args:
            refs: the images; one of each of up to 16 files is opened.
            window: centre and width, if given.
            intensity: ``file`` or ``percentile``.

        Returns:
            None if no file can be read.
        """
        rule = intensity if intensity != "file" and window is None else None
        windows: list[tuple[IntensityWindow, MedicalImage]] = []
        for ref in _spread(list({ref.path: ref for ref in refs}.values())):
            try:
                image = read_image(ref, window=window, intensity=rule, empty=True)
            except BrokenImageError:
                continue  # reported when all files are decoded
            windows.append((IntensityWindow.of(image, rule), image))
        if not windows:
            return None
        low, high = (float(np.median([getattr(each, end) for each, _ in windows])) for end in ("low", "high"))
        # 8-bit and colour images have no window, even if one was given.
        windowed = window is not None and any(each.low == window[0] - window[1] / 2 for each, _ in windows)
        has_background = any(each.background is not None for each, _ in windows)
        return cls(
            low,
            high,
            rule="window" if windowed else intensity if window is None else "file",
            background=BACKGROUND if has_background else None,
            bits=max(image.source.bits for _, image in windows),
            units="HU" if all(_is_ct(image) for _, image in windows) else "US",
            files=len(windows),
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> "ValueRange | None":
        """The inverse of :meth:`as_dict`."""
        if values is None:
            return None
        for end in ("low", "high"):
            number_of(values[end], f"range's {end}")
        if values.get("background") is not None:
            number_of(values["background"], "range's background")
        for name in ("bits", "files"):
            count_of_values(values.get(name, 0), f"range's {name}")
        for name in ("rule", "units"):
            if not isinstance(values.get(name, ""), str):
                raise InputError(f"range's {name} is not a text", "restore the file that it is in")
        return cls(**values)


def _spread(refs: list[ImageRef]) -> list[ImageRef]:
    """Up to ``LOOKED_AT`` files, evenly spaced over the list."""
    indices = np.linspace(0, len(refs) - 1, min(LOOKED_AT, len(refs))).round().astype(int)
    return [refs[index] for index in indices]


def _is_ct(image: MedicalImage) -> bool:
    if image.source.format != "dicom":
        return False
    return str(dicom_header(image.source.path, ["Modality"]).get("Modality", "")).strip() == "CT"
