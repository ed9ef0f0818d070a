"""How a run begins and ends: its folder is claimed, and what ended it is recorded."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from modicum.atomic_files import remove_temporary, write_text
from modicum.engine.devices import memory_error, out_of_memory
from modicum.engine.environment import environment
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import RunFolder, write_json
from modicum.errors import InputError, InterruptedRunError, ModicumError
from modicum.output_paths import is_same, system_error
from modicum.tasks import task_class

FREE = frozenset(
    {"device", "training.workers", "training.checkpoint_minutes", "training.checkpoint_steps", "resamples"}
)
"""Settings that may differ where a run is gone on with: they do not change what is learned."""


def as_user_error(error: BaseException, recipe: Recipe, folder: RunFolder) -> BaseException:
    """What went wrong as an error for the user, where it is known how; else the error itself."""
    if isinstance(error, ModicumError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return InterruptedRunError("stopped", folder.resume_hint)
    if (user_error := system_error(error)) is not None:
        return user_error
    if out_of_memory(error):
        return memory_error("training", recipe.training.batch_size, recipe.image.size)
    if "more than 1 value per channel" in str(error):
        return InputError(
            "batch normalisation has nothing to normalise with one image in a batch",
            "raise --batch-size, add images, or choose a backbone without batch normalisation",
        )
    return error


def start_run(recipe: Recipe, folder: RunFolder, resume: bool) -> None:
    """Claims a new run folder, or one that is gone on with.

    Raises:
        InputError: the folder holds a run and ``resume`` is false, or its recipe is another one.
    """
    # A run that failed before its first step holds nothing: the corrected command may take its place.
    empty = folder.status.get("state") == "failed" and not folder.learned_something
    if folder.recipe.is_file() and not empty:
        if not resume:
            raise InputError(
                f"run folder '{folder.path}' exists already",
                "pass --resume to go on with it, --name for another, or --overwrite to replace it",
            )
        check_same(Recipe.read(folder.recipe), recipe, folder)
        remove_temporary(folder.path)  # of writes that a kill interrupted
    if not folder.recipe.is_file():
        _check_no_other_files(recipe, folder)
    write_text(folder.recipe, recipe.to_yaml())
    write_json(folder.environment, environment())
    folder.set_status("running")


def _check_no_other_files(recipe: Recipe, folder: RunFolder) -> None:
    """A new run's folder may be there, but not hold the data, or files that the run would write over."""
    path, remedy = folder.path, "choose another --name or --runs"
    if is_same(path, Path(recipe.data.source)):
        raise InputError(f"run folder '{path}' is the folder of the data", remedy)
    if others := folder.files():
        raise InputError(
            f"'{path}' is not a run, and holds '{others[0].name}', which a run would replace", remedy
        )


def check_same(stored: Recipe, asked: Recipe, folder: RunFolder) -> None:
    """Going on with other settings would give weights that neither recipe describes."""
    usual = task_class(stored.task).Options(**stored.options)  # options that are newer than the run
    stored = stored.model_copy(update={"options": usual.model_dump(mode="json")})
    before, now = _flat(stored.model_dump(mode="json")), _flat(asked.model_dump(mode="json"))
    for key in sorted(set(before) | set(now)):
        if key not in FREE and before.get(key) != now.get(key):
            raise InputError(
                f"run '{folder.name}' was started with {key}={before.get(key)!r}, now it is {now.get(key)!r}",
                "resume with the same settings, or choose another --name",
            )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def record_end(folder: RunFolder, error: BaseException) -> None:
    """Writes into the run's status that an error ended it, or that it was stopped."""
    # A full disk or a folder that cannot be written must not hide the error that is being reported.
    with suppress(ModicumError, OSError):
        if isinstance(error, InterruptedRunError):
            folder.set_status("interrupted")
            return
        is_user_error = isinstance(error, ModicumError)
        folder.set_status("failed", error=str(error) if is_user_error else type(error).__name__)
