"""From a recipe to a finished run folder."""

import shutil
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modicum.atomic_files import write_text
from modicum.data.stores.image_store import ImageStore
from modicum.distributed import wait_for_all
from modicum.engine.checkpoint import save_tensors
from modicum.engine.devices import be_deterministic, chosen_device, process_rank
from modicum.engine.early_checks import check_recipe, check_rows
from modicum.engine.frozen_backbone import weights_origin
from modicum.engine.inference.calibration import Scored, calibrated_task, check_calibration
from modicum.engine.inference.evaluation import evaluate_rows
from modicum.engine.inference.fields_of_view import FIELDS, FieldsOfView, fields_of_rows, found_as_given
from modicum.engine.inference.guards import UnlikeFn, keep_training_images
from modicum.engine.inference.quality_gate import chosen_rows
from modicum.engine.inputs.auxiliary_images import with_auxiliary_images
from modicum.engine.inputs.boxes import numbered_for
from modicum.engine.inputs.data_changes import AUXILIARY, check_same_data
from modicum.engine.inputs.preparation import PreparedData, pixel_statistics, prepare, task_for
from modicum.engine.inputs.reference import reference_reader
from modicum.engine.inputs.stage_inputs import StageInputs
from modicum.engine.memory_guard import check_training_memory, tensors_within_memory
from modicum.engine.model import backbone_in, check_backbone, further_images, learned_of, make_method
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import RunFolder, write_json
from modicum.engine.run_state import as_user_error, record_end, start_run
from modicum.engine.scoring import decide_fn
from modicum.engine.stage_sources import check_same_start, stage_sources
from modicum.engine.training.results import NOTHING_LEARNED, total_time
from modicum.engine.training.run_stages import Learned, StagesResult, run_stages
from modicum.engine.training.tracking import Tracking, make_tracking
from modicum.methods import ExtractStage, Method, TrainStage
from modicum.nn import count_parameters, learnable_parameters
from modicum.progress import say, set_quiet
from modicum.tasks import Task
from modicum.tasks.metric import check_monitor


def fit_recipe(
    recipe: Recipe, folder: RunFolder, *, resume: bool, stores: Path, workers: int
) -> dict[str, Any]:
    """Trains, evaluates and writes everything into a run folder. Returns the content of ``metrics.json``.

    Args:
        recipe: what to do.
        folder: where; must be new, or hold an unfinished run of the same recipe if ``resume``.
        resume: go on with what is there.
        stores: where image and feature stores are kept, shared by runs.
        workers: processes that decode images.

    Raises:
        InputError: bad input, found before training wherever possible.
        ResourceError: memory or disk ran out; the run folder can be resumed.
        InterruptedRunError: stopped by Ctrl-C; the run folder can be resumed.
    """
    first = process_rank() == 0
    began = time.monotonic()
    started = not first
    with folder.locked() if first else nullcontext():
        if not first:
            set_quiet(True)
        try:
            if first:
                start_run(recipe, folder, resume)
                started = True
            content = _fit(recipe, folder, stores, workers, began)
        except (KeyboardInterrupt, Exception) as error:
            if not started and not isinstance(error, KeyboardInterrupt):
                raise  # another run's folder stays as it is
            user_error = as_user_error(error, recipe, folder)
            if first:
                record_end(folder, user_error)
            if user_error is error:
                raise
            raise user_error from error
        wait_for_all()
    return content


