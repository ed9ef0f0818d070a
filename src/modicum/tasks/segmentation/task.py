"""Segmentation of images: one class, several that exclude each other, or several that may overlap."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from pydantic import Field
from torch import Tensor, nn

from modicum.data.image import ImageRef
from modicum.data.manifest import MASKS_PREFIX, Manifest
from modicum.data.mask_codes import codes_of
from modicum.data.readers import read_image
from modicum.errors import BrokenImageError, InputError
from modicum.tasks.base import AuxiliaryImage, Batch, Example, Scores, TaskOptions
from modicum.tasks.dense import DenseTask
from modicum.tasks.metric import Metric, with_classes
from modicum.tasks.segmentation.class_names import BACKGROUND
from modicum.tasks.segmentation.loss_choice import LossWords, chosen_loss, validate_loss_settings
from modicum.tasks.segmentation.meanings import codes_seen, found_codes, made_up_codes, named_codes
from modicum.tasks.segmentation.metric_table import METRICS
from modicum.tasks.segmentation.pictures import differences, overlay, shown
from modicum.tasks.segmentation.pixels import averaged_logits, decided
from modicum.tasks.segmentation.scores import SegmentationScores
from modicum.tasks.segmentation.targets import Kind, MaskCodes, many_levels, written_mask

MANY_NUMBERS = 8
"""Classes without names from which on masks may number objects instead."""
LOOKED_AT = 64
"""Masks, spread over the manifest, that are opened to see which codes they hold."""


class SegmentationOptions(TaskOptions):
    """Settings of segmentation."""

    kind: Literal["auto", "binary", "multi-class", "multi-label"] = Field(
        "auto", description="auto: by the masks' values."
    )
    codes: dict[str, int | str | list[int | str]] = Field(
        default_factory=dict,
        description="Values of masks that stand for each class, for instance {cup: 0-50, disc: 0-200, "
        "background: 201-255}.",
    )
    ignored: list[int | str] = Field(
        default_factory=list, description="Values of masks that count nowhere, for instance [255]."
    )
    threshold: float = Field(
        0.5, gt=0, lt=1, description="Probability from which on a class is predicted that excludes none."
    )
    loss: LossWords = Field(
        "auto",
        description="Parts joined by +, each with a factor where it is not 1: dice+bce, 2*focal+dice, "
        "dice+bce+0.5*cldice. auto: dice+bce, or dice+cross_entropy for multi-class.",
    )


class Segmentation(DenseTask):
    """A class, or several, for each pixel.

    Args:
        kind: ``binary``, ``multi-class`` or ``multi-label``.
        masks: by column of the manifest (``mask``, or ``masks:<class>``), what the values of its masks mean.
        options: the task's settings.
    """

    name: ClassVar[str] = "segmentation"
    Options: ClassVar[type[TaskOptions]] = SegmentationOptions
    metric_table: ClassVar[tuple[Metric, ...]] = METRICS
    usual_slices: ClassVar[str] = "labelled"
    output_kind: ClassVar[Literal["label_map", "image"]] = "label_map"
    region_column: ClassVar[str | None] = "fov"

    def __init__(self, kind: Kind, masks: Mapping[str, MaskCodes], options: SegmentationOptions) -> None:
        self.kind = kind
        self.masks = dict(masks)
        self.options = options
        self.classes = tuple(name for codes in self.masks.values() for name in codes.classes)

    @classmethod
    def from_manifest(cls, manifest: Manifest, options: Mapping[str, Any]) -> "Segmentation":
        """Determines the classes of masks: from the options, or by opening some of them.

        Columns ``masks:<class>``, one binary file a class, make it multi-label; otherwise the ``mask`` column decides.
        Options: those of :class:`SegmentationOptions`, and ``classes`` (names of the foreground classes in order).
        """
        own_options = {
            name: value for name, value in options.items() if name in SegmentationOptions.model_fields
        }
        settings = SegmentationOptions(**own_options)
        classes = [str(name) for name in options.get("classes") or ()]
        columns = [str(name) for name in manifest.table if str(name).startswith(MASKS_PREFIX)]
        if columns:
            return cls("multi-label", _one_file_a_class(manifest, columns, classes), settings)
        if "mask" not in manifest.table:
            names = ", ".join(str(name) for name in manifest.table.columns)
            raise InputError(
                f"{manifest.source}: no column 'mask' or 'masks:<class>' (columns: {names})",
                "name the column of the table with --mask COLUMN",
            )
        kind = None if settings.kind == "auto" else settings.kind
        if settings.codes:
            codes = named_codes(settings.codes, kind, tuple(settings.ignored), classes)
        else:
            codes_in_masks = _codes_of_column(manifest, "mask")
            codes = found_codes(
                codes_in_masks, classes, kind, f"masks of {manifest.source}", tuple(settings.ignored)
            )
        return cls(codes.kind, {"mask": codes}, settings)

    @classmethod
    def from_options(cls, options: Mapping[str, Any], num_classes: int | None = None) -> "Segmentation":
        """The classes of the codes where these are given, else ``num_classes`` channels: 1, binary, by default."""
        settings = SegmentationOptions(**options)
        kind = None if settings.kind == "auto" else settings.kind
        if settings.codes:
            codes = named_codes(settings.codes, kind, tuple(settings.ignored), [])
        else:
            codes = made_up_codes(num_classes, kind)
        return cls(codes.kind, {"mask": codes}, settings)

    @property
    def notes(self) -> list[str]:
        """A caution where many numbers without names may count objects instead of standing for classes."""
        names = [name for name in self.classes if name != BACKGROUND]
        made_up = self.kind == "multi-class" and all(re.fullmatch(r"class \d+", name) for name in names)
        if not made_up or len(names) <= MANY_NUMBERS:
            return []
        return [
            f"caution: the masks hold numbers up to {len(names)}, taken for a class each; if they count objects, pass "
            "--set kind=binary, else name the classes with --classes"
        ]

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "classes": list(self.classes),
            "masks": {column: codes.as_dict() for column, codes in self.masks.items()},
            "options": self.options.model_dump(mode="json"),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Segmentation":
        masks = {column: MaskCodes.from_dict(codes) for column, codes in values["masks"].items()}
        return cls(values["kind"], masks, SegmentationOptions(**values["options"]))

    @property
    def exclusive(self) -> bool:
        """A pixel belongs to exactly one channel; the first is the background."""
        return self.kind == "multi-class"

    @property
    def foreground(self) -> tuple[str, ...]:
        """Names of the classes that are looked for."""
        return self.classes[1:] if self.exclusive else self.classes

    @property
    def num_outputs(self) -> int:
        return len(self.classes)

    @property
    def auxiliary_images(self) -> tuple[AuxiliaryImage, ...]:
        """Masks (optional for a class with its own column), and the field of view if there is one."""
        masks = [AuxiliaryImage(column, "label_map", required=column == "mask") for column in self.masks]
        return (*masks, AuxiliaryImage("fov", "label_map", required=False, absent=255))

    def example_batch(self, count: int, size: tuple[int, int]) -> Batch:
        masks = {
            column: AuxiliaryImage(column, "label_map").example(count, size, 256) for column in self.masks
        }
        return {**super().example_batch(count, size), **masks}

    def assemble(self, batch: Batch) -> Batch:
        """``mask``: channels float32 ``[b, channels, h, w]``; ``fov``: where pixels count, bool ``[b, 1, h, w]``."""
        if not all(column in batch for column in self.masks):
            return batch
        channels, counted = zip(*(codes.assembled(batch[n]) for n, codes in self.masks.items()), strict=True)
        inside = torch.stack(counted).all(0)
        if "fov" in batch:
            inside = inside & (batch["fov"] != 0)
        rest = {name: tensor for name, tensor in batch.items() if name not in self.masks}
        return {**rest, "mask": torch.cat(channels, 1), "fov": inside}

    def validate_label_values(
        self, column: str, held: Bool[np.ndarray, "rows 256"], places: Sequence[str]
    ) -> list[str]:
        """Checks that every code has a meaning and no field of view is empty; notes how many masks are empty."""
        if column == "fov":
            for row, place in zip(held, places, strict=True):
                if not row[1:].any():
                    raise InputError(
                        f"{place} is 0 everywhere: none of its pixels counts",
                        "set the pixels inside to 255, or leave the cell empty if all pixels count",
                    )
            return many_levels(held)
        codes = self.masks[column]
        for row, place in zip(held, places, strict=True):
            codes.validate_label_values(row, place)
        foreground_codes = codes.table[:, 1 if codes.exclusive else 0 :].any(1)
        empty = int((~held[:, foreground_codes].any(1)).sum())
        return [f"{empty} of {len(held)} {column} files show no class."] if empty else []

    @property
    def monitor(self) -> str:
        return "dice"

    def metrics(self) -> dict[str, Metric]:
        return with_classes(METRICS, self.foreground if len(self.foreground) > 1 else ())

    @classmethod
    def validate_loss(cls, settings: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        validate_loss_settings(settings)

    def loss(self, targets: Mapping[str, np.ndarray], options: Mapping[str, Any]) -> nn.Module:
        """The loss on an assembled batch. Options: ``loss`` (auto: the task's own setting, or parts in words) and
        ``class_weights`` (none, or a list, of cross-entropy).
        """
        words = options.get("loss", "auto")
        words = self.options.loss if words == "auto" else words
        return chosen_loss(words, self.exclusive, self.classes, options.get("class_weights", "none"))

    def graph_outputs(self) -> tuple[str, ...]:
        return ("probabilities", "logits")

    def activate(self, outputs: Float[Tensor, "*batch c h w"]) -> Float[Tensor, "*batch c h w"]:
        """Logits to probabilities: softmax over exclusive channels, sigmoid otherwise."""
        return outputs.float().softmax(-3) if self.exclusive else outputs.float().sigmoid()

    def averaged(self, outputs: Float[Tensor, "members n *outputs"]) -> Float[Tensor, "n *outputs"]:
        """The logits of the mean of each pixel's probabilities."""
        return averaged_logits(outputs, self.exclusive)

    def regions(
        self, activated: Float[np.ndarray, "channels height width"]
    ) -> Bool[np.ndarray, "channels height width"]:
        """Where each channel is predicted."""
        return decided(torch.tensor(activated), self.exclusive, self.options.threshold).numpy()

    def foreground_regions(
        self, activated: Float[np.ndarray, "channels height width"]
    ) -> Bool[np.ndarray, "classes height width"]:
        return self._foreground(self.regions(activated))

    def probabilities(
        self, activated: Float[np.ndarray, "channels height width"]
    ) -> Float[np.ndarray, "classes height width"]:
        return self._foreground(activated)

    def scores(self) -> SegmentationScores:
        return SegmentationScores(
            self.foreground, self.activate, exclusive=self.exclusive, threshold=self.options.threshold
        )

    def ground_truth(self, auxiliary_images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """``mask``: bool ``[channels, h, w]``; ``fov``: where pixels count, bool ``[h, w]``.

        Raises:
            InputError: a code without a meaning.
        """
        channels_and_counted = [
            codes.channels(auxiliary_images[column], f"the {column}") for column, codes in self.masks.items()
        ]
        inside = np.asarray(np.stack([counted for _, counted in channels_and_counted]).all(0))
        if "fov" in auxiliary_images:
            inside &= auxiliary_images["fov"] != 0
        return {"mask": np.concatenate([channels for channels, _ in channels_and_counted]), "fov": inside}

    def to_file(
        self, activated: Float[np.ndarray, "channels height width"]
    ) -> UInt8[np.ndarray, "height width"]:
        return written_mask(self.regions(activated), self.kind)

    def summary(
        self, activated: Float[np.ndarray, "channels height width"], spacing: tuple[float, float] | None
    ) -> dict[str, float]:
        """The area of each class, in mm² where the spacing is known, otherwise in pixels."""
        pixels = self.foreground_regions(activated).sum((1, 2))
        unit, size = ("pixels", 1.0) if spacing is None else ("mm2", spacing[0] * spacing[1])
        return {f"area_{unit}/{n}": float(p * size) for n, p in zip(self.foreground, pixels, strict=True)}

    def render(
        self,
        image: Float[np.ndarray, "image_channels height width"],
        activated: Float[np.ndarray, "channels height width"],
        truth: Mapping[str, np.ndarray] | None,
    ) -> dict[str, UInt8[np.ndarray, "picture_height picture_width 3"]]:
        under, predicted = shown(image), self.foreground_regions(activated)
        pictures = {"image": under, "prediction": overlay(under, predicted)}
        if truth is None:
            return pictures
        true, inside = self._foreground(truth["mask"]), truth["fov"]
        return {
            **pictures,
            "truth": overlay(under, true),
            "differences": differences(under, predicted & inside, true & inside),
        }

    def _foreground(self, channels: np.ndarray) -> np.ndarray:
        return channels[1:] if self.exclusive else channels

    def examples(self, scores: Scores, count: int) -> list[Example]:
        assert isinstance(scores, SegmentationScores)
        return scores.examples(count)


def _one_file_a_class(
    manifest: Manifest, columns: Sequence[str], classes: Sequence[str]
) -> dict[str, MaskCodes]:
    names = [column.removeprefix(MASKS_PREFIX) for column in columns]
    missing = [name for name in classes if name not in names]
    if missing:
        raise InputError(
            f"{manifest.source}: class '{missing[0]}' has no column '{MASKS_PREFIX}{missing[0]}'",
            f"add that column, or choose --classes from {', '.join(names)}",
        )
    return {
        f"{MASKS_PREFIX}{name}": found_codes(
            _codes_of_column(manifest, f"{MASKS_PREFIX}{name}"), [name], source=f"masks of class '{name}'"
        )
        for name in classes or names
    }


def _codes_of_column(manifest: Manifest, column: str) -> set[int]:
    """Codes in some masks of a column, evenly spread.

    Raises:
        BrokenImageError: some cannot be read, and in the others nothing is marked.
    """
    named = manifest.table[column].dropna()
    step = max(1, -(-len(named) // LOOKED_AT))
    seen: set[int] = set()
    first: BrokenImageError | None = None
    for text in named.iloc[::step]:
        try:
            seen |= codes_seen([codes_of(read_image(ImageRef.parse(str(text), manifest.root)))])
        except BrokenImageError as error:
            first = first or error  # the others are named by who decodes all of them
    if first is not None and not seen - {0}:
        raise first  # that nothing is marked in the rest is not the reason
    return seen
