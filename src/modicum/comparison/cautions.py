"""What a careful reader must know before believing a table."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from modicum.comparison.records import Measure, Record
from modicum.comparison.request import Request
from modicum.report.words import metric_title
from modicum.wording import count_of, listed

_OWN = (
    "backbone", "batch_size", "accumulate", "optimizer", "lr", "schedule", "warmup_epochs", "weight_decay", "clip_norm",
    "augment", "sampling", "select",
)  # fmt: skip
"""Settings of the training loop that a method may bring along, in the order in which they are named."""
_BUDGET = ("epochs", "batch_size", "size", "image_size", "accumulate")


def cautions_of(
    request: Request, records: Sequence[Record], table: pd.DataFrame, measure: Measure | None
) -> list[str]:
    """Sentences, the gravest first."""
    found = [
        *_of_scores(request, records, measure),
        *_of_protocol(request, records),
        *_of_cells(records),
        *_of_budget(request),
    ]
    kinds = {record.metrics["memory"].get("kind") for record in records if record.finished}
    if len(kinds) > 1:
        found.append(
            "Some peaks of memory are accounted tensor by tensor and some are a GPU allocator's: they do not compare."
        )
    if (table["full_memory"] == "predicted").any():
        found.append("The memory of full fine-tuning is predicted: it was not measured in this comparison.")
    if measure is not None and not measure.of_full:
        found.append(
            "Memory stands for itself: full fine-tuning was not measured, and is predicted for classifiers alone."
        )
    return found


def _of_scores(request: Request, records: Sequence[Record], measure: Measure | None) -> list[str]:
    if measure is None:
        return ["No cell has a score yet."]
    found = []
    if measure.split == "val":
        rates = " and the learning rates" if len(request.lrs) > 1 else ""
        if any(record.metrics["selection"].get("metric") for record in records if record.finished):
            used = f", which also selected the weights{rates}: it is too good."
        else:  # the last weights were kept
            used = f", which also selected{rates.removeprefix(' and')}: it is too good." if rates else "."
        found.append(
            f"THERE IS NO TEST SET. {metric_title(measure.metric)} is that of the validation images{used}"
        )
    if _by_oracle(records):
        found.append("THE WEIGHTS WERE CHOSEN ON THE TEST IMAGES (select=oracle): the scores are too good.")
    if request.seeds == 1:
        found.append("With one seed nobody knows how much of a difference is chance.")
    if measure.dense and measure.patients == 1:
        found.append(
            "All images that were evaluated are of one patient: how the next one will come out is not known."
        )
    if measure.unit == "image":
        found.append(
            "Intervals take every image for an independent one, because patients are not known. "
            "With several images of a patient they are too narrow."
        )
    return found


def _of_cells(records: Sequence[Record]) -> list[str]:
    found = []
    failed = [record.cell.name for record in records if record.state == "failed"]
    if failed:
        found.append(f"{count_of(len(failed), 'cell')} failed: {listed(failed)}.")
    missing = sum(not record.finished for record in records) - len(failed)
    if missing:
        found.append(f"{missing} of {count_of(len(records), 'cell')} are not finished.")
    first: dict[str | None, dict[str, str]] = {}
    for record in records:
        if record.finished:
            digest = hashlib.sha256(record.folder.manifest.read_bytes()).hexdigest()
            first.setdefault(record.cell.fold, {}).setdefault(digest, record.cell.name)
    for cells in first.values():
        if len(cells) > 1:
            found.append(
                f"The data were changed between cells: {listed(cells.values())} do not have the same images and split."
            )
    return found


def _by_oracle(records: Sequence[Record]) -> bool:
    return any(record.metrics["selection"].get("split") == "test" for record in records if record.finished)


def _of_protocol(request: Request, records: Sequence[Record]) -> list[str]:
    if not request.folds:
        return []
    apart = "training" if _by_oracle(records) else "training or selection"
    return [
        f"Each of {count_of(len(request.folds), 'domain')} in turn was tested on, and took no part in {apart}; "
        "the data's own split was not used.",
        "Scores of different domains do not compare: one may be harder than another.",
    ]


def _of_budget(request: Request) -> list[str]:
    found = []
    if request.fitted:
        found.append("Batch sizes were fitted to the memory and may differ between methods.")
    own = [
        f"{method}.{key}={value}"
        for method, settings in request.method_settings.items()
        for key, value in settings.items()
    ]
    if own:
        found.append(f"Settings of one method alone: {', '.join(own)}.")
    repeats = {name: request.recipe_of(name).training.repeats_per_epoch for name in request.variants}
    if len(set(repeats.values())) > 1:
        shown = ", ".join(f"{name} {number}" for name, number in repeats.items())
        found.append(f"An epoch shows the images several times, and not as often to all: {shown}.")
    found += _of_defaults(request)
    swept = [key for key in request.sweeps if key.rpartition(".")[2] in _BUDGET]
    if swept:
        found.append(f"Rows differ in their budget: {listed(swept)}.")
    return found


def _of_defaults(request: Request) -> list[str]:
    """Where methods train each in its own way without anybody having asked for it, in one sentence."""
    parts: list[Mapping[str, Any]] = [*request.method_settings.values(), request.sweeps]
    asked = {key.rpartition(".")[2] for part in parts for key in part} | ({"lr"} if request.lrs else set())
    values: dict[str, dict[str, list[str]]] = {key: {} for key in _OWN if key not in asked}
    for name in request.variants:
        recipe = request.recipe_of(name)
        known = {**recipe.training.model_dump(), "backbone": recipe.backbone.name}
        for key, rows in values.items():
            value = known[key]
            shown = (
                value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
            )
            rows.setdefault(shown, []).append(name)
    apart = [
        f"{key} {', '.join(f'{value} ({listed(names)})' for value, names in rows.items())}"
        for key, rows in values.items()
        if len(rows) > 1
    ]
    return [f"Settings that each method has of its own: {'; '.join(apart)}."] if apart else []
