"""A chain of augmentation operations, read from a recipe and run on a batch.

>>> augment = Augmentation("fundus", size=64)
>>> batch = {"image": torch.rand(4, 3, 96, 96), "label": torch.arange(4)}
>>> augment(batch, torch.Generator().manual_seed(0))["image"].shape
torch.Size([4, 3, 64, 64])
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import ValidationError

from modicum.batch import Batch, Kind, Kinds, check_pictures, declared_kinds, for_each_relative
from modicum.errors import InputError, did_you_mean
from modicum.transforms import misaligned_pairs, random_geometry, random_photometry
from modicum.transforms.batch_geometry import warp_batch
from modicum.transforms.geometry import Size, Stage, resize_stage
from modicum.transforms.operation import GeometricOperation, Operation, require_image
from modicum.transforms.policy import Policy
from modicum.transforms.presets import PRESETS
from modicum.transforms.rand_augment import RandAugment
from modicum.transforms.random_geometry import as_size
from modicum.transforms.scale_crop import RandomScaleCrop

OPERATIONS: dict[str, type[Operation]] = {
    kind.model_fields["name"].default: kind
    for kind in (
        random_geometry.HorizontalFlip,
        random_geometry.VerticalFlip,
        random_geometry.Rotate,
        random_geometry.Translate,
        random_geometry.Zoom,
        random_geometry.Resize,
        random_geometry.RandomResizedCrop,
        random_photometry.Brightness,
        random_photometry.Contrast,
        random_photometry.Saturation,
        random_photometry.Hue,
        random_photometry.ColorJitter,
        random_photometry.Grayscale,
        random_photometry.GaussianBlur,
        random_photometry.Gamma,
        random_photometry.GaussianNoise,
        random_photometry.RandomErasing,
        misaligned_pairs.Misalign,
        misaligned_pairs.MisalignElastic,
        Policy,
        RandAugment,
        RandomScaleCrop,
    )
}


class Augmentation:
    """Runs operations on a batch, one after another, and resizes the images to one size.

    Neighbouring geometric operations are composed into one sampling grid an image: one interpolation instead
    of one per operation, which is faster and keeps small lesions sharp. Flips are moved past photometric
    operations to the next grid. Masks, boxes and points follow, each tensor according to its kind
    (:class:`~modicum.batch.Kind`).

    Args:
        operations: a preset's name or a list of operations (see :func:`parse_augmentation`).
        size: size of the output images, (height, width) or one number for a square. A
            ``random_resized_crop`` or ``resize`` without a size of its own goes there; otherwise a resize is
            added at the end. None keeps the size that comes in, but for operations with a size of their own.
        patch: size of windows cropped at random positions from the output, (height, width) or one number for a square,
            instead of that resize: a network trained on windows is applied to whole images, at the same scale. A
            ``random_scale_crop`` without a size of its own cuts them itself. Beyond smaller images is black.
        kinds: of names in a batch that have none by convention, such as ``{"heatmap": "saliency"}``.

    Raises:
        InputError: unknown preset, operation, parameter or kind, a value outside its range, or an impossible size.
    """

    def __init__(
        self,
        operations: object,
        size: int | Size | None = None,
        patch: int | Size | None = None,
        kinds: Kinds = None,
    ) -> None:
        self.operations = parse_augmentation(operations)
        self.kinds = declared_kinds(kinds)
        try:
            self.size = None if size is None else as_size(size)
            self.patch = None if patch is None else as_size(patch)
        except ValueError as error:
            raise InputError(f"augmentation: {error}", "give a size in pixels") from None

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The augmented batch: the same keys, with ``image``, its masks, boxes and points replaced.

        Relatives (``fellow_image``, ``partner_image``) are augmented by separate draws, after the rows themselves.

        Args:
            batch: ``image`` float [batch, channels, height, width] in [0, 1], and tensors with a kind; those
                without a geometry (targets, text, features) pass through.
            generator: on the CPU. The same state gives the same augmentation on every device.

        Raises:
            InputError: no image; an image tensor without a kind, or of another size than its image.
        """
        check_pictures(batch, self.kinds)
        return for_each_relative(batch, lambda part, kinds: self._run(part, generator, kinds), self.kinds)

    def _run(self, batch: Batch, generator: torch.Generator, kinds: Mapping[str, Kind]) -> Batch:
        """Runs all operations on a batch of one image per row."""
        image = require_image(batch)
        count, channels = image.shape[:2]
        canvas: Size = (image.shape[2], image.shape[3])
        pending: list[Stage] = []
        for operation in self.operations:
            if isinstance(operation, GeometricOperation):
                output = self.patch if self.patch and operation.cuts else self.size
                pending.append(operation.stage(count, (channels, *canvas), generator, output))
                canvas = pending[-1].target
                continue
            if any(stage.edge != "exact" for stage in pending):
                batch, pending = warp_batch(batch, pending, kinds), []
            batch = operation.apply(batch, generator, kinds)
        if self.patch is not None:
            if canvas != self.patch:
                cut = RandomScaleCrop(p=0.0)
                pending.append(cut.stage(count, (channels, *canvas), generator, self.patch))
        elif self.size is not None and canvas != self.size:
            pending.append(resize_stage(count, canvas, self.size))
        return warp_batch(batch, pending, kinds)

    def describe(self) -> list[dict[str, Any]]:
        """The operations with all their parameters as plain values, for a recipe; parses back to the same."""
        return describe_augmentation(self.operations)

    def __repr__(self) -> str:
        return f"Augmentation({self.describe()}, size={self.size}, patch={self.patch})"


