"""Evaluates the model of a run on labelled data that may differ from those it was trained with."""

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from modicum.data.boxes.options import BoxOptions
from modicum.data.layouts.asked_split import rows_of_split, splits_of
from modicum.data.layouts.files_read import files_of, files_read
from modicum.data.manifest import SPLITS, Manifest
from modicum.data.processes import usable_cores
from modicum.engine.devices import chosen_device
from modicum.engine.inference.behind import earlier_outputs
from modicum.engine.inference.box_evaluation import BOX_TABLE, COCO
from modicum.engine.inference.evaluation import evaluate_rows
from modicum.engine.inference.fields_of_view import fields_of_rows
from modicum.engine.inference.guards import UnlikeFn, guard_of_run, stored_images, unlike_note, unlike_rows
from modicum.engine.inference.image_text import ImageTextRun, text_of_artefact
from modicum.engine.inference.judges import OutputFiles, check_judged_data, check_judges, judged
from modicum.engine.inference.predict_run import check_predicts
from modicum.engine.inference.prediction_sets import check_asked_sets, sets_of_run
from modicum.engine.inference.seen_images import seen_before, seen_notes
from modicum.engine.inference.zero_shot import labelled_task, prompt_classifier
from modicum.engine.inputs.auxiliary_images import with_auxiliary_images
from modicum.engine.inputs.batches import StageData, Stored
from modicum.engine.inputs.boxes import located_boxes, numbered_for
from modicum.engine.inputs.preparation import PreparedData, read_manifest, store_settings, stored
from modicum.engine.model import finished_model, load_method
from modicum.engine.recipe.new_recipe import plain_name
from modicum.engine.recipe.settings import OF_RUN, DataSettings, Recipe
from modicum.engine.run_folder import STORES, RunFolder, read_table, write_json
from modicum.engine.scoring import decide_fn
from modicum.errors import InputError
from modicum.methods import Method, TrainStage
from modicum.output_paths import check_files, check_output
from modicum.progress import say
from modicum.tasks import DenseTask, Task
from modicum.tasks.classification.conformal import sets_note

Learned = tuple[TrainStage, StageData]
WRITTEN = ("metrics.json", "predictions.csv", "broken.csv", BOX_TABLE, COCO)
"""Files of an evaluation, beside its examples."""


@dataclass(frozen=True)
class EvaluationSettings:
    """How data are evaluated; see :meth:`modicum.run.Run.evaluate` for what each means."""

    split: str | None = None
    name: str | None = None
    device: str | None = None
    skip_broken: bool = False
    workers: int | None = None
    stores: Path | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)
    """``columns``, ``pairs``, ``images``, ``split_lists``, ``slices``, ... where they differ from the run's."""
    out: Path | None = None
    prompts: Mapping[str, Sequence[str]] | None = None
    """Texts of each class: the labels of the data are compared with what these say, and not what the run has learned."""
    scored_by: str | None = None
    after: str | None = None
    judges: tuple[str, ...] = ()
    answers: Mapping[str, Any] = field(default_factory=dict)
    prompt_file: Path | None = None
    """Where the prompts were read, if in a file."""
    conformal: float | None = None
    """As of predictions; see :class:`~modicum.engine.inference.predict_run.PredictionSettings`."""
    conformal_score: str | None = None


