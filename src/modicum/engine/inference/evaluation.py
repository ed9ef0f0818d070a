"""Evaluates a trained network on a split and writes the results to the run folder."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from modicum.data.boxes.source import BoxSource
from modicum.data.manifest import Manifest
from modicum.data.stores.image_store import ImageStore
from modicum.engine.devices import autocast
from modicum.engine.inference.attribution import write_examples
from modicum.engine.inference.box_evaluation import write_box_examples, write_found_boxes
from modicum.engine.inference.dense_evaluation import OnOutput, score_dense, write_dense_examples
from modicum.engine.inference.dense_prediction import DensePredictor, Size
from modicum.engine.inference.earlier_outputs import EarlierOutputs
from modicum.engine.inference.evaluation_table import write_table
from modicum.engine.inference.fields_of_view import FieldsOfView, fields_of_rows
from modicum.engine.inference.guards import COLUMN, UnlikeFn, UnlikeRows
from modicum.engine.inference.map_evaluation import score_maps
from modicum.engine.inference.prediction_sets import SET_COLUMN, evaluated_sets
from modicum.engine.inference.predictor_calls import draws_answers, predictor_outputs
from modicum.engine.inputs.batches import StageData, Stored, loader
from modicum.engine.inputs.boxes import as_inputs
from modicum.engine.inputs.preparation import store_settings
from modicum.engine.randomness import seed_globals
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import write_json
from modicum.engine.scoring import CollectedOutputs, DecideFn, score
from modicum.methods.base import TrainStage
from modicum.progress import bar
from modicum.tasks import DenseTask, Task
from modicum.tasks.base import Batch, Scores
from modicum.tasks.box_lists import BoxListScores, BoxListTask
from modicum.tasks.classification.conformal import PredictionSets
from modicum.tasks.scores import MapScores

CONFIDENCE = 0.95


def evaluate_rows(
    network: nn.Module,
    task: Task,
    recipe: Recipe,
    manifest: Manifest,
    store: ImageStore,
    store_positions: np.ndarray,
    rows: np.ndarray,
    device: torch.device,
    folder: Path,
    data_name: str,
    split: str | None,
    learned: tuple[TrainStage, StageData] | None = None,
    tile: Size | None = None,
    decide: DecideFn | None = None,
    scored: tuple[Scores, Mapping[str, np.ndarray]] | None = None,
    regions: FieldsOfView | None = None,
    boxes: BoxSource | None = None,
    earlier: EarlierOutputs | None = None,
    on_output: OnOutput | None = None,
    unlike: UnlikeFn | None = None,
    sets: PredictionSets | None = None,
) -> dict[str, Any]:
    """Predicts rows of a manifest and writes ``predictions.csv``, ``metrics.json`` and ``examples/``.

    Where predictions are boxes, also ``boxes.csv`` and ``boxes.json`` (COCO).

    Args:
        learned: a stage that has just been trained and what it reads: its outputs are those of ``network``, and
            what is in a feature store need not be computed again.
        tile: of larger images, see :meth:`~modicum.methods.Method.tile`.
        decide: computes predictions from the outputs of all rows together; None if each output is a prediction.
        scored: the rows' scores and further columns, where they were predicted already.
        regions: where images of a dense task may be predicted; None for everywhere.
        boxes: of all rows of the manifest, for a task that is scored by boxes.
        earlier: of a dense task, outputs of another run that the network sees in place of the images.
        on_output: of a dense task, takes each row's number and prediction.
        unlike: compares rows with the training images; None where these are not known.
        sets: makes prediction sets of a classifier's answers; None for none.

    Returns:
        The content of ``metrics.json``.
    """
    title = split or data_name
    dense: DensePredictor | None = None
    further: Mapping[str, np.ndarray] = {}
    if isinstance(task, DenseTask):
        if regions is None and task.finds_region:
            regions = fields_of_rows(manifest, {}, task)
        dense = replace(dense_predictor(network, task, recipe, device, tile), regions=regions)
        dense = replace(dense, earlier=earlier)
        scores: Scores = score_dense(dense, manifest, rows, title, on_output)
    elif scored is not None:
        scores, further = scored
    else:
        scores, further = score_stored(
            network,
            task,
            recipe,
            manifest,
            store,
            store_positions,
            rows,
            device,
            title,
            learned,
            decide,
            boxes,
        )
    if isinstance(scores, MapScores):
        score_maps(scores, network, recipe, manifest, store, store_positions, device, title)
    table = scored_table(scores, manifest)
    content = evaluation_content(scores, manifest, recipe, data_name, split)
    compared: UnlikeRows | None = None
    if unlike is not None:
        compared = unlike(scores.rows())
        content[COLUMN] = dict(compared.counts)
    if sets is not None:
        patients = _groups(manifest, scores.rows())
        of_sets = evaluated_sets(sets, task, table, patients, recipe.resamples, recipe.seed)
        content["metrics"] |= {name: estimate.as_dict() for name, estimate in of_sets.estimates.items()}
        content["conformal"] = sets.as_dict()
        further = {**further, SET_COLUMN: np.array(of_sets.texts, dtype=object)}
    if compared is not None:
        further = {**further, COLUMN: np.array(compared.reasons, dtype=object)}
    write_table(folder / "predictions.csv", table.assign(**further))
    write_json(folder / "metrics.json", content)
    examples = task.examples(scores, count=8)
    if isinstance(task, BoxListTask):
        assert isinstance(scores, BoxListScores)
        reasons = None if compared is None else compared.reasons
        write_found_boxes(folder, task, scores, manifest, store, store_positions, reasons)
        write_box_examples(folder / "examples", task, scores, examples, manifest, store, store_positions)
    elif dense is not None:
        write_dense_examples(folder / "examples", dense, examples, manifest)
    else:
        write_examples(
            folder / "examples",
            network,
            examples,
            manifest,
            store,
            store_positions,
            device,
            recipe.seed,
            decide is None,
        )
    return content


def scored_table(scores: Scores, manifest: Manifest) -> pd.DataFrame:
    """``predictions.csv`` of scores: a row an image, with its name and, where they are known, its patient."""
    rows = scores.rows()
    patients = _groups(manifest, rows)
    table = scores.table()
    table.insert(0, "image", manifest.table["image"].to_numpy()[rows])
    if patients is not None:
        table.insert(1, "patient", patients)
    return table


def evaluation_content(
    scores: Scores, manifest: Manifest, recipe: Recipe, data_name: str, split: str | None
) -> dict[str, Any]:
    """``metrics.json`` of an evaluation: all metrics with intervals by patient, of all images and of each domain."""
    rows = scores.rows()
    patients = _groups(manifest, rows)
    estimates = scores.estimates(patients, recipe.resamples, recipe.seed)
    content = {
        "schema": 1,
        "data": data_name,
        "split": split,
        "images": len(rows),
        "patients": None if patients is None else len(set(patients)),
        "resampling_unit": "image" if patients is None else "patient",
        "resamples": recipe.resamples,
        "confidence": CONFIDENCE,
        "metrics": {name: estimate.as_dict() for name, estimate in estimates.items()},
    }
    if domains := _by_domain(scores, manifest, recipe):
        content["domains"] = domains
    return content


def dense_predictor(
    network: nn.Module, task: DenseTask, recipe: Recipe, device: torch.device, tile: Size | None = None
) -> DensePredictor:
    """The dense predictor of a recipe's network; larger images are predicted in tiles, if a tile size is given."""
    return DensePredictor(
        network,
        task,
        store_settings(recipe.image, recipe.task, recipe.options),
        recipe.training.precision,
        device,
        recipe.training.batch_size,
        tile,
        seed=recipe.seed,
    )


