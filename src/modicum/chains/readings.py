"""How the data of each kind of step are read, whether they are the user's or what an earlier step left."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modicum.chains.step_tables import StepTable, columns_of
from modicum.data.layouts.given_images import FACTS, FIELD, GivenReading, data_set
from modicum.data.manifest import Manifest
from modicum.engine.inference.evaluate_run import reading, rows_to_evaluate
from modicum.engine.inference.predict_run import PredictionSettings
from modicum.engine.inputs.preparation import read_manifest
from modicum.engine.recipe.given_recipe import GivenRecipe
from modicum.engine.recipe.settings import OF_RUN, Recipe
from modicum.engine.run_folder import RunFolder
from modicum.planning.plan_file import OF_STEP, Plan, Step
from modicum.tasks import BoxListTask, task_class

_PLACES = ("split_lists", "prompts", "after")
"""Options that name files or folders of their own, which are relative to the plan file as its data are."""
_OF_TABLE = ("pairs", "split_lists")
"""How the user's own data are read that a step's table says itself."""


def joined(given: GivenRecipe, data: str | StepTable) -> tuple[str, GivenRecipe]:
    """Where a fit step's data are, and its recipe with how they are read."""
    if isinstance(data, str):
        return data, given
    of_data = dict(given.values.get("data") or {})
    for key in _OF_TABLE:
        of_data.pop(key, None)
    of_data["allow_outside"] = True
    if (columns := data.columns(of_data.get("columns") or {})) != of_data.get("columns"):
        of_data["columns"] = columns
    if data.images is not None:
        of_data["images"] = str(data.images)
    return str(data.path), replace(given, values={**given.values, "data": of_data})


def read_data(recipe: Recipe) -> Manifest:
    """The rows of a fit step."""
    return read_manifest(recipe.data, recipe.task, recipe.options)


def read_as(plan: Plan, step: Step) -> dict[str, set[str]]:
    """By role, what the columns of a step's rows were called where it, its run and the steps before it read them."""
    found = columns_of(step.settings)
    by_name = {one.name: one for one in plan.steps}
    run = str(step.settings.get("run") or "")
    earlier = [step.data or "", run] if step.data is not None else [run]
    more = [read_as(plan, by_name[one.removeprefix(OF_STEP)]) for one in earlier if one.startswith(OF_STEP)]
    if run.startswith(OF_RUN):
        recipe = Recipe.read(RunFolder.open(run.removeprefix(OF_RUN)).recipe)
        more.append(columns_of({"columns": recipe.data.columns}))
    for columns in more:
        for role, names in columns.items():
            found[role] = found.get(role, set()) | names
    return found


def with_places(settings: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """Options with paths that are relative to where the program was started."""
    found = dict(settings)
    for key in _PLACES:
        value = found.get(key)
        if isinstance(value, str) and not value.startswith(OF_RUN):
            found[key] = str(plan.path.parent / Path(value).expanduser())
    return found


@dataclass(frozen=True)
class PredictReading:
    """How the data of a predict step are read.

    Attributes:
        settings: of the step, with ``run:FOLDER`` for runs.
        recipe: of its run.
        plan: that it stands in.
    """

    settings: Mapping[str, Any]
    recipe: Recipe
    plan: Plan

    def options(self, data: str | StepTable) -> dict[str, Any]:
        """The options of :meth:`modicum.Run.predict`, apart from its data and where outputs go."""
        options = with_places(self.settings, self.plan)
        for key in ("run", "weights", "maps"):
            options.pop(key, None)
        if isinstance(data, StepTable):
            for key in _OF_TABLE:
                options.pop(key, None)
            options["columns"] = data.columns(options.get("columns") or {})
            options["allow_outside"] = True
            if data.images is not None:
                options["image_folder"] = str(data.images)
        answers = options.pop("answers", None) or {}
        return {**options, **answers}

    def manifest(self, data: str | StepTable) -> Manifest:
        """The rows that are predicted, with all that is said of them."""
        options = self.options(data)
        usual = {
            role: name
            for role, name in self.recipe.data.columns.items()
            if role in ("image", FIELD, *FACTS) and isinstance(name, str)
        }
        of_data = GivenReading(
            columns=options.get("columns"),
            usual_columns=usual,
            images=options.get("image_folder"),
            split_lists=options.get("split_lists"),
            pairs=options.get("pairs"),
            usual_pairs=self.recipe.data.pairs,
            split=options.get("split"),
            slices=options.get("slices"),
            align_geometry=options.get("align_geometry") or self.recipe.data.align_geometry,
            allow_outside=bool(options.get("allow_outside")),
        )
        return data_set(Path(data if isinstance(data, str) else data.path), of_data, class_folders=True)

    def asked(self, place: Path) -> PredictionSettings:
        """The settings as far as they can be checked before anything is read."""
        options = self.settings
        quality = options.get("quality")
        return PredictionSettings(
            options.get("batch_size"),
            options.get("device"),
            bool(options.get("native")),
            options.get("tile"),
            options.get("overlap", 0.25),
            maps=place / "maps" if options.get("maps") else None,
            probabilities=bool(options.get("probabilities")),
            quality=None if quality is None else str(quality),
            drop=tuple(options.get("drop") or ()),
            after=options.get("after"),
            prompts=options.get("prompts"),
            strict=bool(options.get("strict")),
            conformal=options.get("conformal"),
            conformal_score=options.get("conformal_score"),
        )


@dataclass(frozen=True)
class EvaluationReading:
    """How the data of an evaluate step are read; attributes as :class:`PredictReading`'s."""

    settings: Mapping[str, Any]
    recipe: Recipe
    plan: Plan

    def options(self, data: str | StepTable) -> dict[str, Any]:
        """The options of :meth:`modicum.Run.evaluate`, apart from its data and where it is written."""
        options = with_places(self.settings, self.plan)
        for key in ("run", "weights"):
            options.pop(key, None)
        if isinstance(data, StepTable):
            for key in _OF_TABLE:
                options.pop(key, None)
            usual = {role: name for role, name in self.recipe.data.columns.items() if role != "boxes"}
            asked = options.get("columns")
            options["columns"] = data.columns(asked or usual, usual=not asked)
            options["allow_outside"] = True
            if data.images is not None:
                options["images"] = str(data.images)
        return options

    def manifest(self, data: str | StepTable) -> Manifest:
        """The rows that are evaluated."""
        options = self.options(data)
        keys = ("columns", "pairs", "images", "split_lists", "slices", "align_geometry", "allow_outside")
        given = {key: options[key] for key in keys if options.get(key) is not None}
        source = data if isinstance(data, str) else str(data.path)
        with_boxes = issubclass(task_class(self.recipe.task), BoxListTask)
        of_data = reading(self.recipe.data, source, bool(options.get("skip_broken")), given, with_boxes)
        prompted = options.get("prompts") is not None
        everything = read_manifest(
            of_data, "classification" if prompted else self.recipe.task, self.recipe.options
        )
        return rows_to_evaluate(everything, options.get("split"))[0]
