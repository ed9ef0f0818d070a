"""Outputs of an earlier enhancer or translator, which a run predicts from in place of the images themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float32

from modicum.data.image import ImageRef
from modicum.data.layouts.public.contents import images_in, stem_of
from modicum.data.readers import read_image
from modicum.engine.inference.dense_jobs import SUFFIX
from modicum.errors import BrokenImageError, InputError

_TOP = 65535
_KEPT = ".npy"
"""Suffix of outputs that are kept for one prediction only."""


@dataclass(frozen=True)
class EarlierOutputs:
    """Pictures by the image that they were made of.

    Attributes:
        files: image files, or arrays that :func:`keep` wrote.
        shown: what they are called in messages.
    """

    files: Mapping[ImageRef, Path]
    shown: str

    def pixels(self, ref: ImageRef, size: tuple[int, int]) -> Float32[np.ndarray, "channels height width"]:
        """The output of an image, in ``[0, 1]``.

        Args:
            ref: the image.
            size: height and width of its file, which the output must have.

        Raises:
            BrokenImageError: it cannot be read, or has another size.
        """
        file = self.files.get(ref)
        if file is None:
            raise BrokenImageError(str(ref), f"{self.shown} has no output of it")
        if file.suffix == _KEPT:
            pixels = np.load(file, allow_pickle=False).astype(np.float32) / np.float32(_TOP)
        else:
            pixels = pixels_as_written(file)
        if pixels.shape[1:] != size:
            raise BrokenImageError(
                str(ref),
                f"its output in {self.shown} has {pixels.shape[2]} x {pixels.shape[1]} pixels, it has "
                f"{size[1]} x {size[0]}",
            )
        return pixels


def pixels_as_written(file: Path) -> Float32[np.ndarray, "channels height width"]:
    """A picture by the levels of its file: 1 is the highest that it can hold, not the brightest that it does hold.

    Images of 16 bits are read by their own range elsewhere, which would stretch the contrast of each output. Numbers
    with a point stay as they are where they are in ``[0, 1]``.
    """
    image = read_image(ImageRef(file), empty=True)
    if len(image.pixels) > 1 or image.source.format not in ("png", "tiff") or image.source.bits <= 8:
        return image.pixels
    if image.source.bits == 16:
        return read_image(ImageRef(file), window=(_TOP / 2, _TOP), empty=True).pixels
    values = image.values()
    return values if values.min() >= 0 and values.max() <= 1 else image.pixels


def keep(file: Path, pixels: Float32[np.ndarray, "channels height width"]) -> Path:
    """Writes an output in ``[0, 1]`` for :class:`EarlierOutputs`, in 16 bits; returns its file."""
    file = file.with_suffix(_KEPT)
    np.save(file, np.rint(pixels * _TOP).astype(np.uint16), allow_pickle=False)
    return file


def outputs_in(folder: Path, names: Sequence[str], refs: Sequence[ImageRef]) -> EarlierOutputs:
    """The outputs in a folder, by the names of their images: of ``a.jpg``, ``a.png`` or ``a_predicted.png``.

    Args:
        folder: with the outputs, at any depth.
        names: of the images, and
        refs: where they are.

    Raises:
        InputError: no such folder; an image without an output, or with several.
    """
    if not folder.is_dir():
        raise InputError(f"--after '{folder}' is not a folder", "name a folder of outputs, or run:FOLDER")
    found: dict[str, list[Path]] = {}
    for path in images_in(folder, deep=True):
        found.setdefault(_plain(stem_of(path)), []).append(path)
    files: dict[ImageRef, Path] = {}
    for name, ref in zip(names, refs, strict=True):
        candidates = found.get(_plain(stem_of(ref.path)), [])
        if len(candidates) > 1:
            wanted = PurePosixPath(name).parent.as_posix()
            alike = [path for path in candidates if path.relative_to(folder).parent.as_posix() == wanted]
            candidates = alike or candidates
        if not candidates:
            raise InputError(
                f"--after '{folder}' has no output of image '{name}'",
                "name outputs like their images: of a.jpg, a.png or a_predicted.png",
            )
        if len(candidates) > 1:
            raise InputError(
                f"--after '{folder}' has {len(candidates)} outputs of image '{name}'",
                "keep one, or give them the images' folders",
            )
        files[ref] = candidates[0]
    return EarlierOutputs(files, f"folder '{folder.name}'")


def _plain(stem: str) -> str:
    return stem.removesuffix(SUFFIX)