def evaluate_run(
    folder: RunFolder, weights: str | None, data: str | Path, settings: EvaluationSettings
) -> dict[str, Any]:
    """Writes ``evaluations/<name>/`` and returns the content of its ``metrics.json``; see
    :meth:`modicum.run.Run.evaluate`.
    """
    if settings.out is not None:
        _check_out(settings.out, data, folder, settings)
    recipe, task, method = load_method(folder, weights, settings.answers)
    prompted = None
    if settings.prompts is not None:
        prompted = ImageTextRun.open(folder, weights, settings.device)
    elif task.scored_in_pairs:
        kept = settings.stores or _stores(folder, settings.out)
        task = task.with_artefacts(partial(text_of_artefact, folder), kept)
    else:
        check_predicts(folder, task)
    if settings.conformal is not None and settings.prompts is not None:
        raise InputError(
            "--conformal with --prompts: no validation image was answered by these prompts",
            "leave one out",
        )
    check_asked_sets(recipe.task, settings.conformal, settings.conformal_score)
    check_judges(settings.judges, task)
    with_boxes = task.box_classes is not None
    data_settings = reading(recipe.data, data, settings.skip_broken, settings.reading, with_boxes)
    recipe = recipe.model_copy(update={"data": data_settings})
    everything = (
        read_manifest(recipe.data, "classification")
        if prompted
        else read_manifest(recipe.data, recipe.task, recipe.options)
    )
    if settings.out is not None:
        lists, columns = recipe.data.split_lists, recipe.data.columns
        read = chain(files_read(Path(data), everything, lists, columns), files_of(everything))
        check_files("--out", _files_in(settings.out), read)
    for note in everything.notes:  # rows without a label that are left out, findings that are unknown, ...
        say(note)
    manifest, split = rows_to_evaluate(everything, settings.split)
    check_judged_data(settings.judges, manifest.table)
    network, tile = method.predictor(), method.tile()
    if prompted is not None and settings.prompts is not None:
        task = labelled_task(settings.prompts, everything)  # a split may lack a class
        exclusive = task.kind != "multi-label"
        if not exclusive:
            say(
                "scores of findings by prompts are no probabilities: of these metrics, AUROC and average precision count"
            )
        network = prompt_classifier(prompted, settings.prompts, task.classes, settings.scored_by, exclusive)
    elif task.scored_in_pairs:
        task.check_columns(manifest, recipe.options)
    named = manifest.name if prompted is None else f"{manifest.name}-prompts"
    title = evaluation_name(settings.name, named, split)
    place = folder.evaluation(title) if settings.out is None else settings.out
    prepared = _prepared(
        manifest, task, recipe, settings, _stores(folder, settings.out), place / "broken.csv"
    )
    device = chosen_device(settings.device or recipe.device)
    sets = None
    if settings.conformal is not None:
        sets = sets_of_run(folder, task, settings.conformal, settings.conformal_score)
        say(sets_note(sets))
    unlike = _unlike(folder, task, recipe, prepared, network, device, tile)
    with (
        folder.locked() if settings.out is None else nullcontext(),
        TemporaryDirectory(prefix="modicum-") as temporary,
    ):
        made = OutputFiles(Path(temporary) / "outputs")
        earlier = None
        if settings.after is not None:
            names, refs = prepared.manifest.table["image"].tolist(), prepared.manifest.refs()
            earlier = earlier_outputs(settings.after, task, names, refs, device, Path(temporary))
        content = evaluate_rows(
            network if earlier is None else method.predictor_behind(),
            task,
            recipe,
            prepared.manifest,
            prepared.store,
            prepared.positions,
            np.arange(len(prepared.manifest)),
            device,
            place,
            prepared.manifest.name,
            split,
            learned=_learned_pairs(method, task, prepared) if task.scored_in_pairs else None,
            tile=tile,
            decide=decide_fn(method, prepared.manifest),
            regions=fields_of_rows(prepared.manifest, finished_model(folder), task),
            boxes=prepared.boxes,
            earlier=earlier,
            on_output=made.write if settings.judges else None,
            unlike=unlike,
            sets=sets,
        )
        if settings.after is not None:
            content["after"] = settings.after
        if settings.judges:
            content["judges"] = judged(
                settings.judges, prepared.manifest, made, task, settings, Path(temporary), evaluate_run
            )
        content |= seen_before(folder, prepared)
        write_json(place / "metrics.json", content)
        if settings.out is None:
            _add_to_metrics(folder, title, content)
    for note in seen_notes(content):
        say(note)
    if note := unlike_note(content.get("unlike_training", {})):
        say(note)
    return content


def _unlike(
    folder: RunFolder,
    task: Task,
    recipe: Recipe,
    prepared: PreparedData,
    network: nn.Module,
    device: torch.device,
    tile: tuple[int, int] | None,
) -> UnlikeFn | None:
    """Compares rows with the run's training images; None where it does not say what these looked like."""
    guard = guard_of_run(folder)
    if guard is None:
        return None
    images = stored_images(prepared.store, prepared.positions, recipe, task, network, device, tile)
    return partial(unlike_rows, guard, images)


def _check_out(out: Path, data: str | Path, folder: RunFolder, settings: EvaluationSettings) -> None:
    """What can be said of ``--out`` before anything is read."""
    inputs = [Path(data), folder.path]
    if settings.after is not None and not settings.after.startswith(OF_RUN):
        inputs.append(Path(settings.after))
    check_output("--out", out, inputs, folder=True)
    if RunFolder(out).recipe.is_file():
        raise InputError(
            f"--out '{out}' is a run folder: its metrics would be written over", "choose another --out"
        )
    if settings.prompt_file is not None:
        check_files("--out", _files_in(out), [settings.prompt_file])


