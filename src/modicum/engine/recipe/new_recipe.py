"""Resolves a user's settings to the recipe of a run, and names the run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modicum.data.layouts import data_name
from modicum.data.published_weights import published
from modicum.data.roles import ROLES
from modicum.engine.recipe.assignments import overridden
from modicum.engine.recipe.augmentation_file import names_a_file, read_augmentation
from modicum.engine.recipe.given_recipe import PARTS, GivenRecipe
from modicum.engine.recipe.hub_weights import described
from modicum.engine.recipe.settings import OF_RUN, Recipe
from modicum.engine.recipe.validation import validated
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError, did_you_mean
from modicum.methods import Method, method_class
from modicum.progress import say
from modicum.tasks import task_class
from modicum.tasks.loss_words import LOSS_SETTINGS
from modicum.tasks.metric import check_monitor_name

NO_AUGMENTATION = "none"


def make_recipe(
    data: str | Path, method: str | None, settings: Mapping[str, Any], given: GivenRecipe | None = None
) -> Recipe:
    """The resolved recipe of a run: general defaults, the method's, a given recipe's, then the user's settings.

    Args:
        data: the training data.
        method: None for the given recipe's, or ``full`` where it has none.
        settings: the user's settings.
        given: a recipe to start from.

    Raises:
        InputError: an unknown method, an unknown setting (with a suggestion) or a value out of range.
    """
    given = given or GivenRecipe()
    method = given.method(method)
    kind = method_class(method)
    chosen = {key: value for key, value in settings.items() if value is not None}
    task = str(chosen.pop("task", None) or given.values.get("task") or usual_task(kind.tasks))
    options = task_class(task).Options
    values = _starting_values(data, kind, given, chosen)
    values |= {"method": method, "task": task}
    columns = dict(chosen.pop("columns", {}))
    for role in ROLES:
        if role in chosen:
            columns[role] = chosen.pop(role)
    if columns:
        values["data"]["columns"] = columns
    for short, key in {"image_size": "image.size", "backbone": "backbone.name"}.items():
        if short in chosen:
            chosen[key] = chosen.pop(short)
    overridden(values, kind.Config, chosen, options, tuple(kind.stage_training))
    _check_augmentation(values, kind, chosen)
    values["data"].setdefault("slices", task_class(task).usual_slices)
    _name_backbone_of_run(values["backbone"])
    _name_published_backbone(values["backbone"], chosen)
    given.check_weights(values["backbone"])
    for part in (values["training"], *values["stages"].values()):
        if names_a_file(part.get("augment")):  # so that the run can be made again without the file
            part["augment"] = read_augmentation(Path(part["augment"]))
    recipe: Recipe = validated(Recipe, values, "recipe")
    if recipe.training.monitor is not None:
        check_monitor_name(task_class(task).metric_table, recipe.training.monitor)
    config = validated(kind.Config, recipe.config, f"method {method}")
    check_stages(recipe, kind)
    decided = kind.task_options(config)
    for key, value in decided.items():
        if recipe.options.get(key, value) != value:
            raise InputError(
                f"task {task}: setting '{key}' is {recipe.options[key]!r}, and method {method} makes it {value!r}",
                "leave it out",
            )
    of_task = validated(options, {**recipe.options, **decided}, f"task {task}")
    of_loss = recipe.training.model_dump(include=set(LOSS_SETTINGS))
    task_class(task).validate_loss(of_loss, of_task.model_dump())
    return recipe.model_copy(
        update={"config": config.model_dump(mode="json"), "options": of_task.model_dump(mode="json")}
    )


def _check_augmentation(values: dict[str, Any], method: type[Method], chosen: Mapping[str, Any]) -> None:
    """Keeps an augmentation that changes nothing out of a recipe.

    Raises:
        InputError: the user asked for one, and the method sees no images that it could change.
    """
    parts = [values["training"], *values["stages"].values()]
    if method.augments or all(part.get("augment", NO_AUGMENTATION) == NO_AUGMENTATION for part in parts):
        return
    if any(key.rpartition(".")[2] == "augment" for key in chosen):
        raise InputError(
            f"method {method.name} learns from features that are extracted once, and augmentation would change nothing",
            "leave --augment out, or choose a method that learns from images (`modicum methods` lists them)",
        )
    say(
        f"method {method.name} learns from features that are extracted once: the recipe's augmentation is left out"
    )
    for part in parts:
        if "augment" in part:
            part["augment"] = NO_AUGMENTATION


def _starting_values(
    data: str | Path, method: type[Method], given: GivenRecipe, chosen: Mapping[str, Any]
) -> dict[str, Any]:
    """A new recipe's values before the user's own."""
    backbone = chosen.get("backbone", chosen.get("backbone.name"))
    weights = chosen.get("weights", chosen.get("backbone.weights"))
    defaults = {"image": method.image, "backbone": method.backbone, "training": method.training}
    values = {name: value for name, value in given.values.items() if name not in PARTS}
    values |= {name: {**defaults.get(name, {}), **given.part(name, backbone, weights)} for name in PARTS}
    values["stages"] = _starting_stages(method, given)
    return values | {
        "data": {"source": str(data), **given.values.get("data", {})},
        "based_on": given.name,
    }


def _starting_stages(method: type[Method], given: GivenRecipe) -> dict[str, dict[str, Any]]:
    """Each stage's settings: the method's, unless a given recipe has them for all stages, then the given recipe's."""
    general = given.values.get("training") or {}
    of_given = given.part("stages", None, None)
    names = dict.fromkeys([*method.stage_training, *of_given])
    stages = {
        name: {
            **{key: v for key, v in method.stage_training.get(name, {}).items() if key not in general},
            **(of_given.get(name) or {}),
        }
        for name in names
    }
    return {name: settings for name, settings in stages.items() if settings}


