"""Augmentation policies: lists of short chains of operations, of which each image draws one.

Lyu et al., "AADG: Automatic Augmentation for Domain Generalization on Retinal Image Segmentation" (IEEE TMI 2022, 41,
3699), section on the search space: ten operations, each at one of ten magnitudes, two in a row. There is no
probability: the drawn chain is always applied.

>>> import torch
>>> augment = Policy(policies=[[[("solarize", 3), ("color", 7)], ["invert", ("cutout", 9)]]])
>>> augment({"image": torch.rand(4, 3, 64, 64)}, torch.Generator().manual_seed(0))["image"].shape
torch.Size([4, 3, 64, 64])
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float, Int64, Shaped
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from modicum.batch import FIELD_OF_VIEW, Batch, Kind, names_of
from modicum.errors import InputError, did_you_mean
from modicum.transforms import policy_operations as operations
from modicum.transforms.operation import Drawn, Operation, Shape, happens, require_image
from modicum.transforms.windows import uniform

CutoutLabels = Literal["keep", "erase"]
Step = tuple[str, int]
SubPolicies = tuple[tuple[Step, ...], ...]

# In the order of the paper's release. Of each, the value at the lowest and at the highest magnitude: a threshold in
# levels (256 inverts nothing), bits that are kept, factors, a share of the width. None for operations without one.
MAGNITUDE_LIMITS: Mapping[str, tuple[float, float] | None] = MappingProxyType(
    {
        "autocontrast": None,
        "invert": None,
        "equalize": None,
        "solarize": (0.0, 256.0),
        "posterize": (4.0, 8.0),
        "contrast": (0.1, 1.9),
        "color": (0.1, 1.9),
        "brightness": (0.1, 1.9),
        "sharpness": (0.1, 1.9),
        "cutout": (0.0, 0.2),
    }
)
POLICY_OPERATIONS = tuple(MAGNITUDE_LIMITS)
CUTOUT = POLICY_OPERATIONS.index("cutout")
# On a CPU, so many levels are processed together that they stay in its cache: a whole large batch takes three times
# as long.
_CACHED_LEVELS = 2**18
# Marks the missing steps of a shorter chain.
NOTHING = -1


def magnitude_values(
    operation: str, magnitude: Int64[Tensor, "batch"], magnitudes: int = 10
) -> Float[Tensor, "batch"]:
    """The parameters of bins 0 .. ``magnitudes - 1`` of an operation: evenly spaced between its limits, as float64."""
    lowest, highest = MAGNITUDE_LIMITS[operation] or (0.0, 0.0)
    return lowest + magnitude.double() / (magnitudes - 1) * (highest - lowest)


def draw_sub_policies(
    policies: Int64[Tensor, "policies sub_policies steps 2"],
    policy: Int64[Tensor, "batch"],
    generator: torch.Generator,
    counts: Int64[Tensor, "policies"] | None = None,
) -> Drawn:
    """Draws one chain for each image from its policy, all with the same probability.

    Args:
        policies: indices of operations (:data:`POLICY_OPERATIONS`; -1 for none) and magnitude bins; on the CPU.
        policy: which policy each image belongs to; on the CPU.
        generator: on the CPU.
        counts: number of sub-policies of each policy; all by default.

    Returns:
        ``sub_policy`` [batch], ``steps`` [batch, steps, 2], and ``centre`` [batch, steps, 2] in [0, 1): where a cutout
        would be, x and y.
    """
    batch, (slots, steps) = len(policy), policies.shape[1:3]
    available = torch.full((len(policies),), slots) if counts is None else counts
    chosen = (uniform(batch, (0.0, 1.0), generator) * available[policy]).long()
    centre = uniform(batch, (0.0, 1.0), generator, columns=2 * steps).view(batch, steps, 2)
    return {"sub_policy": chosen, "steps": policies[policy, chosen], "centre": centre}


def apply_sub_policies(
    image: Float[Tensor, "batch channels height width"], drawn: Drawn, magnitudes: int = 10
) -> Float[Tensor, "batch channels height width"]:
    """Applies to each image its chain of operations, at the 256 levels of 8-bit images.

    Args:
        image: in [0, 1], 1 or 3 channels, on any device.
        drawn: ``steps`` and ``centre`` of :func:`draw_sub_policies`.
        magnitudes: number of magnitude bins.

    Raises:
        InputError: neither 1 nor 3 channels.
    """
    whole = image.device.type != "cpu"
    size = len(image) if whole else max(1, _CACHED_LEVELS // image[:1].numel())
    augmented = torch.empty_like(image)
    parts = (each.split(size) for each in (image, drawn["steps"], drawn["centre"], augmented))
    for part, steps, centres, output in zip(*parts, strict=True):
        torch.div(_apply_steps(part, steps, centres, magnitudes), 255, out=output)
    return augmented


def _apply_steps(image: Tensor, steps: Tensor, centres: Tensor, magnitudes: int) -> operations.Levels:
    levels = operations.to_levels(image)
    for step, centre in zip(steps.unbind(1), centres.unbind(1), strict=True):
        chosen = step[:, 0].unique().tolist()
        if len(chosen) == 1:
            levels = _apply(chosen[0], levels, step[:, 1], centre, magnitudes)
            continue
        changed = torch.empty_like(levels)
        for index in chosen:
            rows = (step[:, 0] == index).nonzero().flatten()
            on_device = rows.to(image.device)
            part = _apply(index, levels[on_device], step[rows, 1], centre[rows], magnitudes)
            changed.index_copy_(0, on_device, part)
        levels = changed
    return levels


def _apply(
    index: int, levels: Tensor, magnitude: Tensor, centre: Tensor, magnitudes: int
) -> operations.Levels:
    """One operation, by its index, on images that all have it."""
    if index == NOTHING:
        return levels
    name = POLICY_OPERATIONS[index]
    value = magnitude_values(name, magnitude, magnitudes)
    if name == "cutout":
        height, width = levels.shape[2:]
        return operations.cutout(levels, operations.cutout_boxes(centre, value, (height, width)))
    change = getattr(operations, name)
    return change(levels) if MAGNITUDE_LIMITS[name] is None else change(levels, value)


def erase_cut_labels(
    mask: Shaped[Tensor, "batch *shape"], drawn: Drawn, magnitudes: int = 10
) -> Shaped[Tensor, "batch *shape"]:
    """Masks [batch, height, width] or [batch, channels, height, width] with 0 in the squares that were cut out."""
    planes = mask.unsqueeze(1) if mask.ndim == 3 else mask
    height, width = planes.shape[2:]
    for step, centre in zip(drawn["steps"].unbind(1), drawn["centre"].unbind(1), strict=True):
        share = magnitude_values("cutout", step[:, 1], magnitudes) * (step[:, 0] == CUTOUT)
        boxes = operations.cutout_boxes(centre, share, (height, width))
        if bool((boxes >= 0).any()):
            planes = planes.masked_fill(operations.inside_boxes(boxes, (height, width), mask.device), 0)
    return planes.view(mask.shape)


class Policy(Operation):
    """Applies to each image a random chain of operations: of a random policy, a random sub-policy.

    Images come out at the 256 levels of 8-bit images, and each operation gives exactly what Pillow gives. Images have 1
    or 3 channels.

    Attributes:
        policies: policies of sub-policies of steps, a step being an operation's name and a magnitude bin
            (``["solarize", 3]``). None: each image draws every step from all operations and bins ("random policy").
        magnitudes: number of bins; bin 0 is an operation's lower limit, the last its upper one
            (:data:`MAGNITUDE_LIMITS`).
        length: steps of a random policy's chain.
        cutout_labels: whether label maps are kept under a cutout, or are 0 there (the field of view is kept).
    """

    name: Literal["policy"] = "policy"
    policies: tuple[SubPolicies, ...] | None = None
    magnitudes: Annotated[int, Field(ge=2)] = 10
    length: Annotated[int, Field(ge=1)] = 2
    cutout_labels: CutoutLabels = "keep"

    @field_validator("policies", mode="before")
    @classmethod
    def _readable(cls, value: object) -> object:
        return None if value is None else _parse_policies(value)

    @model_validator(mode="after")
    def _bins_exist(self) -> "Policy":
        for location, (operation, magnitude) in _steps_with_locations(self.policies or ()):
            if not 0 <= magnitude < self.magnitudes:
                raise InputError(
                    f"{location}: {operation} has magnitude {magnitude}",
                    f"give a bin from 0 to {self.magnitudes - 1}",
                )
        return self

    def draw(self, count: int, shape: Shape, generator: torch.Generator) -> Drawn:
        """The result of :func:`draw_sub_policies`, for newly drawn policies."""
        if self.policies is None:
            kinds = uniform(count, (0.0, float(len(POLICY_OPERATIONS))), generator, self.length)
            bins = uniform(count, (0.0, float(self.magnitudes)), generator, self.length)
            table = torch.stack((kinds, bins), -1).long().unsqueeze(1)
            return draw_sub_policies(table, torch.arange(count), generator)
        table, counts = _as_table(self.policies)
        policy = uniform(count, (0.0, float(len(table))), generator).long()
        return draw_sub_policies(table, policy, generator, counts)

    def apply(self, batch: Batch, generator: torch.Generator, kinds: Mapping[str, Kind]) -> Batch:
        image = require_image(batch)
        chosen = happens(len(image), self.p, generator).nonzero().flatten()
        if len(chosen) == 0:
            return batch
        channels, height, width = image.shape[1:]
        drawn = self.draw(len(chosen), (channels, height, width), generator)
        rows = chosen.to(image.device)
        changed = apply_sub_policies(image[rows], drawn, self.magnitudes)
        batch = {**batch, "image": image.index_copy(0, rows, changed)}
        for name in erasable(batch, kinds) if self.cutout_labels == "erase" else ():
            erased = erase_cut_labels(batch[name][rows], drawn, self.magnitudes)
            batch[name] = batch[name].index_copy(0, rows, erased)
        return batch


def erasable(batch: Batch, kinds: Mapping[str, Kind] | None = None) -> list[str]:
    """The label maps that a cutout may erase: all but the field of view, whose 0 means that a pixel does not count."""
    return [name for name in names_of(batch, Kind.LABEL_MAP, kinds=kinds) if name != FIELD_OF_VIEW]


def _as_table(policies: Sequence[SubPolicies]) -> tuple[Tensor, Tensor]:
    """Policies as indices [policies, sub_policies, steps, 2], padded with -1, and how many sub-policies each has."""
    slots = max(len(policy) for policy in policies)
    length = max(len(steps) for policy in policies for steps in policy)
    table = torch.full((len(policies), slots, length, 2), NOTHING)
    for p, policy in enumerate(policies):
        for q, steps in enumerate(policy):
            for step, (operation, magnitude) in enumerate(steps):
                table[p, q, step] = torch.tensor([POLICY_OPERATIONS.index(operation), magnitude])
    return table, torch.tensor([len(policy) for policy in policies])


def _parse_policies(value: object) -> tuple[SubPolicies, ...]:
    """Parses policies as written in a file, one by one, so that an error names the location."""
    parsed = []
    for p, policy in enumerate(_items(value, "policies"), start=1):
        sub_policies = []
        for q, steps in enumerate(_items(policy, f"policy {p}"), start=1):
            location = f"policy {p}, sub-policy {q}"
            sub_policies.append(tuple(_parse_step(step, location) for step in _items(steps, location)))
        parsed.append(tuple(sub_policies))
    return tuple(parsed)


def _items(value: object, location: str) -> Sequence[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise InputError(
            f"{location} is {value!r}",
            "give policies as a list of lists of chains, a chain being a list of steps like [solarize, 3]",
        )
    return value


def _parse_step(step: object, location: str) -> Step:
    name = step[0] if isinstance(step, Sequence) and not isinstance(step, str) and step else step
    if not isinstance(name, str):
        raise InputError(
            f"{location}: a step is {step!r}", "write it as [solarize, 3]: operation, magnitude bin"
        )
    if name not in MAGNITUDE_LIMITS:
        raise InputError(f"{location}: unknown operation '{name}'", did_you_mean(name, MAGNITUDE_LIMITS))
    if step in (name, [name], (name,)) and MAGNITUDE_LIMITS[name] is None:
        return name, 0
    rest = [] if isinstance(step, str) else list(step)[1:]  # type: ignore[call-overload]
    if len(rest) != 1 or isinstance(rest[0], bool) or not isinstance(rest[0], int):
        raise InputError(f"{location}: a step is {step!r}", f"give {name} one magnitude bin: [{name}, 3]")
    return name, rest[0]


def _steps_with_locations(policies: Sequence[SubPolicies]) -> list[tuple[str, Step]]:
    return [
        (f"policy {p}, sub-policy {q}", step)
        for p, policy in enumerate(policies, start=1)
        for q, steps in enumerate(policy, start=1)
        for step in steps
    ]
