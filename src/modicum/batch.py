"""What a batch is, and what each tensor in it is: an image, a label map, boxes, text.

A batch is a dict of tensors by name, its first axis the rows. What may be done with a tensor depends on its *kind*, which
is declared once: by the names that have one by convention (:data:`KINDS`), or by whoever brings a further name
(``kinds={"heatmap": "saliency"}``). Every transform, loader and mixer goes by it.

A row may bring relatives: the same inputs of the patient's other eye (``fellow_image``, ``fellow_mask``, ...), or of a
row that a second sampler drew (``partner_image``, ...). ``fellow_NAME`` and ``partner_NAME`` have the kind of ``NAME``.

>>> kind_of("partner_mask"), kind_of("heatmap"), kind_of("heatmap", {"heatmap": "saliency"})
(<Kind.LABEL_MAP: 'label_map'>, None, <Kind.SALIENCY: 'saliency'>)
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from modicum.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

    Batch = dict[str, Tensor]
else:  # torch takes a second to import
    Batch = dict[str, Any]
"""Tensors of one batch by name; ``image`` ``[b, c, h, w]`` in ``[0, 1]``, ``row`` ``[b]`` (that of the manifest),
and what the task's targets are called."""


class Kind(StrEnum):
    """What a tensor of a batch is, with the shapes and types that transforms work on."""

    IMAGE = "image"
    """Float ``[b, c, h, w]`` in ``[0, 1]``; read bilinearly, black outside."""
    LABEL_MAP = "label_map"
    """``[b, h, w]`` or ``[b, c, h, w]`` of any type; read at the nearest pixel, 0 outside."""
    SALIENCY = "saliency"
    """Float ``[b, h, w]`` or ``[b, c, h, w]``: how much a pixel matters; read bilinearly, 0 outside."""
    BOXES = "boxes"
    """Float ``[b, m, 4]``: left, top, right, bottom in pixels, from 0 to width and height; NaN where a row has fewer."""
    POINTS = "points"
    """Float ``[b, m, 2]``: x and y, measured as boxes are; NaN where a row has fewer."""
    FEATURES = "features"
    """What a network said of the image."""
    TEXT = "text"
    """Tokens."""
    TARGET = "target"
    """Values of the task: a class, a grade, a domain."""
    ROW = "row"
    """Int64 ``[b]``: which row of the manifest."""


Kinds = Mapping[str, Kind] | Mapping[str, str] | None
"""Kinds of further names, as users give them."""

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        **dict.fromkeys(("image", "source", "target"), Kind.IMAGE),
        **dict.fromkeys(("mask", "fov"), Kind.LABEL_MAP),
        "saliency": Kind.SALIENCY,
        "boxes": Kind.BOXES,
        "points": Kind.POINTS,
        "features": Kind.FEATURES,
        **dict.fromkeys(("tokens", "tokens_mask", "sentence_index"), Kind.TEXT),
        **dict.fromkeys(
            (
                "label",
                "labels",
                "domain",
                "view",
                "missing",
                "annotated",
                "box_classes",
                "box_scores",
                "finding_set",
                "study",
            ),
            Kind.TARGET,
        ),
        "row": Kind.ROW,
    }
)
"""Names that have a kind by convention; so have ``masks:CLASS`` (label maps)."""

PICTURES = (Kind.IMAGE, Kind.LABEL_MAP, Kind.SALIENCY)
"""Kinds that have a value for each pixel of the image."""
SPATIAL = (*PICTURES, Kind.BOXES, Kind.POINTS)
"""Kinds that move with the image."""
IMAGE, FIELD_OF_VIEW = "image", "fov"
"""The names of what all else lies beside, and of the label map that is 0 where pixels do not count."""
FELLOW, PARTNER = "fellow_", "partner_"
RELATIVES = (FELLOW, PARTNER)
"""What the names of a relative's inputs begin with."""
_MASKS = "masks:"

T = TypeVar("T")


def kind_of(name: str, kinds: Kinds = None) -> Kind | None:
    """The kind of a name in a batch; None where nobody has declared one.

    Args:
        name: for instance ``mask``, ``fellow_mask``, ``masks:disc``.
        kinds: of further names; they go before the convention.

    Raises:
        InputError: ``kinds`` names a kind that does not exist.
    """
    while True:
        if kinds is not None and name in kinds:
            return _as_kind(name, kinds[name])
        prefix = prefix_of(name)
        if not prefix:
            return Kind.LABEL_MAP if name.startswith(_MASKS) else KINDS.get(name)
        name = name.removeprefix(prefix)


def declared_kinds(kinds: Kinds) -> Mapping[str, Kind]:
    """Kinds as they were given, checked. Raises :class:`~modicum.errors.InputError` for one that does not exist."""
    return {name: _as_kind(name, kind) for name, kind in (kinds or {}).items()}


def _as_kind(name: str, kind: str) -> Kind:
    try:
        return Kind(kind)
    except ValueError:
        raise InputError(
            f"'{name}' is declared as '{kind}', which is not a kind of tensor", did_you_mean(str(kind), Kind)
        ) from None


def names_of(batch: Mapping[str, Any], *wanted: Kind, kinds: Kinds = None) -> list[str]:
    """The names in a batch that are of these kinds, in the batch's order."""
    return [name for name, value in batch.items() if value is not None and kind_of(name, kinds) in wanted]