def check_stages(recipe: Recipe, method: type[Method]) -> None:
    """Raises :class:`InputError` for settings of a stage that the method does not have, or that are wrong."""
    for stage in recipe.stages:
        if stage not in method.stage_training:
            raise InputError(
                f"method {recipe.method} has no stage '{stage}'", did_you_mean(stage, method.stage_training)
            )
    for stage in method.stage_training:
        recipe.training_of(stage)
        if (earlier := recipe.earlier_run(stage)) is not None:
            RunFolder.open(earlier[0])


def _name_backbone_of_run(backbone: dict[str, Any]) -> None:
    """``--backbone run:FOLDER`` means the run's backbone and its weights.

    Raises:
        InputError: there is no such run, or other weights are given as well.
    """
    source = str(backbone.get("name", ""))
    if not source.startswith(OF_RUN):
        return
    given = backbone.get("weights", source)
    if given != source:
        raise InputError(f"--backbone {source} brings its weights, and --weights is {given}", "leave one out")
    folder = RunFolder.open(source.removeprefix(OF_RUN))
    backbone |= {"name": Recipe.read(folder.recipe).backbone.name, "weights": source}


def _name_published_backbone(backbone: dict[str, Any], chosen: Mapping[str, Any]) -> None:
    """``--weights rad-dino`` means the network, the file and the normalisation of those weights; says their licence.

    Raises:
        InputError: another network was named as well.
    """
    row = published(str(backbone.get("weights", "")))
    if row is None:
        return
    name = str(chosen.get("backbone.name", row.architecture))
    if name.partition(".")[0] != row.architecture:
        raise InputError(
            f"weights '{row.name}' are those of a {row.architecture}, and --backbone is {name}",
            "leave --backbone out",
        )
    backbone |= {"name": name, "weights": row.source}
    for key, values in zip(("mean", "std"), row.normalisation, strict=True):
        if not {key, f"backbone.{key}"} & set(chosen):
            backbone[key] = values
    say(described(row))


def usual_task(tasks: Sequence[str]) -> str:
    """The default task of a method that supports several: the first."""
    return tasks[0]


def run_name(data: str | Path, method: str) -> str:
    """The default name of a run: the data's and the method's."""
    return f"{data_name(data)}-{method}".lower().replace(" ", "-")


def plain_name(name: str) -> str:
    """Checks that a name can be the name of a folder.

    Raises:
        InputError: it would be a path that leads somewhere else.
    """
    if name in {"", ".", ".."} or any(mark in name for mark in "/\\:\0"):
        raise InputError(f"--name '{name}' is not a plain name", "use letters, digits, '-', '_' and '.'")
    return name
