"""Makes one run of several finished ones: their mean, or what stands for it, evaluated on the data that they share."""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd

from modicum.data.manifest import Manifest
from modicum.engine.devices import chosen_device
from modicum.engine.fit import finish_run, prepared_data
from modicum.engine.inference.export import network_card
from modicum.engine.inputs.stage_inputs import StageInputs
from modicum.engine.model import load_method, make_method
from modicum.engine.output_scales import output_scale
from modicum.engine.recipe.settings import Recipe
from modicum.engine.recipe.validation import validated
from modicum.engine.replaced_run import old_run_aside
from modicum.engine.run_folder import RunFolder, write_json
from modicum.engine.run_state import record_end, start_run
from modicum.engine.training.run_stages import StagesResult
from modicum.errors import InputError
from modicum.methods import Method
from modicum.methods.ensemble import Ensemble
from modicum.nn.whole_state import load_whole_state, whole_state
from modicum.progress import say
from modicum.tasks import Task
from modicum.tasks.scores import Scores
from modicum.wording import count_of

Opened = tuple[RunFolder, Recipe, Task, Method]


def ensemble_runs(
    runs: Sequence[Path],
    folder: RunFolder,
    *,
    stores: Path,
    workers: int,
    device: str | None = None,
    overwrite: bool = False,
    held_out: Scores | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes a run folder whose predictor joins those of others; returns the content of ``metrics.json``.

    The data, their split and all settings of images are those of the first run; grades are decided from the mean, with
    what the first run's task asks to be chosen on validation chosen anew. Runs that are folds of one cross-validation
    have no images in common that none has learned from but those of a given test split: on these alone their ensemble is
    evaluated.

    Args:
        runs: at least two finished runs of the same task and classes, on images prepared alike.
        folder: a new one.
        stores: folder of decoded images.
        workers: processes that decode images.
        device: where to compute.
        overwrite: replace a run of that name, which stays until the new one is whole.
        held_out: of folds, each image's prediction by the run that has not seen it: what is chosen on validation is
            chosen on these (as scikit-learn's ``CalibratedClassifierCV(ensemble=False)`` does).
        settings: of the task that an ensemble may have of its own (:attr:`~modicum.tasks.Task.ensemble_settings`), by
            name; all others are the first run's.

    Raises:
        InputError: fewer than two runs, runs that do not go together, or one that learned from another's validation or
            test images.
    """
    began = time.monotonic()
    if len(runs) < 2:
        raise InputError(f"an ensemble of {count_of(len(runs), 'run')}", "name two or more runs")
    if len({path.resolve() for path in runs}) < len(runs):
        raise InputError("a run is named twice", "name each run once: it would count double")
    if folder.path.resolve() in {path.resolve() for path in runs}:
        raise InputError(f"run '{folder.name}' is one of those to be joined", "choose another --name")
    opened = [(RunFolder.open(path), *load_method(RunFolder.open(path))) for path in runs]
    held = _held_out_of(opened)
    for other in opened[1:]:
        _check_alike(opened[0], other)
        _check_unseen(opened[0], other, held)
    recipe = _recipe(opened, device, settings or {})
    with old_run_aside(recipe, folder) if overwrite else nullcontext(), folder.locked():
        start_run(recipe, folder, resume=False)
        try:
            return _make(recipe, folder, opened, stores, workers, began, held_out)
        except (KeyboardInterrupt, Exception) as error:
            record_end(folder, error)
            raise


def _make(
    recipe: Recipe,
    folder: RunFolder,
    opened: Sequence[Opened],
    stores: Path,
    workers: int,
    began: float,
    held_out: Scores | None,
) -> dict[str, Any]:
    prepared, task = prepared_data(recipe, folder, stores, workers)
    if held_out is not None:
        task = task.calibrated(held_out)
    prepared.with_digests().save(folder.manifest)
    write_json(folder.fingerprint, {**prepared.fingerprint(), "notes": prepared.notes})
    method = make_method(recipe, task, targets={}, has_data=False)
    assert isinstance(method, Ensemble)
    for made, (_, _, _, learned) in zip(method.members, opened, strict=True):
        load_whole_state(made.predictor(), whole_state(learned.predictor()))
        for made_stage, stage in zip(made.stages(), learned.stages(), strict=True):
            load_whole_state(made_stage, whole_state(stage))
    targets = task.targets(prepared.manifest)
    inputs = StageInputs(recipe, prepared, task, targets, stores, chosen_device(recipe.device))
    return finish_run(recipe, folder, task, method, None, inputs, StagesResult(), began)


def _recipe(opened: Sequence[Opened], device: str | None, settings: Mapping[str, Any]) -> Recipe:
    first, task = opened[0][1:3]
    for name in settings:
        if name not in task.ensemble_settings:
            known = ", ".join(task.ensemble_settings) or "none"
            raise InputError(
                f"setting '{name}' of an ensemble of task '{task.name}'", f"leave it out; there are: {known}"
            )
    options = validated(task.Options, {**first.options, **settings}, f"task {task.name}")
    data = first.data.model_copy(update={"fold": None} if _are_folds(opened) else {})
    cards = [network_card(folder.name, recipe, task, method) for folder, recipe, task, method in opened]
    scales = [output_scale(folder, task) for folder, _, task, _ in opened]
    return first.model_copy(
        update={
            "method": Ensemble.name,
            "data": data,
            "config": {"members": cards, **({} if None in scales else {"scales": scales})},
            "options": options.model_dump(mode="json"),
            "stages": {},
            "based_on": None,
            "device": device or first.device,
        }
    )


def _check_alike(first: Opened, other: Opened) -> None:
    """Raises InputError where the outputs of two runs cannot be averaged."""
    asked, other_settings = first[2].agreement(), other[2].agreement()
    for key in dict.fromkeys([*asked, *other_settings]):
        if asked.get(key) != other_settings.get(key):
            raise InputError(
                f"runs '{first[0].name}' and '{other[0].name}' differ in {key}: {asked.get(key)} "
                f"and {other_settings.get(key)}",
                "join runs of the same task, classes and outputs",
            )
    for key, value in first[1].image.model_dump().items():
        if getattr(other[1].image, key) != value:
            raise InputError(
                f"runs '{first[0].name}' and '{other[0].name}' prepare images differently: {key} is {value} and "
                f"{getattr(other[1].image, key)}",
                "join runs with the same settings of images",
            )


def _are_folds(opened: Sequence[Opened]) -> bool:
    """Whether the runs are folds of one cross-validation."""
    data = [recipe.data for _, recipe, _, _ in opened]
    return data[0].folds is not None and len({(one.source, one.folds) for one in data}) == 1


def _held_out_of(opened: Sequence[Opened]) -> set[str]:
    """Digests of the images on which the ensemble is evaluated; of folds those of a test split that all have."""
    splits = [_splits(folder) for folder, _, _, _ in opened]
    if not _are_folds(opened):
        return set(splits[0].index[splits[0].isin(["val", "test"])])
    return set.intersection(*(set(one.index[one == "test"]) for one in splits))


def _check_unseen(first: Opened, other: Opened, held: set[str]) -> None:
    """Raises InputError where one run learned from images on which the ensemble is evaluated."""
    theirs = _splits(other[0])
    learned = set(theirs.index[theirs == "train"])
    if seen := learned & held:
        raise InputError(
            f"run '{other[0].name}' learned from {count_of(len(seen), 'image')} on which '{first[0].name}' is "
            "validated or tested: the scores would be optimistic",
            "join runs with the same split (--set split_seed=S, or a column split)",
        )
    if not learned:
        say(f"run '{other[0].name}' does not say which images it learned from")


def _splits(folder: RunFolder) -> pd.Series:
    """The split of each image by the digest of its file."""
    table = Manifest.read_saved(folder.manifest, Path()).table
    if not {"sha256", "split"} <= set(table):
        return pd.Series(dtype=object)
    return table.drop_duplicates("sha256").set_index("sha256")["split"]
