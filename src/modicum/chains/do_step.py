"""Does one step of a plan in its folder, and says what came of it."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from modicum.api import fit
from modicum.chains.chain_folder import BROKEN, REFUSED, ChainFolder, Rows
from modicum.chains.digests import folder_digest, run_digest
from modicum.chains.examples import write_examples
from modicum.chains.readings import EvaluationReading, PredictReading, joined, read_as, read_data
from modicum.chains.step_tables import (
    StepTable,
    named_columns,
    outputs_by_image,
    write_outputs,
    write_rows,
)
from modicum.data.manifest import Manifest
from modicum.engine.inference.predict_run import output_kind
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.recipe.settings import OF_RUN, Recipe
from modicum.engine.run_folder import RunFolder, read_table, write_json
from modicum.planning.plan_file import OF_STEP, Plan, Step
from modicum.progress import quietly
from modicum.run import Run
from modicum.tasks import DenseTask, task_class

REPORT = "report.html"


@dataclass(frozen=True)
class Doing:
    """What steps are done with.

    Attributes:
        plan: the plan.
        folder: of the chain.
        stores: folder of decoded images and features.
        workers: processes that decode images.
        write_report: whether runs get their pages.
    """

    plan: Plan
    folder: ChainFolder
    stores: Path
    workers: int | None
    write_report: bool

    def runs(self) -> dict[str, Path]:
        """The run folders by the names of the steps that make them."""
        return {step.name: self.folder.step(step.name) for step in self.plan.steps if step.kind == "fit"}

    def settings(self, step: Step) -> dict[str, Any]:
        """A step's settings, with ``run:FOLDER`` for steps."""
        return step.resolved(self.runs())

    def data(self, step: Step) -> str | StepTable:
        """A step's data: a path, or the table that an earlier step left."""
        source = self.plan.source(step)
        if not source.startswith(OF_STEP):
            return source
        earlier = next(one for one in self.plan.steps if one.name == source.removeprefix(OF_STEP))
        path = self.folder.table(earlier.name)
        if earlier.kind == "predict":
            return StepTable(path, None, read_as(self.plan, earlier))
        root = read_table(path.with_suffix(".json"))["images"]
        return StepTable(path, Path(root), read_as(self.plan, earlier))

    def fit_recipe(self, step: Step) -> Recipe:
        """The recipe of a fit step."""
        source, given = joined(self.plan.recipe(step, self.runs()), self.data(step))
        with quietly():
            return make_recipe(source, None, {}, given)

    def recipe(self, step: Step) -> Recipe:
        """The recipe of the run that a step uses."""
        run = Path(str(self.settings(step)["run"]).removeprefix(OF_RUN))
        return Recipe.read(RunFolder.open(run).recipe)

    def named(self) -> set[str]:
        """Columns that steps ask for."""
        return named_columns(step.settings for step in self.plan.steps)


def rows_of(doing: Doing, step: Step) -> Manifest:
    """The rows that go into a step, whose run is there if it uses one."""
    data = doing.data(step)
    with quietly():
        if step.kind == "fit":
            return read_data(doing.fit_recipe(step))
        reading = PredictReading if step.kind == "predict" else EvaluationReading
        return reading(doing.settings(step), doing.recipe(step), doing.plan).manifest(data)


def task_of(doing: Doing, step: Step) -> str:
    """The task of a step's run; of an evaluation by prompts, classification."""
    if step.kind == "fit":
        return doing.fit_recipe(step).task
    return "classification" if step.settings.get("prompts") is not None else doing.recipe(step).task


def do_step(doing: Doing, step: Step, manifest: Manifest) -> Rows:
    """Does a step, or goes on with it where a training was stopped.

    Args:
        doing: what it is done with.
        step: the step.
        manifest: its rows.

    Returns:
        The rows that went in and came out.
    """
    kinds = {"fit": _fit, "predict": _predict, "evaluate": _evaluate}
    return kinds[step.kind](doing, step, manifest)


def output_digest(folder: ChainFolder, step: Step) -> str:
    """SHA-256 of what came of a step: of a run, what it has learned; else all files."""
    if step.kind == "fit":
        return run_digest(RunFolder(folder.step(step.name)))
    return folder_digest(folder.step(step.name), [REPORT])


