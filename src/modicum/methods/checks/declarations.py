"""Checks of what a method says of itself: names, words, settings, stages."""

from typing import Any

from pydantic import ValidationError

from modicum.errors import InputError
from modicum.methods.base import ExtractStage, MethodConfig, Stage
from modicum.methods.checks.outcome import Broken
from modicum.methods.checks.trial import Trial

LONGEST = 120
"""Characters of a summary: it is a line of `modicum methods`."""


def check_words(trial: Trial) -> None:
    """What users see of a method is there: its name, a summary of one line, known tasks."""
    from modicum.tasks.registry import TASKS

    method = trial.method
    if getattr(method, "name", None) != trial.name:
        raise Broken(
            f"its name is {getattr(method, 'name', None)!r}, its entry point's '{trial.name}'",
            f"set name = {trial.name!r} in {method.__qualname__}",
        )
    summary = getattr(method, "summary", "")
    if not isinstance(summary, str) or not summary.strip() or "\n" in summary or len(summary) > LONGEST:
        raise Broken(
            f"its summary is {summary!r}", f"set summary to one line of at most {LONGEST} characters"
        )
    tasks = getattr(method, "tasks", ())
    unknown = [task for task in tasks if task not in TASKS]
    if not tasks or isinstance(tasks, str) or unknown:
        raise Broken(f"its tasks are {tasks!r}", f"set tasks to a tuple of: {', '.join(sorted(TASKS))}")
    if not isinstance(method.source, str):
        raise Broken(
            f"its source is {method.source!r}", "set source to where the method was published, a text"
        )


def check_settings(trial: Trial) -> None:
    """Every setting of its own says what it is, and an unknown one is refused with the known ones named."""
    import modicum

    config = trial.method.Config
    if not (isinstance(config, type) and issubclass(config, MethodConfig)):
        raise Broken(f"its Config is {config!r}", "derive it from modicum.methods.MethodConfig")
    silent = [name for name, field in config.model_fields.items() if not field.description]
    if silent:
        raise Broken(
            f"setting '{silent[0]}' has no description",
            f"{silent[0]}: ... = Field(default, description='what it is, its unit, the paper\\'s default')",
        )
    try:
        config.model_validate({"no_such_setting": 1})
    except ValidationError as error:
        refused = any(part["loc"] == ("no_such_setting",) for part in error.errors())
    else:
        refused = False
    if not refused:
        raise Broken(
            "Config takes a setting that it does not have",
            "leave model_config as MethodConfig has it (extra='forbid')",
        )
    setting = next(iter(config.model_fields), "epochs")
    unknown: dict[str, Any] = {f"{setting}x": 1}
    try:
        modicum.fit(trial.data, trial.name, name="unknown", runs=trial.folder, **unknown)
    except InputError as error:
        if "unknown setting" in error.problem and setting in error.remedy:
            return
        raise Broken(f"setting '{setting}x' was answered with: {error}", "name the known settings") from error
    raise Broken(f"setting '{setting}x' was taken", "leave model_config as MethodConfig has it")


def check_stages(trial: Trial) -> None:
    """Stages and networks are always the same objects, and stage_training names each that learns and no other."""
    _, seen = trial.first
    method = seen.method
    first, second = list(method.stages()), list(method.stages())
    if [id(stage) for stage in first] != [id(stage) for stage in second]:
        raise Broken(
            "stages() makes other objects each time", "make the stages in __init__, and return these"
        )
    parameters = [[id(p) for p in method.predictor().parameters()] for _ in range(2)]
    if parameters[0] != parameters[1]:
        raise Broken("predictor() has other parameters each time", "make its networks in __init__")
    names = [stage.name for stage in first]
    if len(set(names)) < len(names) or any(not name.replace("_", "").isalnum() for name in names):
        raise Broken(
            f"its stages are called {names}",
            "give each a name of its own, of letters, digits and underscores",
        )
    learning = [stage.name for stage in first if _learns(stage)]
    named = list(trial.method.stage_training)
    if set(learning) != set(named):
        missing = [name for name in learning if name not in named]
        what = f"'{missing[0]}' is missing" if missing else f"'{(set(named) - set(learning)).pop()}' is none"
        raise Broken(
            f"stage_training names {named}, and {what}",
            f"set stage_training = {{{', '.join(f'{name!r}: {{}}' for name in learning)}}}, with settings of their own",
        )


def _learns(stage: Stage) -> bool:
    return not isinstance(stage, ExtractStage)
