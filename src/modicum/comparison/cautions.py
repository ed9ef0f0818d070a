"""Cautions: what limits the conclusions that can be drawn from a comparison's table."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from modicum.comparison.records import Measure, Record
from modicum.comparison.request import Request
from modicum.data.manifest import Manifest
from modicum.engine.run_folder import memory_kind
from modicum.report.words import metric_title
from modicum.wording import count_of, listed

_TRAINING_SETTINGS = (
    "backbone", "batch_size", "accumulate", "optimizer", "lr", "schedule", "warmup_epochs", "weight_decay", "clip_norm",
    "augment", "sampling", "select",
)  # fmt: skip
"""Settings of the training loop for which methods may have their own defaults, in the order in which they are named."""
_BUDGET = ("epochs", "batch_size", "size", "image_size", "accumulate")


def cautions_of(
    request: Request, records: Sequence[Record], table: pd.DataFrame, measure: Measure | None
) -> list[str]:
    """The cautions as sentences, the most serious first."""
    cautions = [
        *_of_scores(request, records, measure),
        *_of_protocol(request, records),
        *_of_cells(request, records),
        *_of_budget(request),
    ]
    kinds = {memory_kind(record.metrics["memory"]) for record in records if record.finished}
    if len(kinds) > 1:
        cautions.append(
            "Some memory peaks are estimated tensor by tensor and some are measured on a GPU: they are not comparable."
        )
    if (table["full_memory"] == "predicted").any():
        cautions.append(
            "The memory of full fine-tuning is predicted: it was not measured in this comparison."
        )
    if measure is not None and not measure.of_full:
        cautions.append(
            "Memory is not compared with full fine-tuning, which was not run here and is predicted for classifiers only."
        )
    return cautions


def _of_scores(request: Request, records: Sequence[Record], measure: Measure | None) -> list[str]:
    if measure is None:
        return ["No cell has a score yet."]
    cautions = []
    if measure.split == "val":
        rates = " and the learning rates" if len(request.lrs) > 1 else ""
        if any(record.metrics["selection"].get("metric") for record in records if record.finished):
            used = f", which also selected the weights{rates}: it is optimistic."
        else:  # the last weights were kept
            used = f", which also selected{rates.removeprefix(' and')}: it is optimistic." if rates else "."
        cautions.append(
            f"THERE IS NO TEST SET. {metric_title(measure.metric)} is that of the validation images{used}"
        )
    if _by_oracle(records):
        cautions.append(
            "THE WEIGHTS WERE CHOSEN ON THE TEST IMAGES (select=oracle): the scores are optimistic."
        )
    if request.seeds == 1:
        cautions.append("With one seed, differences between methods may be chance.")
    if measure.dense and measure.patients == 1:
        cautions.append(
            "All evaluated images are of one patient: the scores say nothing about other patients."
        )
    if measure.unit == "image":
        cautions.append(
            "Intervals treat images as independent, because patients are not known. "
            "With several images of a patient they are too narrow."
        )
    return cautions


def _of_cells(request: Request, records: Sequence[Record]) -> list[str]:
    cautions = []
    failed = [record.cell.name for record in records if record.state == "failed"]
    if failed:
        cautions.append(f"{count_of(len(failed), 'cell')} failed: {listed(failed)}.")
    missing = sum(not record.finished for record in records) - len(failed)
    if missing:
        cautions.append(f"{missing} of {count_of(len(records), 'cell')} are not finished.")
    changed = _changed_data(request, [record for record in records if record.finished])
    return cautions + [
        f"The data changed between cells: {listed(names)} do not have the same images and split."
        for names in changed
    ]


def _changed_data(request: Request, records: Sequence[Record]) -> list[list[str]]:
    """Cells whose data differ though their settings of the data do not, or whose images for testing differ at all.

    A comparison may sweep the share of the training labels: its cells learn from other rows on purpose.
    """
    alike: dict[tuple[str | None, str], dict[str, str]] = {}
    for record in records:
        fold, settings = record.cell.fold, record.cell.recipe(request).data
        for key, everything in (((fold, settings.model_dump_json()), True), ((fold, ""), False)):
            digest = _data_digest(record.folder.manifest, everything)
            alike.setdefault(key, {}).setdefault(digest, record.cell.name)
    groups = [list(cells.values()) for cells in alike.values() if len(cells) > 1]
    return [names for number, names in enumerate(groups) if names not in groups[:number]]


def _data_digest(path: Path, everything: bool = True) -> str:
    """SHA-256 of the rows of a run, or of those that nothing is learned from; without hashes of appearance, which
    earlier versions did not keep and which say nothing more.
    """
    table = Manifest.read_saved(path, Path()).table.drop(columns="near_hash", errors="ignore")
    rows = table if everything else table[table["split"].isin(["val", "test"])]
    return hashlib.sha256(rows.to_csv(index=False).encode()).hexdigest()


def _by_oracle(records: Sequence[Record]) -> bool:
    return any(record.metrics["selection"].get("split") == "test" for record in records if record.finished)


def _of_protocol(request: Request, records: Sequence[Record]) -> list[str]:
    if not request.folds:
        return []
    apart = "training" if _by_oracle(records) else "training or selection"
    return [
        f"Each of {count_of(len(request.folds), 'domain')} in turn was the test set, and was not used in {apart}; "
        "the data's own split was not used.",
        "Scores of different domains are not comparable: one may be harder than another.",
    ]


def _of_budget(request: Request) -> list[str]:
    cautions = []
    if request.fitted:
        cautions.append("Batch sizes were fitted to the memory and may differ between methods.")
    method_settings = [
        f"{method}.{key}={value}"
        for method, settings in request.method_settings.items()
        for key, value in settings.items()
    ]
    if method_settings:
        cautions.append(f"Settings of one method only: {', '.join(method_settings)}.")
    repeats = {name: request.recipe_of(name).training.repeats_per_epoch for name in request.variants}
    if len(set(repeats.values())) > 1:
        counts = ", ".join(f"{name} {number}" for name, number in repeats.items())
        cautions.append(f"An epoch repeats the images several times, differently for each row: {counts}.")
    cautions += _of_defaults(request)
    swept = [key for key in request.sweeps if key.rpartition(".")[2] in _BUDGET]
    if swept:
        cautions.append(f"Rows differ in their budget: {listed(swept)}.")
    return cautions


def _of_defaults(request: Request) -> list[str]:
    """One sentence on training settings that differ only because of the methods' own defaults."""
    parts: list[Mapping[str, Any]] = [*request.method_settings.values(), request.sweeps]
    requested = {key.rpartition(".")[2] for part in parts for key in part} | (
        {"lr"} if request.lrs else set()
    )
    values: dict[str, dict[str, list[str]]] = {key: {} for key in _TRAINING_SETTINGS if key not in requested}
    for name in request.variants:
        recipe = request.recipe_of(name)
        resolved = {**recipe.training.model_dump(), "backbone": recipe.backbone.name}
        for key, rows in values.items():
            value = resolved[key]
            text = (
                value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
            )
            rows.setdefault(text, []).append(name)
    apart = [
        f"{key} {', '.join(f'{value} ({listed(names)})' for value, names in rows.items())}"
        for key, rows in values.items()
        if len(rows) > 1
    ]
    return [f"Settings with different defaults: {'; '.join(apart)}."] if apart else []
