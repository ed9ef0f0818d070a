"""Lesions of diabetic retinopathy: IDRiD, DDR and e-ophtha, with one binary mask per kind of lesion.

Names are common to the sets: MA microaneurysms, HE haemorrhages, EX hard exudates, SE soft exudates, OD
optic disc. An image without a file of a kind has no lesion of it, and its cell is blank.
"""

from collections.abc import Mapping
from pathlib import Path

from modicum.data.layouts.columns import split_of
from modicum.data.layouts.public.contents import images_in, inside, keyed, subfolders
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.layouts.public.rows import LayoutRows, Row, files_for
from modicum.data.manifest import MASKS_PREFIX
from modicum.errors import InputError

_IDRID_KINDS = {
    "MA": r"(\d\. ?)?microaneurysms",
    "HE": r"(\d\. ?)?haemorrhages",
    "EX": r"(\d\. ?)?hard exudates",
    "SE": r"(\d\. ?)?soft exudates",
    "OD": r"(\d\. ?)?optic disc",
}
IDRID_PARTS = {"train": r"(a\. ?)?training set", "test": r"(b\. ?)?testing set"}
IDRID_IMAGES, _IDRID_TRUTH = r"(1\. ?)?original images", r"(2\. ?)?all segmentation groundtruths"
IDRID_GRADING, DDR_GRADING = r"(b\. ?)?disease grading", r"dr_?grading"
_DDR_PARTS = ("train", "valid", "test")
_DDR_TRUTH = r"(segmentation )?label"


def is_idrid(folder: Path) -> bool:
    """``1. Original Images`` and ``2. All Segmentation Groundtruths``, in ``A. Segmentation`` or directly."""
    base = inside(folder, r"(a\. ?)?segmentation") or folder
    return inside(base, IDRID_IMAGES) is not None and inside(base, _IDRID_TRUTH) is not None


def read_idrid(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads IDRiD: 54 training and 27 test images."""
    base = inside(folder, r"(a\. ?)?segmentation") or folder
    result = LayoutRows([])
    kinds: dict[str, set[str]] = {}
    for split, part in IDRID_PARTS.items():
        images = inside(base, IDRID_IMAGES, part)
        folders = {kind: inside(base, _IDRID_TRUTH, part, name) for kind, name in _IDRID_KINDS.items()}
        if images is not None:
            kinds[images.name] = {kind for kind, path in folders.items() if path is not None}
            _add(
                result,
                keyed(images_in(images), r"(IDRiD_\d+)"),
                folders,
                r"(IDRiD_\d+)_[A-Z]+",
                split,
                "IDRiD",
            )
    _require_same_kinds("IDRiD", kinds)
    result.notes += _where_grades_are(folder, IDRID_GRADING)
    return result


def is_ddr(folder: Path) -> bool:
    """``train/image`` and ``train/label/EX``; ``segmentation label`` in ``valid``."""
    base = inside(folder, "lesion_segmentation") or folder
    return any(
        inside(base, part, "image") and inside(base, part, _DDR_TRUTH, "EX|HE|MA|SE") for part in _DDR_PARTS
    )


def read_ddr(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads DDR: 383 training, 149 validation and 225 test images."""
    base = inside(folder, "lesion_segmentation") or folder
    result = LayoutRows([])
    kinds: dict[str, set[str]] = {}
    for part in _DDR_PARTS:
        images = inside(base, part, "image")
        folders = {kind: inside(base, part, _DDR_TRUTH, kind) for kind in ("MA", "HE", "EX", "SE")}
        if images is not None:
            kinds[part] = {kind for kind, path in folders.items() if path is not None}
            _add(result, keyed(images_in(images), "(.+)"), folders, "(.+)", split_of(part), "DDR")
    _require_same_kinds("DDR", kinds)
    result.notes += _where_grades_are(folder, DDR_GRADING)
    return result


def is_e_ophtha(folder: Path) -> bool:
    """``EX`` and ``Annotation_EX``, or the same of ``MA``."""
    return any(inside(folder, kind) and inside(folder, f"annotation_{kind}") for kind in ("EX", "MA"))


def read_e_ophtha(folder: Path, options: LayoutOptions) -> LayoutRows:
    """Reads one half of e-ophtha: images with exudates (or microaneurysms) and healthy ones, by patient."""
    kind = next(kind for kind in ("EX", "MA") if inside(folder, f"annotation_{kind}"))
    result = LayoutRows([])
    for name, annotated in ((kind, f"annotation_{kind}"), ("healthy", None)):
        base = inside(folder, name)
        for patient in subfolders(base) if base is not None else []:
            images = keyed(images_in(patient), "(.+)")
            truth = inside(folder, annotated, patient.name) if annotated else None
            start = len(result.rows)
            _add(result, images, {kind: truth}, rf"(.+?)(?:_{kind})?", None, f"e-ophtha {kind}")
            for row in result.rows[start:]:
                row["patient"] = patient.name
    return result


def kinds_of(layout_rows: LayoutRows) -> set[str]:
    """The kinds of masks of a set, also if no image has one."""
    return {name for row in layout_rows.rows for name in row if name.startswith(MASKS_PREFIX)}


def only_kinds(layout_rows: LayoutRows, kinds: set[str]) -> LayoutRows:
    """Removes all masks but these kinds."""
    for row in layout_rows.rows:
        for name in kinds_of(layout_rows) - kinds:
            row.pop(name, None)
    return layout_rows


def _where_grades_are(folder: Path, name: str) -> list[str]:
    grading = inside(folder, name)
    return [] if grading is None else [f"the grades are in '{grading.name}': pass that folder for them"]


def _require_same_kinds(name: str, kinds: Mapping[str, set[str]]) -> None:
    """Checks that all parts have the same kinds: a missing one would count as absent from each image."""
    every = set().union(*kinds.values())
    for part, present in kinds.items():
        if lacking := every - present:
            raise InputError(
                f"{name}: '{part}' has no masks of {', '.join(sorted(lacking))}, but another part has",
                "complete the copy, or remove the masks of that kind from all parts",
            )


def _add(
    result: LayoutRows,
    images: Mapping[str, Path],
    folders: Mapping[str, Path | None],
    names: str,
    split: str | None,
    domain: str,
) -> None:
    rows: dict[str, Row] = {
        key: {"image": path, "split": split, "domain": domain} for key, path in images.items()
    }
    for kind, folder in folders.items():
        if folder is None:
            continue
        masks, notes = files_for(images, keyed(images_in(folder), names), f"{kind} mask")
        result.notes += notes
        for key, path in masks.items():
            rows[key][MASKS_PREFIX + kind] = path
    result.rows += rows.values()
