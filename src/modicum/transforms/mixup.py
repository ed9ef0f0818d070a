"""Mixup: two images of a batch, or of a batch and its partners, blended with all that belongs to them.

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
    """A batch blended with itself in a random other order, by PyTorch's generator; see :func:`blend`.

    Args:
        batch: ``image`` float ``[b, c, h, w]`` and what lies on it.
        alpha: the share is drawn from Beta(alpha, alpha): over 0; below 1 one of the two images mostly prevails.
        kinds: of names that have none by convention.

    Raises:
        InputError: a mask of numbers that cannot be blended, or a picture without a kind.
    """
    own = {name: value for name, value in batch.items() if not name.startswith(RELATIVES)}
    count = len(require_image(batch))
    share = _share(alpha)
    order = torch.randperm(count)
    other = {
        name: value[order.to(value.device)]
        for name, value in own.items()
        if isinstance(value, Tensor) and value.ndim and len(value) == count
    }
    return blend(batch, other, share, kinds)


def blend(first: Batch, second: Batch, share: Share, kinds: Kinds = None) -> Batch:
    """Two batches in one, each tensor as its kind wants it.

    =============================  ==================================================================================
    images, saliency               ``share`` of the first and the rest of the second
    label maps                     the same, of channels of 0 to 1
    ``fov``                        a pixel counts where it does in both; where one has none, in the other
    boxes with classes, points     those of both
    targets of floating point      as images: the ``labels`` of several findings, a value to be estimated
    all else                       of the first: whole numbers stand for something and have no mean, features and text
                                   belong to one image, relatives are not touched
    =============================  ==================================================================================

    A loss on classes that are whole numbers takes both: ``share * loss(outputs, first) + (1 - share) * loss(outputs,
    second)``.

    Args:
        first: a batch.
        second: another, of as many rows, for instance ``without_prefix(batch, PARTNER)``; it has at least what the first
            has to be blended.
        share: of the first, one for all or one a row.
        kinds: of names that have none by convention.

    Raises:
        InputError: the second batch lacks something; label maps that are no channels of 0 to 1; a picture without a kind.
    """
    check_pictures(first, kinds)
    mixed = dict(first)
    own = {name: value for name, value in first.items() if not name.startswith(RELATIVES)}
    for name in names_of(own, Kind.IMAGE, Kind.SALIENCY, Kind.LABEL_MAP, kinds=kinds):
        if name != FIELD_OF_VIEW:
            mixed[name] = _blended(name, own[name], _of(second, name), share)
    for name in names_of(own, Kind.TARGET, kinds=kinds):
        if isinstance(own[name], Tensor) and own[name].is_floating_point():
            mixed[name] = _lerp(own[name], _of(second, name), share)
    for name in names_of(own, Kind.BOXES, Kind.POINTS, kinds=kinds):
        for both in (name, box_classes_of(name)):
            if own.get(both) is not None:
                mixed[both] = torch.cat((own[both], _of(second, both)), 1)
    inside = [batch[FIELD_OF_VIEW] != 0 for batch in (own, second) if batch.get(FIELD_OF_VIEW) is not None]
    if inside:
        mixed[FIELD_OF_VIEW] = inside[0] & inside[-1]
    return mixed


def _blended(name: str, first: Tensor, second: Tensor, share: Share) -> Tensor:
    if not first.is_floating_point():
        raise InputError(
            f"mixup blends channels of 0 to 1, and '{name}' is {str(first.dtype).removeprefix('torch.')}",
            "assemble the batch first",
        )
    return _lerp(first, second, share)


def _lerp(first: Tensor, second: Tensor, share: Share) -> Tensor:
    if isinstance(share, Tensor):
        share = share.to(first).view(-1, *[1] * (first.ndim - 1))
    return torch.lerp(second, first, share)


def _of(batch: Batch, name: str) -> Tensor:
    if batch.get(name) is None:
        raise InputError(
            f"the second batch has no '{name}' to blend with", f"its keys are: {', '.join(sorted(batch))}"
        )
    return batch[name]


def _share(alpha: float) -> float:
    return float(torch.distributions.Beta(alpha, alpha).sample())