def _fit(doing: Doing, step: Step, manifest: Manifest) -> Rows:
    source, given = joined(doing.plan.recipe(step, doing.runs()), doing.data(step))
    run = fit(
        source,
        None,
        recipe=given,
        name=step.name,
        runs=doing.folder.path,
        resume=True,
        stores=doing.stores,
        workers=doing.workers,
        write_report=doing.write_report,
    )
    saved = Manifest.read_saved(run.folder.manifest, manifest.root)
    parts = saved.table["split"].fillna("").tolist()
    split = dict(zip(saved.table["image"].tolist(), parts, strict=True))
    table = doing.folder.table(step.name)
    rows = write_rows(manifest, table, doing.named(), split)
    _write_root(table, rows)
    left_out = _set_aside(run, manifest, len(saved))
    notes = read_table(run.folder.fingerprint).get("notes") if run.folder.fingerprint.is_file() else []
    return Rows(
        into=len(manifest), out=len(saved), set_aside=left_out, notes=[str(one) for one in notes or []]
    )


def _write_root(table: Path, rows: StepTable) -> None:
    write_json(table.with_suffix(".json"), {"images": str(rows.images)})


def _set_aside(run: Run, manifest: Manifest, kept: int) -> dict[str, int]:
    """Why rows did not come out of a training."""
    missing = len(manifest) - kept
    if missing <= 0:
        return {}
    found = {}
    if run.folder.broken.is_file():
        found[BROKEN] = len(pd.read_csv(run.folder.broken, dtype=str, keep_default_na=False))
    drop = run.recipe.data.drop
    if drop and run.folder.quality.is_file():
        grades = pd.read_csv(run.folder.quality, dtype=str, keep_default_na=False)
        columns = [name for name in ("prediction", "quality") if name in grades]
        low = (grades["error"] == "") & grades[columns].isin(drop).any(axis=1)
        found["low quality"] = int(low.sum())
    found["for other reasons"] = missing - sum(found.values())
    return {reason: count for reason, count in found.items() if count > 0}


def _predict(doing: Doing, step: Step, manifest: Manifest) -> Rows:
    place, data = doing.folder.step(step.name), doing.data(step)
    shutil.rmtree(place, ignore_errors=True)  # it is done as a whole: nothing of an earlier try may stay
    place.mkdir(parents=True)
    recipe, settings = doing.recipe(step), doing.settings(step)
    reading = PredictReading(settings, recipe, doing.plan)
    options = reading.options(data)
    if (maps := settings.get("maps")) is not None:
        options["maps"] = place / Path(str(maps)).name
    dense = issubclass(task_class(recipe.task), DenseTask)
    out = doing.folder.outputs(step.name) if dense else place / "predictions.csv"
    source = data if isinstance(data, str) else data.path
    done = _opened(settings).predict(source, out, **options)
    low = len(manifest) - done.predicted - done.broken - done.refused if settings.get("quality") else 0
    left_out = {BROKEN: done.broken, REFUSED: done.refused, "low quality": low}
    rows = Rows(
        into=len(manifest), out=done.predicted, set_aside={k: n for k, n in left_out.items() if n > 0}
    )
    if output_kind(recipe.task) == "image":
        files = outputs_by_image(out / "predictions.csv", manifest.table["image"])
        table = doing.folder.table(step.name)
        write_outputs(manifest, table, doing.named(), files, out)
        rows.out = len(files)
        write_examples(doing.folder.examples(step.name), manifest, files, out)
    return rows


def _opened(settings: Mapping[str, Any]) -> Run:
    weights = settings.get("weights")
    return Run.open(str(settings["run"]).removeprefix(OF_RUN), None if weights is None else str(weights))


def _evaluate(doing: Doing, step: Step, manifest: Manifest) -> Rows:
    place, data = doing.folder.step(step.name), doing.data(step)
    shutil.rmtree(place, ignore_errors=True)
    settings = doing.settings(step)
    reading = EvaluationReading(settings, doing.recipe(step), doing.plan)
    place.parent.mkdir(parents=True, exist_ok=True)
    run = _opened(settings)
    content = run.evaluate(
        data if isinstance(data, str) else data.path,
        out=place,
        stores=doing.stores,
        workers=doing.workers,
        **reading.options(data),
    )
    if doing.write_report:
        from modicum.report.build import build_evaluation

        build_evaluation(run.path, place, place / REPORT)
    images = int(content["images"])
    broken = len(manifest) - images
    return Rows(into=len(manifest), out=images, set_aside={BROKEN: broken} if broken > 0 else {})
