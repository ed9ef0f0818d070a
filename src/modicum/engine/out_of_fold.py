"""Predictions out of fold: each image by the run of a cross-validation that neither learned from it nor tested others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from modicum.data.manifest import REFERENCE, Manifest
from modicum.engine.devices import chosen_device
from modicum.engine.fit import prepared_data
from modicum.engine.inference.dense_evaluation import score_dense
from modicum.engine.inference.evaluation import dense_predictor, score_stored
from modicum.engine.inference.fields_of_view import fields_of_rows
from modicum.engine.inference.map_evaluation import score_maps
from modicum.engine.inputs.preparation import PreparedData
from modicum.engine.model import finished_model, load_method
from modicum.engine.model_file import task_of_run
from modicum.engine.output_scales import output_scale
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import RunFolder
from modicum.engine.scoring import decide_fn
from modicum.errors import InputError
from modicum.progress import quietly
from modicum.tasks import DenseTask
from modicum.tasks.scores import MapScores, Scores


@dataclass(frozen=True)
class OutOfFold:
    """The predictions of all folds together.

    Attributes:
        scores: of every image that is held out in turn, each decided by what its own run chose on validation.
        uncalibrated: the same outputs as the task reads them before anything is chosen on validation, in the unit of an
            ensemble where the runs' outputs differ in scale.
        prepared: the data; only a test split that is given is one here.
        recipe: that of the folds, with no fold held out.
        held_out: what folds hold out in turn: ``test``, or ``val`` where a test split is given.
        folds: for each image of ``scores``, in the order of its rows, the fold that holds it out, from 1.
    """

    scores: Scores
    uncalibrated: Scores
    prepared: PreparedData
    recipe: Recipe
    held_out: str
    folds: np.ndarray


def score_out_of_fold(
    runs: Sequence[RunFolder], folder: RunFolder, *, stores: Path, workers: int
) -> OutOfFold:
    """Predicts the images of each fold by its own run, and scores all of them together.

    Args:
        runs: of all folds, in their order; finished.
        folder: where lists of broken images and of quality go.
        stores: folder of decoded images.
        workers: processes that decode images.

    Raises:
        InputError: the data are not those that the runs have seen, or an image is not held out exactly once.
    """
    first = Recipe.read(runs[0].recipe)
    recipe = first.model_copy(update={"data": first.data.model_copy(update={"fold": None})})
    with quietly():  # each run has said it
        prepared, task = prepared_data(recipe, folder, stores, workers)
    held_out = "val" if len(prepared.rows("test")) else "test"
    rows_of = [_rows_held_out(run, prepared, held_out) for run in runs]
    _check_once(prepared, rows_of)
    device = chosen_device(recipe.device)
    parts = [
        _scores_of(run, prepared, rows, device, held_out) for run, rows in zip(runs, rows_of, strict=True)
    ]
    uncalibrated = task.scores()
    uncalibrated.merge(_comparable(runs, parts))
    parts[0].pool(parts[1:])
    folds = np.zeros(len(prepared.manifest), dtype=np.int64)
    for number, rows in enumerate(rows_of, 1):
        folds[rows] = number
    return OutOfFold(parts[0], uncalibrated, prepared, recipe, held_out, folds[parts[0].rows()])


def _comparable(runs: Sequence[RunFolder], parts: Sequence[Scores]) -> list[Scores]:
    """The scores in the unit in which an ensemble averages them; as they are where there is none."""
    try:
        scales = [output_scale(run, task_of_run(run)) for run in runs]
    except InputError:  # there will be no ensemble: it says why
        return list(parts)
    return [
        part if scale is None else part.rescaled(*scale) for part, scale in zip(parts, scales, strict=True)
    ]


def _rows_held_out(run: RunFolder, prepared: PreparedData, split: str) -> np.ndarray:
    table = Manifest.read_saved(run.manifest, Path()).table
    now = prepared.with_digests().table
    if any(table[name].tolist() != now[name].tolist() for name in ("image", "sha256")):
        raise InputError(
            f"the data are not those that fold {run.name} has seen",
            "restore them, or cross-validate under another --name",
        )
    return np.flatnonzero(table["split"].to_numpy() == split)


def _check_once(prepared: PreparedData, rows_of: Sequence[np.ndarray]) -> None:
    """Raises InputError unless the folds hold out every image that is not in a given test split, once each."""
    times = np.bincount(np.concatenate(rows_of), minlength=len(prepared.manifest))
    expected = np.ones_like(times)
    expected[prepared.rows("test")] = 0
    if "split" in prepared.manifest.table:  # images of reference, and their patients', are in no fold
        expected[(times == 0) & _beside_reference(prepared.manifest)] = 0
    if wrong := int((times != expected).sum()):
        raise InputError(
            f"{wrong} of {len(times)} images are not held out exactly once",
            "the folds were not dealt from the same data: cross-validate under another --name",
        )


def _beside_reference(manifest: Manifest) -> np.ndarray:
    """Rows that may be in no fold."""
    patients = np.array(manifest.patients(), dtype=object)
    reference = manifest.table["split"].to_numpy() == REFERENCE
    return np.isin(patients, patients[reference])


def _scores_of(
    run: RunFolder, prepared: PreparedData, rows: np.ndarray, device: torch.device, title: str
) -> Scores:
    recipe, task, method = load_method(run)
    network, manifest = method.predictor(), prepared.manifest
    if isinstance(task, DenseTask):
        regions = fields_of_rows(manifest, finished_model(run), task)
        dense = replace(dense_predictor(network, task, recipe, device, method.tile()), regions=regions)
        return score_dense(dense, manifest, rows, title)
    store, positions = prepared.store, prepared.positions
    scores, _ = score_stored(
        network,
        task,
        recipe,
        manifest,
        store,
        positions,
        rows,
        device,
        title,
        None,
        decide_fn(method, manifest),
        prepared.boxes,
    )
    if isinstance(scores, MapScores):
        score_maps(scores, network, recipe, manifest, store, positions, device, title)
    return scores