def parse_augmentation(value: object) -> tuple[Operation, ...]:
    """Reads an augmentation from a recipe.

    Args:
        value: a preset's name, such as ``"fundus"``, or a list whose items are operations, names, or mappings
            such as ``{"name": "rotate", "degrees": [-10, 10], "p": 0.5}``.

    Raises:
        InputError: unknown preset, operation or parameter (with a suggestion), or a value outside its range.
    """
    if isinstance(value, str):
        if value not in PRESETS:
            hint = did_you_mean(value, PRESETS)
            if value in OPERATIONS:
                hint = f"that is an operation: write it as a list, [{value}]"
            raise InputError(f"unknown augmentation '{value}'", hint)
        return PRESETS[value]
    if not isinstance(value, Sequence):
        raise InputError(
            f"augmentation is {value!r}", f"give a preset ({', '.join(PRESETS)}) or a list of operations"
        )
    return tuple(_parse_operation(item, number) for number, item in enumerate(value, start=1))


def describe_augmentation(operations: Sequence[Operation]) -> list[dict[str, Any]]:
    """Operations as plain dicts of names, numbers and lists, for YAML or JSON; parses back to the same."""
    return [operation.model_dump(mode="json") for operation in operations]


def _parse_operation(item: object, number: int) -> Operation:
    if isinstance(item, Operation):
        return item
    settings: dict[str, Any] = {"name": item} if isinstance(item, str) else {}
    if isinstance(item, Mapping):
        settings = dict(item)
    name = settings.get("name")
    if not isinstance(name, str):
        raise InputError(
            f"augmentation, operation {number} is {item!r}",
            "give a mapping with a name, such as {name: rotate}",
        )
    if name not in OPERATIONS:
        raise InputError(
            f"augmentation, operation {number}: unknown operation '{name}'", did_you_mean(name, OPERATIONS)
        )
    try:
        return OPERATIONS[name].model_validate(settings)
    except ValidationError as error:
        raise _explain(error, OPERATIONS[name], number) from None


def _explain(error: ValidationError, kind: type[Operation], number: int) -> InputError:
    """The first problem of a configuration, as one line."""
    problem = error.errors()[0]
    parameter = str(problem["loc"][0]) if problem["loc"] else ""
    location = f"augmentation, operation {number} ({kind.model_fields['name'].default})"
    if problem["type"] == "extra_forbidden":
        fields = [field for field in kind.model_fields if field != "name"]
        return InputError(f"{location}: unknown parameter '{parameter}'", did_you_mean(parameter, fields))
    reason = problem["msg"].removeprefix("Value error, ")
    value = problem["input"]
    return InputError(f"{location}: {parameter} = {value!r}", reason[:1].lower() + reason[1:])
