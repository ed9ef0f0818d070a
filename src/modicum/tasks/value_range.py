"""What 0 and 1 of a made picture stand for: the way back from a network's output to physical units."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from modicum.data.image import ImageRef, MedicalImage
from modicum.data.intensity_window import BACKGROUND, IntensityWindow
from modicum.data.readers import dicom_header, read_image
from modicum.errors import BrokenImageError

LOOKED_AT = 16
"""Files whose windows the range is the median of."""


@dataclass(frozen=True)
class ValueRange:
    """The line from ``[0, 1]`` to the units of the pictures that were learned from.

    Attributes:
        low: the value that 0 stands for.
        high: the value that 1 stands for.
        rule: where it comes from: ``window`` (given by the user), or the median over files of what ``file``
            (a file's own window, or its range) or ``percentile`` found.
        background: the value that exactly 0 stands for, where one is set apart.
        bits: bits a sample of the files.
        units: ``HU`` where the files are CT images in DICOM, else ``US`` (unspecified: the files' own).
        files: how many were looked at.
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
        """The same as a window."""
        return IntensityWindow(self.low, self.high, self.background)

    @property
    def ends(self) -> tuple[float, float]:
        """Least and largest value that a picture can hold, its background included."""
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
        """The range of pictures that are read with a window (centre and width), or by a rule.

        Args:
            refs: the pictures; one of each of up to 16 files is opened.
            window: centre and width, where they are given.
            intensity: ``file`` or ``percentile``.

        Returns:
            None where no file can be read.
        """
        rule = intensity if intensity != "file" and window is None else None
        found: list[tuple[IntensityWindow, MedicalImage]] = []
        for ref in _spread(list({ref.path: ref for ref in refs}.values())):
            try:
                image = read_image(ref, window=window, intensity=rule, empty=True)
            except BrokenImageError:
                continue  # named by who decodes all of them
            found.append((IntensityWindow.of(image, rule), image))
        if not found:
            return None
        low, high = (float(np.median([getattr(one, end) for one, _ in found])) for end in ("low", "high"))
        # 8 bits and colours have no window, whatever was asked for.
        windowed = window is not None and any(one.low == window[0] - window[1] / 2 for one, _ in found)
        apart = any(one.background is not None for one, _ in found)
        return cls(
            low,
            high,
            rule="window" if windowed else intensity if window is None else "file",
            background=BACKGROUND if apart else None,
            bits=max(image.source.bits for _, image in found),
            units="HU" if all(_is_ct(image) for _, image in found) else "US",
            files=len(found),
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> "ValueRange | None":
        """The inverse of :meth:`as_dict`."""
        return None if values is None else cls(**values)


def _spread(refs: list[ImageRef]) -> list[ImageRef]:
    """Some of them, from all over the list."""
    places = np.linspace(0, len(refs) - 1, min(LOOKED_AT, len(refs))).round().astype(int)
    return [refs[place] for place in places]


def _is_ct(image: MedicalImage) -> bool:
    if image.source.format != "dicom":
        return False
    return str(dicom_header(image.source.path, ["Modality"]).get("Modality", "")).strip() == "CT"
