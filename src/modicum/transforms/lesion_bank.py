"""The lesions of one or a few annotated images, cut out one by one.

"LesionPaste: One-Shot Anomaly Detection for Medical Images" (arXiv 2203.06354; AugPaste, LNCS 13576), and its code.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor, nn

from modicum.errors import InputError
from modicum.progress import say
from modicum.wording import count_of, listed


class LesionBank(nn.Module):
    """Lesions of several types: each a connected component of a mask (8 neighbours), with its pixels alone.

    The pixels of all lesions lie one after the other, so that a bank takes no more memory than the boxes around them.

    Args:
        types: names of the types of lesions, in the order in which they are pasted.
        patches: for each lesion its pixels ``[c, height, width]`` in ``[0, 1]``, and where in them it is.
        of_type: the number of each lesion's type.
        shots: number of annotated images with each type.

    Attributes:
        heights, widths: of each lesion's box, in pixels.

    Raises:
        InputError: no lesion at all.
    """

    pixels: Tensor
    support: Tensor
    starts: Tensor
    heights: Tensor
    widths: Tensor

    def __init__(
        self,
        types: Sequence[str],
        patches: Sequence[tuple[Float[np.ndarray, "_ _ _"], Bool[np.ndarray, "_ _"]]],
        of_type: Sequence[int],
        shots: Sequence[int],
    ) -> None:
        super().__init__()
        if not patches:
            raise InputError(
                "the masks of the annotated images mark no lesion", "mark at least one, with values above 0"
            )
        self.types, self.shots = tuple(types), tuple(shots)
        self.of_type = np.asarray(of_type, dtype=np.int64)
        areas = np.array([mask.size for _, mask in patches])
        tensors = {
            "pixels": np.concatenate([(p * m).reshape(len(p), -1) for p, m in patches], 1).astype(np.float32),
            "support": np.concatenate([mask.ravel() for _, mask in patches]),
            "starts": np.cumsum(areas) - areas,
            "heights": np.array([mask.shape[0] for _, mask in patches]),
            "widths": np.array([mask.shape[1] for _, mask in patches]),
        }
        for name, values in tensors.items():
            # It is made again of the annotated images, and is no part of what is learned.
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)), persistent=False)

    @classmethod
    def from_masks(
        cls,
        images: Float[Tensor, "k c h w"] | Float[np.ndarray, "k c h w"],
        masks: Mapping[str, Bool[np.ndarray, "shots height width"]],
        least_area: int = 1,
    ) -> "LesionBank":
        """Cuts the lesions out of annotated images.

        Args:
            images: in ``[0, 1]``.
            masks: by type of lesion, where there are some in each image. A type without any is left out, with a notice.
            least_area: pixels below which a component is left out.

        Raises:
            InputError: a mask of another size than its image, values that are no numbers, or no lesion at all.
        """
        pixels = images.numpy() if isinstance(images, Tensor) else images
        if not np.isfinite(pixels).all():
            raise InputError(
                "the annotated image has values that are not numbers (NaN)",
                "read the file anew, or repair it",
            )
        kept: list[str] = []
        shots: list[int] = []
        patches, of_type = [], []
        for name, mask in masks.items():
            if mask.shape != (len(pixels), *pixels.shape[2:]):
                raise InputError(
                    f"masks of '{name}' are {list(mask.shape)}, and the images {list(pixels.shape)}",
                    "give each image a mask of its height and width",
                )
            found = [_components(image, one, least_area) for image, one in zip(pixels, mask > 0, strict=True)]
            if not any(found):
                continue
            of_type += [len(kept)] * sum(map(len, found))
            patches += [patch for of_image in found for patch in of_image]
            kept.append(name)
            shots.append(sum(bool(of_image) for of_image in found))
        if kept and (empty := [f"'{name}'" for name in masks if name not in kept]):
            say(f"lesions of type {listed(empty, 6)}: none in the annotated images, none are pasted")
        return cls(kept, patches, of_type, shots)

    def __len__(self) -> int:
        return len(self.of_type)

    @property
    def channels(self) -> int:
        """Channels of the lesions."""
        return len(self.pixels)

    @property
    def nbytes(self) -> int:
        """Memory that the bank takes."""
        return sum(buffer.nbytes for buffer in self.buffers())

    @property
    def is_grey(self) -> bool:
        """Whether all channels of all lesions are the same, as of a CT slice that is read as three channels."""
        return bool((self.pixels == self.pixels[:1]).all())

    def of(self, kind: int) -> np.ndarray:
        """Numbers of the lesions of one type."""
        return np.flatnonzero(self.of_type == kind)

    def per_image(self, kind: int) -> float:
        """Lesions of one type in an annotated image that has some."""
        return len(self.of(kind)) / self.shots[kind]

    def patch(self, number: int) -> tuple[Float[Tensor, "c h w"], Bool[Tensor, "h w"]]:
        """One lesion's pixels, black around it, and where it is."""
        start, size = int(self.starts[number]), (int(self.heights[number]), int(self.widths[number]))
        part = slice(start, start + size[0] * size[1])
        return self.pixels[:, part].reshape(-1, *size), self.support[part].reshape(size)

    def describe(self) -> str:
        """``20 MA, 12 HE``, for people."""
        counts = [f"{len(self.of(kind))} {name}" for kind, name in enumerate(self.types)]
        return f"{count_of(len(self), 'lesion')}: {', '.join(counts)}"


def _components(
    image: Float[np.ndarray, "c h w"], mask: Bool[np.ndarray, "h w"], least_area: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The connected components of a mask, each in its tight box, without neighbours that reach into it."""
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    found = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        inside = labels[box] == number
        if inside.sum() >= least_area:
            found.append((image[:, box[0], box[1]], inside))
    return found
