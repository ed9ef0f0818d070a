"""Summary of the training data: images, patients and classes of each split, formats, sizes, warnings."""

from collections.abc import Mapping
from typing import Any

from modicum.report.files import RunFiles, as_mapping, number
from modicum.report.sections import TaskSections
from modicum.report.training_images import look_rows
from modicum.report.words import count, plural

_ORDER = ("train", "val", "test", "all")
_TITLES = {"train": "training", "val": "validation", "test": "test", "all": "all"}


def data_values(run: RunFiles, sections: TaskSections) -> dict[str, Any]:
    """Values of the data card; empty without a manifest."""
    table = run.manifest
    if table is None or not len(table):
        return {}
    split_of = table["split"] if "split" in table else table["image"].map(lambda _: "all")
    names = sorted(set(split_of), key=lambda name: (_ORDER.index(name) if name in _ORDER else 9, name))
    columns = [{"key": name, "title": _TITLES.get(name, name or "none")} for name in names]
    rows = sections.counts(run)
    most = max((amount for _, amounts in rows for amount in amounts.values()), default=0)
    sizes = {name: int((split_of == name).sum()) for name in names}
    totals = [("images", sizes)]
    if "patient" in table and (table["patient"] != "").any():
        # As for the intervals: an image without a known patient counts as a separate patient.
        people = table["patient"].where(table["patient"] != "", "image:" + table["image"])
        totals.append(("patients", {n: int(people[split_of == n].nunique()) for n in names}))
    several = run.kind == "multi-label"
    return {
        "columns": columns,
        "rows": [(name, [_bar(amounts.get(n, 0), sizes[n]) for n in names]) for name, amounts in rows],
        "most": most,
        "totals": [(name, [count(amounts[n]) for n in names]) for name, amounts in totals],
        "facts": _facts(run),
        "warnings": data_warnings(run),
        "heading": sections.counted or ("Images with each finding" if several else "Images of each class"),
    }


def _bar(amount: int, whole: int) -> dict[str, str]:
    share = 100 * amount / whole if whole else 0.0
    return {"text": count(amount), "share": f"{share:.2f}", "percent": f"{share:.0f}"}


def _facts(run: RunFiles) -> list[tuple[str, str]]:
    """Rows on the files, from the fingerprint; missing keys are left out."""
    rows: list[tuple[str, str]] = []
    fingerprint = run.fingerprint
    formats = as_mapping(fingerprint.get("formats"))
    if formats:
        parts = [f"{name.upper()} {count(n)}" for name, n in formats.items() if number(n) is not None]
        rows.append(("File formats", ", ".join(parts)))
    heights, widths = as_mapping(fingerprint.get("height")), as_mapping(fingerprint.get("width"))
    if number(heights.get("median")) is not None and number(widths.get("median")) is not None:
        text = f"median {_size(widths, heights, 'median')} px"
        if number(heights.get("min")) is not None and number(widths.get("min")) is not None:
            text += f", from {_size(widths, heights, 'min')} to {_size(widths, heights, 'max')}"
        rows.append(("Image sizes (width × height)", text))
    size = as_mapping(run.recipe.get("image")).get("size")
    if isinstance(size, list | tuple) and len(size) == 2:
        rows.append(("Seen by the network", f"{size[1]} × {size[0]} px"))
    rows += look_rows(run)
    digest = run.manifest_info.get("hash") or run.manifest_info.get("content_hash")
    if isinstance(digest, str):
        rows.append(("Manifest", digest[:12]))
    return rows


def _size(widths: Mapping[str, Any], heights: Mapping[str, Any], key: str) -> str:
    return f"{count(widths.get(key))}\u00a0×\u00a0{count(heights.get(key))}"


def data_warnings(run: RunFiles) -> list[str]:
    """Warnings about the data: leaks, broken files, duplicates."""
    notes = run.fingerprint.get("notes")
    warnings = [str(note) for note in notes] if isinstance(notes, list) else []
    if run.broken and not any("broken" in note for note in warnings):
        warnings.append(
            f"{plural(run.broken, 'image')} could not be read and {_were(run.broken)} skipped (broken.csv)."
        )
    shared = _shared_patients(run)
    if shared:
        warnings.append(
            f"{plural(shared, 'patient')} {'has' if shared == 1 else 'have'} images in more than one split: "
            "the scores are likely optimistic."
        )
    handling = run.recipe_data.get("leaks")
    if handling == "allow":
        warnings.append("Images that leak between splits were allowed (leaks=allow).")
    if handling == "drop":
        warnings.append("Images that leaked between splits were dropped from training.")
    duplicates = number(run.fingerprint.get("duplicates"))
    if duplicates:
        warnings.append(f"{plural(int(duplicates), 'duplicate image')} in the data.")
    return warnings


def _were(amount: int) -> str:
    return "was" if amount == 1 else "were"


def _shared_patients(run: RunFiles) -> int:
    table = run.manifest
    if table is None or "patient" not in table or "split" not in table:
        return 0
    with_patient = table[table["patient"] != ""]
    return int((with_patient.groupby("patient")["split"].nunique() > 1).sum())
