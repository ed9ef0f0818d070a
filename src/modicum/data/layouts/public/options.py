"""Options of public layouts: policies for uncertain findings, views, slices, overlaps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from modicum.errors import InputError, did_you_mean

PUBLISHED = {
    "Atelectasis": "ones",
    "Edema": "ones",
    "Pleural Effusion": "ones",
    "Cardiomegaly": "zeros",
    "Consolidation": "zeros",
}
"""Policies for uncertain findings of CheXpert, inferred from the counts in MRM's and the LoRA benchmark's lists."""
POLICIES = ("ones", "zeros", "ignore")
VIEWS = ("all", "frontal", "lateral")
OVERLAPS = ("error", "drop", "keep")
LABELS = ("quality", "grade")
QUALITIES = ("good", "usable", "reject")


@dataclass(frozen=True)
class LayoutOptions:
    """Options for reading public layouts.

    Attributes:
        findings: the findings of CheXpert and MIMIC-CXR to keep; the five of :data:`PUBLISHED` by default.
        uncertain: what -1 counts as: ``ones``, ``zeros`` or ``ignore`` (unknown) for all findings, or one of these by
            finding; :data:`PUBLISHED` for those that are not named.
        unmentioned: what a blank counts as, ``zeros`` or ``ignore``.
        views: ``frontal`` or ``lateral`` radiographs only, or ``all``.
        projection: layer of angiograms, by the name of its folder.
        least_foreground: slices of volume pairs with a smaller share of voxels other than 0 are left out; 0 keeps all.
        axis: how volumes are cut: 0 left-right, 1 back-front, 2 foot-head.
        overlaps: for an image in several split lists: ``error``, ``drop`` it from all but one (``test`` before ``val``
            before ``train``), or ``keep`` it in each, as published.
        relabel: corrections of labels in split lists: ``{"11": "1"}``.
        label: of a set with two labels (EyeQ): ``quality`` or ``grade``.
        qualities: of EyeQ, the images to keep: some of ``good``, ``usable`` and ``reject``; all by default.
        write_masks: write run-length encoded masks as PNG files into ``masks/`` below the data set.
        unpaired: two folders of images and targets need not hold the same names, as those in a row need not belong
            together. Tasks that are told so read them so.
    """

    findings: Sequence[str] | None = None
    uncertain: str | Mapping[str, str] | None = None
    unmentioned: str = "zeros"
    views: str = "all"
    projection: str | None = None
    least_foreground: float | int = 0.05
    axis: int = 2
    overlaps: str = "error"
    relabel: Mapping[str, str] | None = None
    label: str = "quality"
    qualities: Sequence[str] | None = None
    write_masks: bool = False
    unpaired: bool = False

    def __post_init__(self) -> None:
        policies = (
            [self.uncertain] if isinstance(self.uncertain, str) else list((self.uncertain or {}).values())
        )
        for name, values, allowed in (
            ("uncertain", policies, POLICIES),
            ("unmentioned", [self.unmentioned], POLICIES[1:]),
            ("views", [self.views], VIEWS),
            ("overlaps", [self.overlaps], OVERLAPS),
            ("label", [self.label], LABELS),
            ("qualities", self.qualities or [], QUALITIES),
        ):
            for value in values:
                if value not in allowed:
                    raise InputError(f"layout option {name} is '{value}'", f"use one of {', '.join(allowed)}")
        if not 0 <= self.least_foreground < 1:
            raise InputError(
                f"layout option least_foreground is {self.least_foreground}, not a share of the voxels",
                "use for instance 0.05",
            )

    @classmethod
    def of(cls, options: "LayoutOptions | Mapping[str, Any] | None") -> "LayoutOptions":
        """Options from a mapping, as in a recipe.

        Raises:
            InputError: an unknown option or value.
        """
        if isinstance(options, LayoutOptions):
            return options
        names = [field.name for field in fields(cls)]
        for name in options or {}:
            if name not in names:
                raise InputError(f"unknown layout option '{name}'", did_you_mean(name, names))
        return cls(**(options or {}))
