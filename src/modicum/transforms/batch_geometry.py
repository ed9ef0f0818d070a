"""Geometric steps on a batch: the image and all tensors in its geometry."""

from collections.abc import Sequence

from modicum.batch import Batch, Kind, Kinds, box_classes_of, names_of
from modicum.transforms.coordinates import apply_stages_to_boxes, apply_stages_to_points, classes_of_seen
from modicum.transforms.geometry import Stage, apply_stages, apply_stages_to_mask


def warp_batch(batch: Batch, stages: Sequence[Stage], kinds: Kinds = None) -> Batch:
    """Runs a chain of steps on a batch, each tensor according to its kind; tensors without a geometry pass through.

    ====================  ================================================================================================
    ``image``             :func:`~modicum.transforms.geometry.apply_stages`: bilinear, black outside
    ``saliency``          the same: 0 outside
    ``label_map``         :func:`~modicum.transforms.geometry.apply_stages_to_mask`: the nearest pixel, 0 outside
    ``boxes``, ``points``  :mod:`modicum.transforms.coordinates`; of a box that leaves the image, the class becomes -1
    ====================  ================================================================================================

    Args:
        batch: inputs of one image per row, without relatives (see :func:`~modicum.batch.for_each_relative`).
        stages: geometric steps of these images.
        kinds: kinds of further names than :data:`~modicum.batch.KINDS`.
    """
    moved = dict(batch)
    if not stages:
        return moved
    for name in names_of(batch, Kind.IMAGE, kinds=kinds):
        moved[name] = apply_stages(batch[name], stages)
    for name in names_of(batch, Kind.SALIENCY, kinds=kinds):
        planes = batch[name].unsqueeze(1) if batch[name].ndim == 3 else batch[name]
        moved[name] = apply_stages(planes, stages).view(*batch[name].shape[:-2], *stages[-1].target)
    for name in names_of(batch, Kind.LABEL_MAP, kinds=kinds):
        moved[name] = apply_stages_to_mask(batch[name], stages)
    for name in names_of(batch, Kind.POINTS, kinds=kinds):
        moved[name] = apply_stages_to_points(batch[name], stages)
    for name in names_of(batch, Kind.BOXES, kinds=kinds):
        moved[name] = apply_stages_to_boxes(batch[name], stages)
        classes = box_classes_of(name)
        if batch.get(classes) is not None:
            moved[classes] = classes_of_seen(batch[classes], moved[name])
    return moved
