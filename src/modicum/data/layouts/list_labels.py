"""Labels that split lists bring: one a line, or 1 and 0 for each finding, as the lists of radiographs have them."""

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

import numpy as np

from modicum.data.layouts.public.chest_tables import CHEXPERT_ORDER
from modicum.data.layouts.public.nih import NIH_ORDER
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.manifest import (
    LABELS_PREFIX,
    Manifest,
    name_classes,
    split_reference,
    text_column,
)
from modicum.errors import InputError
from modicum.wording import count_of, listed

# Lists with so many labels a line are those of ChestX-ray14 and of CheXpert.
_ORDERS = {len(NIH_ORDER): NIH_ORDER, len(CHEXPERT_ORDER): CHEXPERT_ORDER}
# What the lists of the COVID-19 collection are called: 'iscovid_train.txt', 'isviral_test.txt'.
_BINARY_LIST = re.compile(r"is(covid|viral)_")
# The folders of RSNA Pneumonia and of SIIM-ACR Pneumothorax, whose images have a finding or not.
_BINARY_FOLDER = re.compile(r"(stage_[12]_(train|test)_images|dicom-images-(train|test))/")


def labels_of_lists(
    manifest: Manifest,
    labels: Mapping[int, tuple[str, str]],
    source: str,
    options: LayoutOptions,
    classes: Sequence[str] | None,
) -> Manifest:
    """The manifest with the labels of lists where it has none of its own.

    Names of folders are labels of its own only where the lists do not label otherwise: published lists of bare folders
    of images bring the labels that the folders do not say.

    Args:
        manifest: the images.
        labels: what stands after an image's name, perhaps nothing, and where (``train.txt row 3``), by row.
        source: of the lists, for notes.
        options: ``relabel`` says which labels are slips for others.
        classes: names of the findings, or all allowed classes.

    Raises:
        InputError: not as many labels in each line, one that is no class or not 1 or 0, or findings without names.
    """
    given = {row: label for row, label in labels.items() if label[0]}
    if not given:
        return manifest
    if manifest.findings:
        return manifest.with_columns([f"findings are those of {manifest.source}, not of '{source}'"])
    known = {*map(str, classes or ()), *(options.relabel or ())}
    count = _count(next(iter(given.values()))[0], known)
    if count == 1:
        _require_counts(labels, known)
        return _with_label(manifest, given, source, options, classes)
    if "label" in manifest.table and not _are_folders(manifest):
        return manifest.with_columns([f"labels are those of {manifest.source}, not of '{source}'"])
    if "label" in manifest.table:  # the names of folders, which say less than a list of findings
        manifest = replace(manifest, table=manifest.table.drop(columns="label"))
    _require_counts(labels, known)
    return _with_findings(manifest, given, count, source, options, classes)


def _count(text: str, known: Container[str]) -> int:
    """Labels in a text; one that is known is one, whatever blanks are in it."""
    return 1 if text in known else len(text.split())


def _require_counts(labels: Mapping[int, tuple[str, str]], known: Container[str]) -> None:
    """As many labels in each line; a list without any is none of labels."""
    lists = {place.rpartition(" row ")[0] for text, place in labels.values() if text}
    counts = [
        (_count(text, known), place)
        for text, place in labels.values()
        if place.rpartition(" row ")[0] in lists
    ]
    usual, first = next((count, place) for count, place in counts if count)
    for count, place in counts:
        if count != usual:
            raise InputError(
                f"{place} has {count_of(count, 'label')}, {first} has {usual}",
                "complete the line" if count < usual else "give each line as many",
            )


def _are_folders(manifest: Manifest) -> bool:
    """Whether the manifest's labels are nothing but names of the folders that its images lie in."""
    return not manifest.places and all(
        isinstance(label, float) or label in split_reference(image)[0].split("/")[:-1]
        for image, label in zip(manifest.table["image"], manifest.table["label"], strict=True)
    )


def _with_label(
    manifest: Manifest,
    labels: Mapping[int, tuple[str, str]],
    source: str,
    options: LayoutOptions,
    classes: Sequence[str] | None,
) -> Manifest:
    relabel = options.relabel or {}
    read = {row: relabel.get(text, text) for row, (text, _) in labels.items()}
    nothing = text_column([None] * len(manifest)).tolist()
    own = manifest.table["label"].tolist() if "label" in manifest.table else nothing
    notes = []
    other = sum(isinstance(own[row], str) and own[row] != label for row, label in read.items())
    if other and _are_folders(manifest):
        notes.append(f"names of folders ({listed(manifest.classes())}) are not taken for labels")
        own = nothing
    elif other:
        notes.append(
            f"labels of {manifest.source} kept for {count_of(other, 'image')} that '{source}' labels otherwise"
        )
    if any(isinstance(own[row], float) for row in read):
        notes.append(f"labels are those of the lists in '{source}'")
    binary = [*dict.fromkeys(("0", "1", *relabel.values()))]
    of_binary_set = _are_binary(manifest)
    for row, label in read.items():
        place = labels[row][1]
        # A list of the COVID-19 collection has a slip, which does not matter where a table brings the label.
        if of_binary_set[row] or isinstance(own[row], float):
            is_binary = of_binary_set[row] or _BINARY_LIST.match(place) is not None
            _check(label, place, classes or (binary if is_binary else None))
    changed = sum(read[row] != text for row, (text, _) in labels.items())
    if changed:
        notes.append(f"{count_of(changed, 'label')} of '{source}' read as asked for: {_named(options)}")
    filled = [label if isinstance(label, str) else read.get(row) for row, label in enumerate(own)]
    return manifest.with_columns(notes, label=text_column(filled))


def _are_binary(manifest: Manifest) -> list[bool]:
    """Which images are of RSNA Pneumonia or SIIM-ACR Pneumothorax, by their folders or by the latter's column."""
    if "mask_runs" in manifest.table:
        return [True] * len(manifest)
    root = manifest.root.name
    return [_BINARY_FOLDER.search(f"{root}/{image}") is not None for image in manifest.table["image"]]


def _check(label: str, place: str, allowed: Sequence[str] | None) -> None:
    if allowed is not None and label not in map(str, allowed):
        raise InputError(
            f"{place}: label '{label}' is not in {name_classes([*map(str, allowed)])}",
            f"correct the line, or say what it stands for with layout option relabel: {{'{label}': '{allowed[-1]}'}}",
        )


def _with_findings(
    manifest: Manifest,
    labels: Mapping[int, tuple[str, str]],
    count: int,
    source: str,
    options: LayoutOptions,
    classes: Sequence[str] | None,
) -> Manifest:
    names = list(classes or _ORDERS.get(count, ()))
    if len(names) != count:
        raise InputError(
            f"the lists in '{source}' have {count} labels a line"
            + (f", for {len(names)} classes" if names else ""),
            "name the findings in their order with --classes",
        )
    values = np.full((len(manifest), count), np.nan)
    for row, (text, place) in labels.items():
        for at, word in enumerate(text.split()):
            label = (options.relabel or {}).get(word, word)
            if label not in ("0", "1"):
                raise InputError(f"{place}: label {at + 1} is '{word}'", "write 1 or 0")
            values[row, at] = float(label)
    columns = {LABELS_PREFIX + name: values[:, at] for at, name in enumerate(names)}
    return manifest.with_columns([f"labels are those of the lists in '{source}'"], **columns)


def _named(options: LayoutOptions) -> str:
    return ", ".join(f"{old} as {new}" for old, new in (options.relabel or {}).items())
