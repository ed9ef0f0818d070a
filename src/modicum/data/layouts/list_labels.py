"""Labels in split lists: one per line, or 1 and 0 for each finding, as in lists of radiographs."""

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

# Lists with this many labels per line are those of ChestX-ray14 and CheXpert.
_ORDERS = {len(NIH_ORDER): NIH_ORDER, len(CHEXPERT_ORDER): CHEXPERT_ORDER}
# Names of the lists of the COVID-19 collection: 'iscovid_train.txt', 'isviral_test.txt'.
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
    """Adds the labels of lists to a manifest without labels.

    Names of folders count as the manifest's labels only if the lists do not disagree: published lists for folders of
    images contain labels that the folders do not.

    Args:
        manifest: the images.
        labels: by row, the text after an image's name (may be empty), and its origin (``train.txt row 3``).
        source: name of the lists, for notes.
        options: ``relabel`` corrects labels.
        classes: names of the findings, or all allowed classes.

    Raises:
        InputError: lines with different numbers of labels, an invalid label, or unnamed findings.
    """
    labelled = {row: label for row, label in labels.items() if label[0]}
    if not labelled:
        return manifest
    if manifest.findings:
        return manifest.with_columns([f"findings are those of {manifest.source}, not of '{source}'"])
    allowed = {*map(str, classes or ()), *(options.relabel or ())}
    count = _count(next(iter(labelled.values()))[0], allowed)
    if count == 1:
        _require_counts(labels, allowed)
        return _with_label(manifest, labelled, source, options, classes)
    if "label" in manifest.table and not _are_folders(manifest):
        return manifest.with_columns([f"labels are those of {manifest.source}, not of '{source}'"])
    if "label" in manifest.table:  # the names of folders, which say less than a list of findings
        manifest = replace(manifest, table=manifest.table.drop(columns="label"))
    _require_counts(labels, allowed)
    return _with_findings(manifest, labelled, count, source, options, classes)


def _count(text: str, allowed: Container[str]) -> int:
    """The number of labels in a text; an allowed label counts as one even if it contains blanks."""
    return 1 if text in allowed else len(text.split())


def _require_counts(labels: Mapping[int, tuple[str, str]], allowed: Container[str]) -> None:
    """Checks that each line has the same number of labels; lists without any labels are ignored."""
    lists = {origin.rpartition(" row ")[0] for text, origin in labels.values() if text}
    counts = [
        (_count(text, allowed), origin)
        for text, origin in labels.values()
        if origin.rpartition(" row ")[0] in lists
    ]
    usual, first = next((count, origin) for count, origin in counts if count)
    for count, origin in counts:
        if count != usual:
            raise InputError(
                f"{origin} has {count_of(count, 'label')}, {first} has {usual}",
                f"write {count_of(usual, 'label')} in each line",
            )


def _are_folders(manifest: Manifest) -> bool:
    """Whether the manifest's labels are just the names of its images' folders."""
    return not manifest.origins and all(
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
    manifest_labels = manifest.table["label"].tolist() if "label" in manifest.table else nothing
    notes = []
    num_different = sum(
        isinstance(manifest_labels[row], str) and manifest_labels[row] != label for row, label in read.items()
    )
    if num_different and _are_folders(manifest):
        notes.append(f"names of folders ({listed(manifest.classes())}) are not used as labels")
        manifest_labels = nothing
    elif num_different:
        notes.append(
            f"labels of {manifest.source} kept for {count_of(num_different, 'image')} that '{source}' labels otherwise"
        )
    if any(isinstance(manifest_labels[row], float) for row in read):
        notes.append(f"labels are those of the lists in '{source}'")
    binary = [*dict.fromkeys(("0", "1", *relabel.values()))]
    of_binary_set = _are_binary(manifest)
    for row, label in read.items():
        origin = labels[row][1]
        # A list of the COVID-19 collection has an error, which does not matter if a table has the label.
        if of_binary_set[row] or isinstance(manifest_labels[row], float):
            is_binary = of_binary_set[row] or _BINARY_LIST.match(origin) is not None
            _check(label, origin, classes or (binary if is_binary else None))
    changed = sum(read[row] != text for row, (text, _) in labels.items())
    if changed:
        notes.append(
            f"{count_of(changed, 'label')} of '{source}' changed by option relabel: {_named(options)}"
        )
    filled = [label if isinstance(label, str) else read.get(row) for row, label in enumerate(manifest_labels)]
    return manifest.with_columns(notes, label=text_column(filled))


def _are_binary(manifest: Manifest) -> list[bool]:
    """Whether each image is of RSNA Pneumonia or SIIM-ACR Pneumothorax, by its folder or the latter's column."""
    if "mask_runs" in manifest.table:
        return [True] * len(manifest)
    root = manifest.root.name
    return [_BINARY_FOLDER.search(f"{root}/{image}") is not None for image in manifest.table["image"]]


def _check(label: str, origin: str, allowed: Sequence[str] | None) -> None:
    if allowed is not None and label not in map(str, allowed):
        raise InputError(
            f"{origin}: label '{label}' is not in {name_classes([*map(str, allowed)])}",
            f"correct the line, or set layout option relabel, for instance {{'{label}': '{allowed[-1]}'}}",
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
            f"pass the {count} names of the findings in order with --classes",
        )
    values = np.full((len(manifest), count), np.nan)
    for row, (text, origin) in labels.items():
        for at, word in enumerate(text.split()):
            label = (options.relabel or {}).get(word, word)
            if label not in ("0", "1"):
                raise InputError(f"{origin}: label {at + 1} is '{word}'", "write 1 or 0")
            values[row, at] = float(label)
    columns = {LABELS_PREFIX + name: values[:, at] for at, name in enumerate(names)}
    return manifest.with_columns([f"labels are those of the lists in '{source}'"], **columns)


def _named(options: LayoutOptions) -> str:
    return ", ".join(f"{old} as {new}" for old, new in (options.relabel or {}).items())