def _fit(recipe: Recipe, folder: RunFolder, stores: Path, workers: int, began: float) -> dict[str, Any]:
    device = chosen_device(recipe.device)
    check_recipe(recipe)
    be_deterministic(recipe.training.deterministic)
    prepared, task = prepared_data(recipe, folder, stores, workers)
    targets = task.targets(prepared.manifest)
    if folder.learned_something:
        check_same_data(folder, prepared, task)
    if process_rank() == 0:
        prepared.with_digests().save(folder.manifest)
        content = {**prepared.fingerprint(), "notes": prepared.notes, AUXILIARY: prepared.auxiliary_digests}
        write_json(folder.fingerprint, content)
        _write_artefacts(folder, task.artefacts())
    train_rows = prepared.rows("train")
    training_targets = {name: values[train_rows] for name, values in targets.items()}
    with tensors_within_memory(f"method {recipe.method}"):
        method = make_method(
            recipe,
            task,
            training_targets,
            lambda: pixel_statistics(prepared),
            reference_reader(prepared, task, targets),
        )
    check_training_memory(recipe, method, device)
    digest, sources = check_backbone(method, None), stage_sources(recipe, method)
    if folder.learned_something:
        check_same_start(folder, digest, sources)
    if process_rank() == 0:
        # An unfinished run's report wants to know the classes.
        write_model(recipe, folder, task, method, digest, None, sources=sources)
    inputs = StageInputs(recipe, prepared, task, targets, stores, device)
    tracking = make_tracking(recipe, folder, process_rank() == 0)
    stages = run_stages(method, recipe, folder, inputs, task, device, tracking)
    if process_rank() != 0:
        return {}
    return finish_run(recipe, folder, task, method, digest, inputs, stages, began, tracking)


def finish_run(
    recipe: Recipe,
    folder: RunFolder,
    task: Task,
    method: Method,
    frozen: str | None,
    inputs: StageInputs,
    stages: StagesResult,
    began: float,
    tracking: Tracking | None = None,
) -> dict[str, Any]:
    """Calibrates, saves and evaluates what was learned; returns the content of ``metrics.json``.

    Args:
        recipe: the run's recipe.
        folder: of the run.
        task: what was learned.
        method: with its selected weights.
        frozen: digest of its frozen backbone; None without one.
        inputs: the data, and what was extracted of them.
        stages: results of the stages.
        began: when the run began, by the monotonic clock.
        tracking: is told the scores.
    """
    prepared, device = inputs.prepared, inputs.device
    task, of_val = calibrated_task(task, method, recipe, prepared, device, stages.learned)
    weights_digest = save_tensors(folder.weights, learned_of(method))
    fields = found_as_given(prepared, task)
    write_model(recipe, folder, task, method, frozen, weights_digest, fields)
    content = _describe(recipe, folder, task, method, stages, inputs)
    regions = fields_of_rows(prepared.manifest, {FIELDS: fields}, task)
    extracted = any(isinstance(stage, ExtractStage) for stage in method.stages())
    unlike = keep_training_images(
        folder, prepared, recipe, task, method.predictor(), device, method.tile(), extracted
    )
    content["evaluations"] = _evaluate(
        recipe, folder, task, method, prepared, device, stages.learned, of_val, regions, unlike
    )
    content["time"]["fit_seconds"] = time.monotonic() - began
    write_json(folder.metrics, content)
    if tracking is not None:
        tracking.finish(content["evaluations"])
    folder.set_status("finished")
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    return content


def prepared_data(recipe: Recipe, folder: RunFolder, stores: Path, workers: int) -> tuple[PreparedData, Task]:
    """The data with everything that is read besides the images, and the task."""
    going_on = folder.checkpoints.is_dir()  # it has been checked when it began
    prepared = prepare(
        recipe,
        folder,
        stores,
        workers,
        lambda rows: None if going_on else check_rows(recipe, rows),
        lambda rows: chosen_rows(recipe.data, recipe.device, rows, folder),
    )
    task = task_for(prepared.manifest, recipe, stores)
    if (
        not recipe.data.every_fold
    ):  # an ensemble of all folds is calibrated on what its members predict out of fold
        check_calibration(task, prepared)
    check_monitor(task.metric(recipe.training.monitor or task.monitor))
    task_notes = [*task.notes, *task.cautions(prepared.manifest)]
    for note in task_notes:
        say(note)
    boxes = numbered_for(prepared.boxes, task)
    prepared = replace(prepared, notes=[*prepared.notes, *task_notes], boxes=boxes)
    broken_csv = folder.broken if process_rank() == 0 else None
    further = further_images(recipe)
    prepared = with_auxiliary_images(prepared, task, recipe, stores, workers, broken_csv, further)
    return replace(prepared, auxiliary_digests={**prepared.auxiliary_digests, **task.content_digests()}), task


