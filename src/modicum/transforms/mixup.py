"""Mixup: blends two images of a batch, or of a batch and its partners, with their targets and masks.

Zhang et al., "mixup: Beyond Empirical Risk Minimization" (ICLR 2018, arXiv 1710.09412), with the mixing of the authors'
code: one share for a batch, each image with another one of the batch.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from modicum.batch import (
    FIELD_OF_VIEW,
    RELATIVES,
    Batch,
    Kind,
    Kinds,
    box_classes_of,
    check_pictures,
    names_of,
)
from modicum.errors import InputError
from modicum.transforms.operation import require_image

Share = float | Float[Tensor, "batch"]


def mixup(batch: Batch, alpha: float, kinds: Kinds = None) -> Batch:
    """Blends a batch with a random permutation of itself, by PyTorch's generator; see :func:`blend`.

    Args:
        batch: ``image`` float ``[b, c, h, w]`` with its masks and targets.
        alpha: above 0; the share is drawn from Beta(alpha, alpha); below 1 one of the two images mostly prevails.
        kinds: kinds of names that have none by convention.

    Raises:
        InputError: a mask whose values cannot be blended, or an image without a kind.
    """
    without_relatives = {name: value for name, value in batch.items() if not name.startswith(RELATIVES)}
    count = len(require_image(batch))
    share = _share(alpha)
    order = torch.randperm(count)
    permuted = {
        name: value[order.to(value.device)]
        for name, value in without_relatives.items()
        if isinstance(value, Tensor) and value.ndim and len(value) == count
    }
    return blend(batch, permuted, share, kinds)


def blend(first: Batch, second: Batch, share: Share, kinds: Kinds = None) -> Batch:
    """Blends two batches, each tensor according to its kind.

    =============================  ==================================================================================
    images, saliency               ``share`` of the first and the rest of the second
    label maps                     the same, of channels of 0 to 1
    ``fov``                        a pixel counts where it does in both; where one has none, in the other
    boxes with classes, points     those of both
    targets of floating point      as images: the ``labels`` of several findings, a value to be estimated
    all else                       of the first: class numbers have no mean, features and text
                                   belong to one image, relatives are not touched
    =============================  ==================================================================================

    A loss on classes that are whole numbers takes both: ``share * loss(outputs, first) + (1 - share) * loss(outputs,
    second)``.

    Args:
        first: a batch.
        second: another batch of as many rows, for instance ``without_prefix(batch, PARTNER)``; it has at least the
            tensors of the first that are blended.
        share: share of the first, one for all or one per row.
        kinds: kinds of names that have none by convention.

    Raises:
        InputError: a tensor missing in the second batch; label maps that are not channels of 0 to 1; an image without a
            kind.
    """
    check_pictures(first, kinds)
    mixed = dict(first)
    without_relatives = {name: value for name, value in first.items() if not name.startswith(RELATIVES)}
    for name in names_of(without_relatives, Kind.IMAGE, Kind.SALIENCY, Kind.LABEL_MAP, kinds=kinds):
        if name != FIELD_OF_VIEW:
            mixed[name] = _blended(name, without_relatives[name], _of(second, name), share)
    for name in names_of(without_relatives, Kind.TARGET, kinds=kinds):
        if isinstance(without_relatives[name], Tensor) and without_relatives[name].is_floating_point():
            mixed[name] = _lerp(without_relatives[name], _of(second, name), share)
    for name in names_of(without_relatives, Kind.BOXES, Kind.POINTS, kinds=kinds):
        for both in (name, box_classes_of(name)):
            if without_relatives.get(both) is not None:
                mixed[both] = torch.cat((without_relatives[both], _of(second, both)), 1)
    inside = [
        batch[FIELD_OF_VIEW] != 0
        for batch in (without_relatives, second)
        if batch.get(FIELD_OF_VIEW) is not None
    ]
    if inside:
        mixed[FIELD_OF_VIEW] = inside[0] & inside[-1]
    return mixed


def _blended(name: str, first: Tensor, second: Tensor, share: Share) -> Tensor:
    if not first.is_floating_point():
        raise InputError(
            f"mixup blends channels of 0 to 1, but '{name}' is {str(first.dtype).removeprefix('torch.')}",
            "convert label maps to channels first, with task.assemble(batch)",
        )
    return _lerp(first, second, share)


def _lerp(first: Tensor, second: Tensor, share: Share) -> Tensor:
    if isinstance(share, Tensor):
        share = share.to(first).view(-1, *[1] * (first.ndim - 1))
    return torch.lerp(second, first, share)


def _of(batch: Batch, name: str) -> Tensor:
    if batch.get(name) is None:
        raise InputError(
            f"the second batch has no '{name}' to blend with (keys: {', '.join(sorted(batch))})",
            f"add '{name}' to it, or leave it out of the first",
        )
    return batch[name]


def _share(alpha: float) -> float:
    return float(torch.distributions.Beta(alpha, alpha).sample())
