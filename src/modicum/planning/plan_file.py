"""The plan file: steps that are done one after another, each with what it takes from the steps before it.

    modicum_plan: 1
    data: labels.csv              # relative to the plan file; a step may have its own
    name: fundus
    steps:
      - name: pretrain
        fit: {method: mae, training: {epochs: 100}}
      - name: grade
        fit:
          method: lora
          backbone: {weights: step:pretrain}
          data: {columns: {label: grade, patient: subject}}
      - name: test
        evaluate: {run: step:grade, split: test}

``step:NAME`` stands for the run of an earlier ``fit`` step; as ``data``, for the rows that came out of it, or for what an
earlier ``predict`` step wrote.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator

from modicum.engine.recipe.given_recipe import GivenRecipe, check_tables
from modicum.engine.recipe.settings import OF_RUN, Settings, with_present_names
from modicum.engine.recipe.validation import validated
from modicum.errors import InputError, did_you_mean
from modicum.wording import listed

MARK = "modicum_plan"
"""Key that tells a plan from other YAML files; its value is the version of the format."""
OF_STEP = "step:"
"""Prefix of a value that names an earlier step."""
KINDS = ("fit", "predict", "evaluate")
"""What a step can do."""
_READING = ("columns", "split", "split_lists", "pairs", "slices", "align_geometry", "allow_outside")
_SETS = ("conformal", "conformal_score")
_ASKING = ("device", "prompts", "scored_by", "after", "answers")
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "predict": (
        "run", "weights", "batch_size", "image_folder", "native", "tile", "overlap", "pseudonym", "maps",
        "probabilities", "quality", "drop", "strict", *_SETS, *_READING, *_ASKING,
    ),
    "evaluate": ("run", "weights", "images", "skip_broken", "judges", "by", "table", *_SETS, *_READING, *_ASKING),
}  # fmt: skip
"""Keys of a step, by its kind: ``run``, ``weights`` of its backbone, and what ``Run.predict`` and ``Run.evaluate`` take
by the same names; the settings of the method that change its answers stand together, in ``answers``."""
_FIXED = ("source",)
"""Settings of the data that are no settings of a step: where they are is the step's ``data``."""


