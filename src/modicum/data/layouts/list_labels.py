"""Labels that split lists bring: one a line, or 1 and 0 for each finding, as the lists of radiographs have them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from modicum.data.layouts.public.chest_tables import CHEXPERT_ORDER
from modicum.data.layouts.public.nih import NIH_ORDER
from modicum.data.layouts.public.options import LayoutOptions
from modicum.data.manifest import LABELS_PREFIX, Manifest, name_classes, text_column
from modicum.errors import InputError
from modicum.wording import count_of

# Lists with so many labels a line are those of ChestX-ray14 and of CheXpert.
_ORDERS = {len(NIH_ORDER): NIH_ORDER, len(CHEXPERT_ORDER): CHEXPERT_ORDER}
# What the lists of the COVID-19 collection are called: 'iscovid_train.txt', 'isviral_test.txt'.
_BINARY_LIST = re.compile(r"is(covid|viral)_")


def labels_of_lists(
    manifest: Manifest,
    labels: Mapping[int, tuple[str, str]],
    source: str,
    options: LayoutOptions,
    classes: Sequence[str] | None,
) -> Manifest:
    """The manifest with the labels of lists where it has none of its own.

    Args:
        manifest: the images.
        labels: what stands after an image's name, perhaps nothing, and where (``train.txt row 3``), by row.
        source: of the lists, for notes.
        options: ``relabel`` says which labels are slips for others.
        classes: names of the findings, or all allowed classes.

    Raises:
        InputError: not as many labels in each line, one that is not 1 or 0, or findings without names.
    """
    given = {row: label for row, label in labels.items() if label[0]}
    if not given:
        return manifest
    if manifest.findings:
        return manifest.with_columns([f"findings are those of {manifest.source}, not of '{source}'"])
    count = len(next(iter(given.values()))[0].split())
    if count == 1:
        return _with_label(manifest, given, source, options, classes)
    if "label" in manifest.table and manifest.places:
        return manifest.with_columns([f"labels are those of {manifest.source}, not of '{source}'"])
    if "label" in manifest.table:  # the names of folders, which say less than a list of findings
        manifest = replace(manifest, table=manifest.table.drop(columns="label"))
    _require_counts(labels, count)
    return _with_findings(manifest, given, count, source, options, classes)


def _require_counts(labels: Mapping[int, tuple[str, str]], count: int) -> None:
    """As many labels in each line; a list without any is none of labels."""
    lists = {place.rpartition(" row ")[0] for text, place in labels.values() if text}
    for text, place in labels.values():
        if len(text.split()) != count and place.rpartition(" row ")[0] in lists:
            raise InputError(
                f"{place} has {count_of(len(text.split()), 'label')}, the first line {count}",
                "complete the line",
            )


def _with_label(
    manifest: Manifest,
    labels: Mapping[int, tuple[str, str]],
    source: str,
    options: LayoutOptions,
    classes: Sequence[str] | None,
) -> Manifest:
    own = manifest.table["label"] if "label" in manifest.table else text_column([None] * len(manifest))
    read, changed = {}, 0
    for row, (text, place) in labels.items():
        label = (options.relabel or {}).get(text, text)
        changed += label != text
        if isinstance(own[row], float):
            _check(label, place, classes)
        read[row] = label
    every = range(len(manifest))
    notes = []
    if any(isinstance(own[row], float) for row in read):
        notes.append(f"labels are those of the lists in '{source}'")
    other = sum(isinstance(own[row], str) and own[row] != label for row, label in read.items())
    if other:
        notes.append(
            f"labels of {manifest.source} kept for {count_of(other, 'image')} that '{source}' labels otherwise"
        )
    if changed:
        notes.append(f"{count_of(changed, 'label')} of '{source}' read as asked for: {_named(options)}")
    filled = [own[row] if isinstance(own[row], str) else read.get(row) for row in every]
    return manifest.with_columns(notes, label=text_column(filled))


def _check(label: str, place: str, classes: Sequence[str] | None) -> None:
    allowed = list(map(str, classes)) if classes else ["0", "1"] if _BINARY_LIST.match(place) else None
    if allowed is not None and label not in allowed:
        raise InputError(
            f"{place}: label '{label}' is not in {name_classes(allowed)}",
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