def _files_in(out: Path) -> list[Path]:
    """What is there of an evaluation."""
    return [
        path
        for path in (*out.glob("*"), *out.glob("examples/*"))
        if path.name in WRITTEN or path.parent != out
    ]


def _learned_pairs(method: Method, task: Task, prepared: PreparedData) -> Learned:
    """The last scored stage and the rows with all that it reads: what is scored takes more than an image."""
    stage = [s for s in method.stages() if isinstance(s, TrainStage) and s.scored][-1]
    rows = np.arange(len(prepared.manifest))
    images = {"image": Stored(prepared.store.get, prepared.positions[None])}
    return stage, StageData(images, task.targets(prepared.manifest), rows[:0], rows, rows[:0])


def _prepared(
    manifest: Manifest,
    task: Task,
    recipe: Recipe,
    settings: EvaluationSettings,
    own_stores: Path,
    broken_csv: Path,
) -> PreparedData:
    """Decoded images; where the task is dense, with what they are compared with, checked as before a training."""
    kept, cores = settings.stores or own_stores, settings.workers
    cores = usable_cores() if cores is None else cores
    images = store_settings(recipe.image, recipe.task, recipe.options)
    # A file that was replaced by another of the same size and time must not be scored by its old pixels.
    manifest, store, positions = stored(manifest, images, kept, cores, settings.skip_broken, broken_csv, True)
    prepared = PreparedData(manifest, store, positions, [], check_content=True)
    if task.box_classes is not None:
        options = BoxOptions.of(recipe.data.box_options)
        manifest, boxes, notes = located_boxes(manifest, store, positions, options, cores)
        for note in notes:
            say(note)
        prepared = replace(prepared, manifest=manifest, boxes=numbered_for(boxes, task))
    if isinstance(task, DenseTask):
        return with_auxiliary_images(prepared, task, recipe, kept, cores, broken_csv)
    return prepared


def _stores(folder: RunFolder, out: Path | None) -> Path:
    """Where decoded images are kept: with those of the run, or beside ``out`` where nothing can be written there."""
    own_stores = folder.stores
    if out is None or os.access(own_stores if own_stores.exists() else own_stores.parent, os.W_OK):
        return own_stores
    return out.absolute().parent / STORES


def _add_to_metrics(folder: RunFolder, title: str, content: Mapping[str, Any]) -> None:
    if not folder.metrics.is_file():
        raise InputError(f"run '{folder.name}' has no metrics yet", "finish it with --resume")
    overall = read_table(folder.metrics)
    evaluations = overall.get("evaluations")
    others = dict(evaluations) if isinstance(evaluations, dict) else {}
    others.pop(title, None)  # the newest is last: reports go by it
    overall["evaluations"] = {**others, title: dict(content)}
    write_json(folder.metrics, overall)


def reading(
    run_data: DataSettings,
    data: str | Path,
    skip_broken: bool,
    given: Mapping[str, Any],
    with_boxes: bool = False,
) -> DataSettings:
    """How other data are read: as the run's own where nothing else is said and it applies.

    Args:
        run_data: settings of the run.
        data: to evaluate.
        skip_broken: whether images that cannot be read are set aside.
        given: what the user says of these data.
        with_boxes: whether boxes are measured by; else they are only learned from, and a file of them would not know
            other images.
    """
    columns = {role: column for role, column in run_data.columns.items() if with_boxes or role != "boxes"}
    changed = {"source": str(data), "skip_broken": skip_broken, "images": None, "split_lists": None}
    changed |= {"columns": columns, **given}
    if not Path(data).is_dir():
        changed.setdefault("pairs", None)  # a table names both itself
    elif changed.get("pairs", run_data.pairs) is not None:
        changed["columns"] = given.get("columns", {})
    return run_data.model_copy(update=changed)


def evaluation_name(asked: str | None, data: str, split: str | None) -> str:
    """The folder of an evaluation; never that of one that the training made."""
    if asked in SPLITS:
        raise InputError(
            f"evaluation name '{asked}' is the training's own",
            f"choose another --name, such as {data}-{asked}",
        )
    name = asked or (f"{data}-{split}" if split else data)
    return plain_name(f"data-{name}" if name in SPLITS or not name else name)


def rows_to_evaluate(manifest: Manifest, split: str | None) -> tuple[Manifest, str | None]:
    """The rows of a split, and its name: ``test`` by default where the data has one, else all rows and None.

    Raises:
        InputError: there is no such split.
    """
    if split is None and "test" in splits_of(manifest):
        split = "test"
    return rows_of_split(manifest, split)