class Step(Settings):
    """One step, of one kind.

    Attributes:
        name: letters, digits, ``-`` and ``_``.
        data: of this step alone: a path as the plan's, or ``step:NAME``.
        fit: settings in the structure of ``recipe.yaml``, without where the data are.
        predict: ``run`` and options of a prediction.
        evaluate: ``run`` and options of an evaluation.
        why: what is said when the step begins: why it is as it is, and what was predicted.
    """

    name: str
    data: str | None = None
    fit: dict[str, Any] | None = None
    predict: dict[str, Any] | None = None
    evaluate: dict[str, Any] | None = None
    why: list[str] = Field(default_factory=list)

    @field_validator("name", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> str:
        if isinstance(value, bool) or not re.fullmatch(r"[A-Za-z0-9_-]+", str(value)):
            raise ValueError("use letters, digits, '-' and '_'")
        return str(value)

    @property
    def kind(self) -> str:
        """``fit``, ``predict`` or ``evaluate``."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def settings(self) -> dict[str, Any]:
        """What is written under its kind."""
        return dict(getattr(self, self.kind))

    def references(self) -> Iterator[tuple[str, str, str]]:
        """Each ``step:NAME`` among its values: its place, the name, and the kinds that the step may be of."""
        if self.data is not None and self.data.startswith(OF_STEP):
            yield "data", self.data.removeprefix(OF_STEP), "fit or predict"
        for place, value in _leaves(self.settings, self.kind):
            if isinstance(value, str) and value.startswith(OF_STEP):
                yield place, value.removeprefix(OF_STEP), "fit"

    def resolved(self, runs: Mapping[str, str | Path]) -> dict[str, Any]:
        """The settings with ``run:FOLDER`` in place of ``step:NAME``.

        Args:
            runs: run folders by the names of the steps that made them.
        """
        folders = {f"{OF_STEP}{name}": f"{OF_RUN}{folder}" for name, folder in runs.items()}
        settings: dict[str, Any] = _replaced(self.settings, folders)
        return settings


class PlanContent(Settings):
    """What is written in a plan file."""

    modicum_plan: Literal[1]
    data: str | None = None
    name: str | None = None
    steps: list[Step] = Field(min_length=1)


@dataclass(frozen=True)
class Plan:
    """A plan file that was read and checked.

    Attributes:
        path: the file.
        content: what is written there.
    """

    path: Path
    content: PlanContent

    @property
    def steps(self) -> list[Step]:
        """In the order in which they are done."""
        return self.content.steps

    @property
    def name(self) -> str:
        """Of the run, or of the chain of runs: the file's name where it gives none."""
        return self.content.name or self.path.stem

    @property
    def is_single_fit(self) -> bool:
        """Whether all it does is one training."""
        return len(self.steps) == 1 and self.steps[0].kind == "fit"

    def source(self, step: Step) -> str:
        """The data of a step: ``step:NAME``, or a path that is relative to where the program was started."""
        given = step.data or self.content.data
        assert given is not None  # read_plan sees to it
        return given if given.startswith(OF_STEP) else str(self.path.parent / Path(given).expanduser())

    def recipe(self, step: Step, runs: Mapping[str, str | Path] | None = None) -> GivenRecipe:
        """The recipe that a ``fit`` step trains by, with all that it says of how its data are read.

        Args:
            step: of kind ``fit``.
            runs: run folders by the names of the steps that made them.
        """
        values = with_present_names(step.resolved(runs or {}))
        return GivenRecipe(str(self.path), values)


def is_plan(source: str | Path | None) -> bool:
    """Whether a path is that of a plan file."""
    path = Path(source or "")
    if path.suffix.lower() not in {".yaml", ".yml"} or not path.is_file():
        return False
    try:
        with path.open(encoding="utf-8") as file:
            return any(re.match(rf"['\"]?{MARK}['\"]?\s*:", line) for line in file)
    except (OSError, UnicodeDecodeError):
        return False


def read_plan(path: str | Path) -> Plan:
    """Reads and checks a plan file.

    Raises:
        InputError: it is not there, is not a plan, has unknown keys, two steps of one name, or a step that refers to one
            that comes later, is not there or is of the wrong kind.
    """
    path = Path(path)
    where = f"plan '{path}'"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise InputError(
            f"{where} cannot be read ({type(error).__name__})", "name a file that `modicum plan` wrote"
        ) from error
    if not isinstance(values, dict) or MARK not in values:
        raise InputError(f"{where} has no line '{MARK}: 1'", "name a file that `modicum plan` wrote")
    plan = Plan(path, _content(where, values))
    seen: dict[str, Step] = {}
    for step in plan.steps:
        _check_step(f"{where}, step '{step.name}'", step, plan, seen)
        seen[step.name] = step
    return plan


def _content(where: str, values: Mapping[Any, Any]) -> PlanContent:
    steps = values.get("steps")
    if isinstance(steps, list):  # named by their number: a step may lack its name
        for number, step in enumerate(steps, start=1):
            if not isinstance(step, dict):
                raise InputError(
                    f"{where}: step {number} is {step!r}", "write 'name:' and 'fit:' below a dash"
                )
            for key in step:
                if key not in Step.model_fields:
                    raise InputError(
                        f"{where}: unknown key '{key}' in step {number}",
                        did_you_mean(str(key), Step.model_fields),
                    )
    content: PlanContent = validated(PlanContent, {str(key): value for key, value in values.items()}, where)
    return content


def _check_step(where: str, step: Step, plan: Plan, earlier: Mapping[str, Step]) -> None:
    if step.name in earlier:
        raise InputError(f"{where} stands there twice", "give each step a name of its own")
    kinds = [kind for kind in KINDS if getattr(step, kind) is not None]
    if len(kinds) != 1:
        what = " and ".join(kinds) if kinds else "nothing to do"
        raise InputError(f"{where} has {what}", f"give it one of {listed(KINDS)}")
    if step.data is None and plan.content.data is None:
        raise InputError(f"{where} has no data", "write 'data: PATH' at the head of the plan")
    if step.kind == "fit":
        check_tables(where, with_present_names(step.settings))
        for key in (key for key in _FIXED if key in (step.settings.get("data") or {})):
            raise InputError(
                f"{where}: 'data.{key}' stands in fit", "write the step's 'data: PATH' beside fit"
            )
    else:
        _check_options(where, step)
    _check_references(where, step, plan, earlier)


def _check_options(where: str, step: Step) -> None:
    for key in step.settings:
        if key not in OPTIONS[step.kind]:
            raise InputError(
                f"{where}: unknown option '{key}' of {step.kind}", did_you_mean(str(key), OPTIONS[step.kind])
            )
    run = step.settings.get("run")
    if not isinstance(run, str) or not run.startswith((OF_STEP, OF_RUN)):
        raise InputError(
            f"{where}: 'run' is {run!r}", "name a step before it (step:NAME) or a run folder (run:FOLDER)"
        )


def _check_references(where: str, step: Step, plan: Plan, earlier: Mapping[str, Step]) -> None:
    names = [other.name for other in plan.steps]
    for place, name, kind in step.references():
        said = f"{where}: '{place}' is {OF_STEP}{name}"
        if name == step.name or (name not in earlier and name in names):
            raise InputError(f"{said}, which is not before it", "put the steps in the order they are done in")
        if name not in earlier:
            raise InputError(f"{said}, and there is no such step", did_you_mean(name, earlier or names))
        if earlier[name].kind not in kind.split(" or "):
            raise InputError(
                f"{said}, which is a step of {earlier[name].kind}", f"name a step of {kind} there"
            )


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """The single values in tables and lists, and where they stand."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{place}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{place}.{number}")
    else:
        yield place, value


def _replaced(value: Any, by: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _replaced(inner, by) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, by) for inner in value]
    return by.get(value, value) if isinstance(value, str) else value