def box_classes_of(name: str) -> str:
    """What the classes of boxes are called: ``box_classes`` of ``boxes``, ``lesion_classes`` of ``lesion``."""
    return f"{name[:-2] if name.endswith('boxes') else name}_classes"


# --- relatives --------------------------------------------------------------------------------------------------------


def with_prefix(batch: Mapping[str, T], prefix: str) -> dict[str, T]:
    """A batch as it stands among another's inputs: ``image`` becomes ``fellow_image``."""
    return {prefix + name: value for name, value in batch.items()}


def without_prefix(batch: Mapping[str, T], prefix: str) -> dict[str, T]:
    """The inputs of one relative as a batch of their own: ``fellow_image`` becomes ``image``; all others are left out."""
    return {name.removeprefix(prefix): value for name, value in batch.items() if name.startswith(prefix)}


def for_each_relative(
    batch: Batch, change: Callable[[Batch, Mapping[str, Kind]], Batch], kinds: Kinds = None
) -> Batch:
    """Changes the inputs of the rows themselves, then those of each relative, which move on their own.

    Args:
        batch: inputs, with those of relatives among them.
        change: from a batch of one image a row, and its declared kinds, to a batch. Relatives without an image stay.
        kinds: of further names.
    """
    declared = declared_kinds(kinds)
    changed = change({name: value for name, value in batch.items() if not prefix_of(name)}, declared)
    for prefix in RELATIVES:
        part = without_prefix(batch, prefix)
        if part.get(IMAGE) is not None:
            part = for_each_relative(part, change, {**declared, **without_prefix(declared, prefix)})
        changed |= with_prefix(part, prefix)
    return changed


def prefix_of(name: str) -> str:
    """What a name begins with that is a relative's; empty for the rows themselves."""
    return next((prefix for prefix in RELATIVES if name.startswith(prefix)), "")


# --- what cannot be right ---------------------------------------------------------------------------------------------


def check_pictures(batch: Mapping[str, Any], kinds: Kinds = None) -> None:
    """Checks that all that would have to move with an image is known for what it is, and lies on it.

    Raises:
        InputError: a tensor looks like a picture and has no kind; or what moves with an image has another size than
            it, the wrong number of axes, whole numbers where it has to be interpolated, or no image at all.
    """
    for name, value in batch.items():
        if (
            not hasattr(value, "is_floating_point") or name == IMAGE
        ):  # no tensor, or what all others are held against
            continue
        prefix, kind = _prefixes_of(name), kind_of(name, kinds)
        size = _size_of(batch, prefix)
        if kind is None and len(value.shape) > 2 and tuple(value.shape[-2:]) in (size, _size_of(batch, "")):
            raise InputError(
                f"'{name}' {list(value.shape)} looks like a picture, and nothing says what it is",
                f"declare it: kinds={{'{name}': 'saliency'}} (or image, label_map; features for what is no picture)",
            )
        if kind in SPATIAL and size is None and prefix:
            raise InputError(
                f"the batch has '{name}' and no '{prefix}{IMAGE}' for it to move with",
                f"give both, or leave '{name}' out",
            )
        if kind in SPATIAL and name != prefix + IMAGE:
            _check_shape(name, value, kind, size)


def _check_shape(name: str, value: Any, kind: Kind, size: tuple[int, int] | None) -> None:
    shape, is_float = tuple(value.shape), value.is_floating_point()
    fits = {
        Kind.IMAGE: len(shape) == 4 and is_float,
        Kind.LABEL_MAP: len(shape) in (3, 4),
        Kind.SALIENCY: len(shape) in (3, 4) and is_float,
        Kind.BOXES: len(shape) == 3 and shape[2] == 4 and is_float,
        Kind.POINTS: len(shape) == 3 and shape[2] == 2 and is_float,
    }
    if not fits[kind]:
        wanted = {
            Kind.IMAGE: "float [batch, channels, height, width]",
            Kind.LABEL_MAP: "[batch, height, width] or [batch, channels, height, width]",
            Kind.SALIENCY: "float [batch, channels, height, width]",
            Kind.BOXES: "float [batch, boxes, 4]",
            Kind.POINTS: "float [batch, points, 2]",
        }
        actual = f"{str(value.dtype).removeprefix('torch.')} {list(shape)}"
        raise InputError(f"'{name}' of kind {kind} is {actual}", f"give {wanted[kind]}")
    if kind in PICTURES and size is not None and shape[-2:] != size:
        raise InputError(
            f"'{name}' is {shape[-2]} x {shape[-1]} pixels, and its image {size[0]} x {size[1]}",
            f"give '{name}' the image's size",
        )


def _size_of(batch: Mapping[str, Any], prefix: str) -> tuple[int, int] | None:
    image = batch.get(prefix + IMAGE)
    shape = tuple(getattr(image, "shape", ()))
    return (shape[-2], shape[-1]) if len(shape) > 2 else None


def _prefixes_of(name: str) -> str:
    """All prefixes before a name: ``partner_fellow_`` of ``partner_fellow_image``."""
    prefix = prefix_of(name)
    return prefix + _prefixes_of(name.removeprefix(prefix)) if prefix else ""
