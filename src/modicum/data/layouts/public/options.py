"""Where a public data set leaves a choice: what uncertain findings count as, which views, which slices."""

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
"""What uncertain findings of CheXpert count as in MRM's and the LoRA benchmark's lists, by the counts of these."""
POLICIES = ("ones", "zeros", "ignore")
VIEWS = ("all", "frontal", "lateral")
OVERLAPS = ("error", "drop", "keep")


@dataclass(frozen=True)
class LayoutOptions:
    """How public layouts are read where there is a choice.

    Attributes:
        findings: the findings to keep, of CheXpert and MIMIC-CXR; the five of :data:`PUBLISHED` by default.
        uncertain: what -1 counts as: ``ones``, ``zeros`` or ``ignore`` (unknown) for all findings, or one of these by
            finding; :data:`PUBLISHED` for those that are not named.
        unmentioned: what a blank counts as, ``zeros`` or ``ignore``.
        views: ``frontal`` or ``lateral`` radiographs only.
        projection: which layer of angiograms that come with several, as its folder is called.
        least_foreground: slices of volume pairs with a smaller share of voxels other than 0 are left out; 0 keeps all.
        axis: how volumes are cut: 0 left-right, 1 back-front, 2 foot-head.
        overlaps: an image in several split lists is an error, is dropped from all but one (``test`` goes before ``val``
            before ``train``), or is kept in each, as published.
        relabel: labels of split lists to be read as others: ``{"11": "1"}``.
        write_masks: write the masks that come as run-length texts as PNG files into ``masks/`` below the data set.
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
    write_masks: bool = False

    def __post_init__(self) -> None:
        policies = (
            [self.uncertain] if isinstance(self.uncertain, str) else list((self.uncertain or {}).values())
        )
        for name, values, allowed in (
            ("uncertain", policies, POLICIES),
            ("unmentioned", [self.unmentioned], POLICIES[1:]),
            ("views", [self.views], VIEWS),
            ("overlaps", [self.overlaps], OVERLAPS),
        ):
            for value in values:
                if value not in allowed:
                    raise InputError(f"{name} is '{value}'", f"use one of {', '.join(allowed)}")
        if not 0 <= self.least_foreground < 1:
            raise InputError(
                f"least_foreground is {self.least_foreground}",
                "give a share of the voxels, for instance 0.05",
            )

    @classmethod
    def of(cls, given: "LayoutOptions | Mapping[str, Any] | None") -> "LayoutOptions":
        """Options from a mapping, as a recipe holds them.

        Raises:
            InputError: an option or its value is not known.
        """
        if isinstance(given, LayoutOptions):
            return given
        known = [field.name for field in fields(cls)]
        for name in given or {}:
            if name not in known:
                raise InputError(f"'{name}' is no option of layouts", did_you_mean(name, known))
        return cls(**(given or {}))