def score_stored(
    network: nn.Module,
    task: Task,
    recipe: Recipe,
    manifest: Manifest,
    store: ImageStore,
    store_positions: np.ndarray,
    rows: np.ndarray,
    device: torch.device,
    title: str,
    learned: tuple[TrainStage, StageData] | None,
    decide: DecideFn | None,
    boxes: BoxSource | None = None,
) -> tuple[Scores, Mapping[str, np.ndarray]]:
    """Scores of one pass over stored images, or over the trained stage's inputs, and further columns of the table."""
    network.to(device).eval()
    if learned is None or draws_answers(network):  # the stage has no seeds for images
        images = {"image": Stored(store.get, store_positions[None])}
        if boxes is not None and task.box_classes is not None:
            images |= as_inputs(boxes, ("boxes", "box_classes"))
        data = StageData(images, task.targets(manifest), rows, rows[:0], rows[:0])
        names = manifest.table["image"].to_numpy()

        def forward(batch: Batch) -> Tensor:
            images = [str(name) for name in names[batch["row"].cpu().numpy()]]
            return predictor_outputs(network, batch["image"], images, recipe.seed)

    else:
        stage, data = learned
        forward = stage.to(device).eval()
    batches = data.in_order(rows, recipe.training.batch_size)
    scores, collected = task.scores(), CollectedOutputs()
    with bar(f"evaluating {title}", len(batches)) as progress:
        score(
            lambda batch: (forward(batch), {}),
            loader(batches, 0, pin=False),
            scores.update if decide is None else collected.take,
            device,
            lambda: autocast(recipe.training.precision, device),
            progress.advance,
            data.on_device,
            lambda number: seed_globals("evaluate", recipe.seed, title, number),
        )
    if decide is None:
        return scores, {}
    decided_rows, decision = collected.decided(decide, scores)
    order = np.searchsorted(decided_rows, scores.rows())
    return scores, {name: np.asarray(values)[order] for name, values in decision.columns.items()}