def _write_artefacts(folder: RunFolder, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        write_text(folder.path / name, text)


def write_model(
    recipe: Recipe,
    folder: RunFolder,
    task: Task,
    method: Method,
    frozen: str | None,
    weights: str | None,
    fields: Mapping[str, Any] | None = None,
    sources: Mapping[str, str] | None = None,
) -> None:
    digests = {"frozen_backbone_sha256": frozen, "weights_sha256": weights}
    content: dict[str, Any] = {"schema": 1, "task": task.to_dict(), **digests}
    if frozen is not None and (origin := weights_origin(recipe.backbone, folder)) is not None:
        content["frozen_backbone"] = origin
    if fields is not None:
        content[FIELDS] = fields
    if sources:
        content["stage_sources"] = sources
    if (backbone := backbone_in(method.predictor())) is not None:
        # One that is made anew has timm's, whatever its weights were trained with.
        content["normalisation"] = backbone.normalisation
    write_json(folder.model, content)


def _describe(
    recipe: Recipe, folder: RunFolder, task: Task, method: Method, stages: StagesResult, inputs: StageInputs
) -> dict[str, Any]:
    """The content of ``metrics.json``, apart from the evaluations."""
    learning = [stage for stage in method.stages() if isinstance(stage, TrainStage)]
    total, _ = count_parameters(nn.ModuleList([method.predictor(), *learning]))
    learned = {parameter for stage in learning for parameter in learnable_parameters(stage)}
    learnable = sum(parameter.numel() for parameter in learned)
    facts = task.to_dict()
    results = list(stages.results.values())
    content = {
        "schema": 1,
        "run": folder.name,
        "task": task.name,
        "kind": task.kind,
        "classes": facts.get("classes"),
        "method": recipe.method,
        "backbone": method.backbone_name,
        "seed": recipe.seed,
        "selection": _selection(method, stages),
        "parameters": {
            "total": total,
            "learnable": learnable,
            "learnable_percent": 100 * learnable / max(1, total),
        },
        "memory": max(
            (result.memory for result in [NOTHING_LEARNED, *results]), key=lambda m: m.get("peak_bytes", 0)
        ),
        "time": total_time(results),
        "stages": stages.describe(),
    }
    if (features := inputs.describe()) is not None:
        content["features"] = features
    described = {}
    for stage in method.stages():
        if not isinstance(stage, ExtractStage):
            _write_artefacts(folder, stage.artefacts())
            if findings := stage.findings():
                described[stage.name] = findings
    if described:
        content["findings"] = described
    return content


def _selection(method: Method, stages: StagesResult) -> dict[str, Any]:
    """How the weights were chosen: of the last stage that the task scores, or else of the last one."""
    results = [NOTHING_LEARNED, *stages.results.values()]
    scored = [stages.results.get(stage.name) for stage in method.stages() if getattr(stage, "scored", False)]
    return next((result for result in reversed(scored) if result is not None), results[-1]).selection


def _evaluate(
    recipe: Recipe,
    folder: RunFolder,
    task: Task,
    method: Method,
    prepared: PreparedData,
    device: torch.device,
    learned: Learned | None,
    of_val: Scored | None,
    regions: FieldsOfView | None,
    unlike: UnlikeFn | None,
) -> dict[str, Any]:
    if not task.evaluated:
        return {}
    store: ImageStore = prepared.store
    evaluations = {}
    for split in ("val", "test") if recipe.evaluate_test else ("val",):
        rows = prepared.rows(split)
        if len(rows):
            evaluations[split] = evaluate_rows(
                method.predictor(),
                task,
                recipe,
                prepared.manifest,
                store,
                prepared.positions,
                rows,
                device,
                folder.evaluation(split),
                prepared.manifest.name,
                split,
                learned,
                method.tile(),
                decide_fn(method, prepared.manifest),
                of_val if split == "val" else None,
                regions=regions,
                boxes=prepared.boxes,
                unlike=unlike,
            )
    return evaluations
