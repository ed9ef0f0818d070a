"""All of a plan's steps, checked before the first one starts: what needs no pixels is said then."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modicum.chains.option_checks import check_values
from modicum.chains.readings import EvaluationReading, PredictReading, joined, read_as, read_data
from modicum.chains.step_tables import StepTable, named_columns, write_rows
from modicum.data.held_out import hold_out
from modicum.data.manifest import Manifest
from modicum.engine.early_checks import check_recipe, check_rows
from modicum.engine.inference.predict_run import check_settings, output_kind
from modicum.engine.inference.quality_gate import WORDS
from modicum.engine.inputs.preparation import with_parts
from modicum.engine.model import answering_otherwise
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.recipe.settings import OF_RUN, STAGE_SOURCES, Recipe
from modicum.engine.run_folder import RunFolder
from modicum.errors import BrokenImageError, InputError, ModicumError, did_you_mean
from modicum.planning.plan_file import OF_STEP, Plan, Step
from modicum.progress import quietly
from modicum.tasks import BoxListTask, DenseTask, ImageLevelTask, task_class


@dataclass(frozen=True)
class Checked:
    """What is known of a step before it is done.

    Attributes:
        step: the step.
        recipe: of a fit step, its own; else that of the run that it uses.
        manifest: the rows that go in, as far as they are known.
        classes: of a fit step, where they are known without pixels.
        stages: of a fit step's method; empty where its networks need pixels.
        has_backbone: whether a fit step's method has one, as far as is known.
    """

    step: Step
    recipe: Recipe
    manifest: Manifest
    classes: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    has_backbone: bool = True


@contextmanager
def naming(step: Step) -> Iterator[None]:
    """Errors of the user inside say in which step they are."""
    try:
        yield
    except ModicumError as error:
        start = f"step '{step.name}': "
        if isinstance(error, BrokenImageError):
            raise InputError(f"{start}{error}", "repair or remove the image") from error
        raise type(error)(f"{start}{error.problem}", error.remedy) from error


class PlanChecks:
    """Checks a plan's steps one after another.

    Runs and tables that the plan will make are stood for by folders with a recipe, and by tables with the rows as they
    are known: what names them is checked as if they were there.

    Args:
        plan: the plan.
        place: an empty folder for what stands for runs and tables.
    """

    def __init__(self, plan: Plan, place: Path) -> None:
        self.plan, self.place = plan, place
        self.checked: dict[str, Checked] = {}
        self.tables: dict[str, StepTable] = {}
        self._runs = {step.name: place / step.name for step in plan.steps if step.kind == "fit"}
        self._named = named_columns(step.settings for step in plan.steps)

    def check(self) -> dict[str, Checked]:
        """Checks all steps.

        Raises:
            InputError: what is wrong, and in which step.
        """
        as_data = {step.data for step in self.plan.steps if step.data}
        for step in self.plan.steps:
            with naming(step), quietly():
                done = self._fit(step) if step.kind == "fit" else self._use(step)
                self.checked[step.name] = done
                if f"{OF_STEP}{step.name}" in as_data:
                    self._stand_for_rows(done)
        return self.checked

    def data(self, step: Step) -> str | StepTable:
        """The data of a step: a path, or the table that stands for the rows of an earlier step."""
        source = self.plan.source(step)
        return self.tables[source.removeprefix(OF_STEP)] if source.startswith(OF_STEP) else source

    def _fit(self, step: Step) -> Checked:
        given = self.plan.recipe(step, self._runs)
        source, given = joined(given, self.data(step))
        recipe = make_recipe(source, None, {}, given)
        check_recipe(recipe)
        if recipe.training.devices * recipe.training.nodes > 1:
            raise InputError(
                f"devices is {recipe.training.devices} and nodes {recipe.training.nodes}, and steps run in one process",
                "leave them out, or run this training by itself",
            )
        if recipe.data.quality is not None:
            self._check_grader(recipe.data.quality, recipe.data.drop)
        self._check_starts(recipe)
        manifest = read_data(recipe)
        task, method = check_rows(self._without_stand_ins(recipe), manifest)
        folder = RunFolder(self._runs[step.name])
        folder.path.mkdir()
        folder.recipe.write_text(recipe.to_yaml(), encoding="utf-8")
        named = task.to_dict().get("classes") if isinstance(task, ImageLevelTask) else None
        classes = tuple(map(str, named or ()))
        if method is None:
            return Checked(step, recipe, manifest, classes)
        names = tuple(stage.name for stage in method.stages())
        return Checked(step, recipe, manifest, classes, names, method.backbone_name is not None)

    def _use(self, step: Step) -> Checked:
        """A step that uses a run: a prediction or an evaluation."""
        settings = step.resolved(self._runs)
        recipe = self._recipe_of(settings["run"])
        check_values(step.kind, settings, recipe.task)
        prompts = settings.get("prompts") is not None
        if not prompts and not issubclass(task_class(recipe.task), DenseTask | ImageLevelTask | BoxListTask):
            raise InputError(
                f"run is {step.settings['run']}, which has learned an encoder and predicts nothing by itself",
                "name a step that learns from it",
            )
        if settings.get("answers"):
            answering_otherwise(recipe, settings["answers"])
        for key in ("after", "judges"):
            for value in [settings[key]] if isinstance(settings.get(key), str) else settings.get(key) or ():
                if str(value).startswith(OF_RUN):
                    self._check_images_of(key, value, images=key == "after")
        data = self.data(step)
        if step.kind == "predict":
            self._check_prediction(step, settings, recipe)
            manifest = PredictReading(settings, recipe, self.plan).manifest(data)
        else:
            manifest = EvaluationReading(settings, recipe, self.plan).manifest(data)
        return Checked(step, recipe, manifest)

    def _check_prediction(self, step: Step, settings: Mapping[str, Any], recipe: Recipe) -> None:
        dense = issubclass(task_class(recipe.task), DenseTask)
        place = self.place / (f"{step.name}-outputs" if dense else f"{step.name}-predictions.csv")
        check_settings(recipe, dense, place, PredictReading(settings, recipe, self.plan).asked(self.place))
        if settings.get("quality") is not None:
            self._check_grader(settings["quality"], settings.get("drop") or ())
        images = output_kind(recipe.task) == "image"
        user = next((one for one in self.plan.steps if one.data == f"{OF_STEP}{step.name}"), None)
        if user is not None and not images:
            raise InputError(
                f"its run predicts no images ({recipe.task}), and they are the data of step '{user.name}'",
                "name a run that makes images there: an enhancer or a translator",
            )

    def _stand_for_rows(self, done: Checked) -> None:
        out = self.place / f"rows-{done.step.name}" / f"{done.step.name}.csv"
        out.parent.mkdir()
        manifest = done.manifest
        if done.step.kind == "fit":  # the split that it will give them, as far as it is known without pixels
            held_out = done.recipe.data.held_out
            manifest = manifest if held_out is None else hold_out(manifest, held_out)
            manifest = with_parts(manifest, done.recipe)
        rows = write_rows(manifest, out, self._named)
        self.tables[done.step.name] = replace(rows, read_as=read_as(self.plan, done.step))

    def _earlier(self, run: str) -> Checked | None:
        """The fit step of this plan that ``run:FOLDER`` stands for, if it is one."""
        folder = Path(run.removeprefix(OF_RUN))
        return next((self.checked[name] for name, path in self._runs.items() if path == folder), None)

    def _shown(self, run: str) -> str:
        earlier = self._earlier(run)
        return run if earlier is None else f"{OF_STEP}{earlier.step.name}"

    def _recipe_of(self, run: str) -> Recipe:
        """The recipe of a run: of this plan, or one that has finished already."""
        if (earlier := self._earlier(run)) is not None:
            return earlier.recipe
        folder = RunFolder.open(run.removeprefix(OF_RUN))
        if not folder.weights.is_file():
            raise InputError(f"run '{folder.name}' has not finished", "finish it with --resume")
        return Recipe.read(folder.recipe)

    def _check_grader(self, run: str, drop: Any) -> None:
        recipe, earlier = self._recipe_of(run), self._earlier(run)
        if not issubclass(task_class(recipe.task), ImageLevelTask):
            raise InputError(
                f"quality is {self._shown(run)}, whose task '{recipe.task}' gives no class to an image",
                "name a run that grades quality, such as one of octa_quality",
            )
        if earlier is None or not earlier.classes:
            return
        known = [*earlier.classes, *WORDS]
        for word in drop:
            if word not in known:
                raise InputError(
                    f"drop is {word}, and {self._shown(run)} has no such class", did_you_mean(word, known)
                )

    def _check_images_of(self, key: str, run: str, images: bool) -> None:
        recipe = self._recipe_of(run)
        if images and output_kind(recipe.task) != "image":
            raise InputError(
                f"{key} is {self._shown(run)}, which makes no images ({recipe.task})", "name an enhancer"
            )

    def _check_starts(self, recipe: Recipe) -> None:
        """Weights and stages of steps of this plan: what would be found wrong when they are loaded."""
        weights = recipe.backbone.weights
        earlier = self._earlier(weights) if weights.startswith(OF_RUN) else None
        if earlier is not None:
            if not earlier.has_backbone:
                raise InputError(
                    f"weights are {self._shown(weights)}, and method {earlier.recipe.method} has no backbone",
                    "name a step that trains one",
                )
            if earlier.recipe.backbone.name != recipe.backbone.name:
                raise InputError(
                    f"weights are {self._shown(weights)}, whose backbone is '{earlier.recipe.backbone.name}', not "
                    f"'{recipe.backbone.name}'",
                    f"write backbone: {{name: {self._shown(weights)}}}, which means both",
                )
        for stage, settings in recipe.stages.items():
            for key in STAGE_SOURCES:
                source = settings.get(key)
                of = self._earlier(str(source)) if source is not None else None
                names = () if of is None else of.stages
                if names and stage not in names:
                    raise InputError(
                        f"stages.{stage}.{key} is {self._shown(str(source))}, which has no stage '{stage}'",
                        f"it has {', '.join(names)}",
                    )

    def _without_stand_ins(self, recipe: Recipe) -> Recipe:
        """A recipe that starts from random weights where its own are still to be learned."""
        if self._earlier(recipe.backbone.weights) is None:
            return recipe
        return recipe.model_copy(
            update={"backbone": recipe.backbone.model_copy(update={"weights": "random"})}
        )