def _by_domain(scores: Scores, manifest: Manifest, recipe: Recipe) -> dict[str, Any]:
    """Scores of each domain on its own; empty where there are fewer than two."""
    if "domain" not in manifest.table:
        return {}
    rows = scores.rows()
    domains = manifest.table["domain"].iloc[rows].to_numpy(dtype=object)
    names = sorted({str(domain) for domain in domains if not pd.isna(domain)})
    by_domain: dict[str, Any] = {}
    for domain in names if len(names) > 1 else []:
        inside = rows[domains.astype(str) == domain]
        some = scores.of_rows(inside)
        if some is None:
            return {}
        patients = _groups(manifest, inside)
        estimates = some.estimates(patients, recipe.resamples, recipe.seed)
        by_domain[domain] = {
            "images": len(inside),
            "patients": None if patients is None else len(set(patients)),
            "metrics": {name: estimate.as_dict() for name, estimate in estimates.items()},
        }
    return by_domain


def _groups(manifest: Manifest, rows: np.ndarray) -> list[str] | None:
    """Patients of rows; a row without one is a separate patient. None if no patient is known."""
    if "patient" not in manifest.table:
        return None
    patients = manifest.table["patient"].iloc[rows]
    if patients.isna().all():
        return None
    images = manifest.table["image"].iloc[rows]
    return [str(i) if pd.isna(p) or p == "" else str(p) for p, i in zip(patients, images, strict=True)]


def headline(content: Mapping[str, Any], metric: str) -> str:
    """``auroc 0.93 (0.90-0.95)``: one metric of an evaluation in one line."""
    estimate = content["metrics"].get(metric, {})
    ends = (estimate.get(key) for key in ("value", "low", "high"))
    value, low, high = (None if end is None else float(end) for end in ends)
    if value is None or np.isnan(value):
        return f"{metric} undefined"
    interval = "" if low is None or high is None or np.isnan(low) else f" ({low:.3f}-{high:.3f})"
    return f"{metric} {value:.3f}{interval}"
