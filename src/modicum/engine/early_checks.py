"""Everything about a training that can be said before a single image is decoded.

Decoding a data set may take an hour. A name that is mistyped, weights that are not there, a size that the network cannot
take are said before.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from modicum.data.held_out import hold_out
from modicum.data.manifest import Manifest
from modicum.engine.devices import check_launched
from modicum.engine.inference.calibration import check_calibrated_rows
from modicum.engine.inputs.preparation import task_for, with_parts
from modicum.engine.model import make_method
from modicum.engine.randomness import undisturbed_generators
from modicum.engine.recipe.settings import OF_RUN, Recipe
from modicum.engine.run_folder import RunFolder
from modicum.engine.training.tracking import check_tracking
from modicum.errors import InputError, ModicumError
from modicum.methods import Method
from modicum.progress import quietly
from modicum.tasks import Task, task_class
from modicum.tasks.base import Batch
from modicum.tasks.metric import check_monitor
from modicum.transforms import parse_augmentation
from modicum.wording import listed


class _NeedsPixelsError(Exception):
    """A method wants to know something of the images themselves."""


def check_recipe(recipe: Recipe) -> None:
    """Checks what needs no data at all.

    Raises:
        InputError: unknown augmentations, processes that nothing has started, no run to grade quality by, a tracker that
            is not installed, or a sampling of studies that the task does not know.
    """
    check_launched(recipe.training.devices, recipe.training.nodes)
    _check_fold(recipe)
    check_tracking(recipe)
    if recipe.data.quality is not None:
        RunFolder.open(Path(recipe.data.quality.removeprefix(OF_RUN)))
    elif recipe.data.drop:
        raise InputError(
            f"drop is {listed(recipe.data.drop)}, and nothing grades the images", "add --quality run:FOLDER"
        )
    for settings in (recipe.training.model_dump(), *recipe.stages.values()):
        if settings.get("augment") is not None:
            parse_augmentation(settings["augment"])
        if settings.get("sampling") == "one_per_study" and not task_class(recipe.task).samples_studies(
            recipe.options
        ):
            raise InputError(
                "sampling is 'one_per_study', and only images with reports have studies here",
                "choose natural, or a method that reads reports (`modicum methods` lists all)",
            )


def _check_fold(recipe: Recipe) -> None:
    """Raises InputError for half of what a fold needs, or for two ways to choose the test images."""
    data = recipe.data
    if (data.folds is None) != (data.fold is None):
        raise InputError(
            f"folds is {data.folds}, and fold is {data.fold}",
            "train all folds with `modicum fit DATA --folds N` (modicum.cross_validate); one with --folds N --set fold=1",
        )
    if data.folds is not None and data.fold is not None and data.fold > data.folds:
        raise InputError(f"fold {data.fold} of {data.folds}", f"number the folds from 1 to {data.folds}")
    if data.folds is not None and data.held_out is not None:
        raise InputError(
            f"domain '{data.held_out}' is held out, and folds are too",
            "leave --set held_out or the folds out",
        )


def check_rows(recipe: Recipe, manifest: Manifest) -> tuple[Task, Method | None]:
    """Checks the split, the task and the networks with the rows of a manifest whose images have not been opened.

    Returns:
        The task, and the method as it would be made; None where that needs pixels.

    Raises:
        InputError: what would be raised after the images have been decoded.
    """
    task_class(recipe.task).check_columns(manifest, recipe.options)
    if recipe.data.held_out is not None:
        manifest = hold_out(manifest, recipe.data.held_out)
    manifest = with_parts(manifest, recipe)
    if not task_class(recipe.task).made_of_the_table:
        task = task_class(recipe.task).from_options(recipe.options)
        return task, _check_networks(recipe, task, None)
    task = task_for(manifest, recipe)
    if not recipe.data.every_fold:
        check_calibrated_rows(task, int((manifest.table["split"] == "val").sum()))
    check_monitor(task.metric(recipe.training.monitor or task.monitor))
    return task, _check_networks(recipe, task, manifest)


def _check_networks(recipe: Recipe, task: Task, manifest: Manifest | None) -> Method | None:
    """Makes the networks once, with their weights, and lets them go again.

    Args:
        recipe: of the training.
        task: of the data, or one with the same settings.
        manifest: rows with a split; None where the task is not the data's own.
    """
    targets: dict[str, np.ndarray] = {}
    if manifest is not None:
        train = (manifest.table["split"] == "train").to_numpy(dtype=bool)
        targets = {name: values[train] for name, values in task.targets(manifest).items()}
    try:
        with undisturbed_generators(), quietly():
            return make_method(recipe, task, targets, _no_statistics, _no_reference)
    except ModicumError:
        raise
    except Exception:
        return None


def _no_statistics() -> tuple[Sequence[float], Sequence[float]]:
    raise _NeedsPixelsError


def _no_reference() -> Batch:
    raise _NeedsPixelsError
