"""``--overwrite``: the old run is put aside, and goes only when the new one is whole.

It lies beside the new one, in ``.NAME.replaced``. If the new one fails before it has learned anything, the old one comes
back; if it is stopped later, the old one stays aside until the new one is finished with ``--resume``.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from modicum.engine.recipe.settings import OF_RUN, Recipe
from modicum.engine.run_folder import RunFolder
from modicum.errors import InputError
from modicum.progress import say


def place_aside(folder: RunFolder) -> Path:
    """Where the old run of a name is while the new one is made."""
    return folder.path.with_name(f".{folder.path.name}.replaced")


@contextmanager
def old_run_aside(recipe: Recipe, folder: RunFolder) -> Iterator[None]:
    """Puts an old run aside for the block; afterwards one of the two is under its name.

    Args:
        recipe: of the new run.
        folder: of both.

    Raises:
        InputError: the new run reads from the old one, or another process is using the old one.
    """
    if not folder.recipe.is_file():
        yield
        return
    refuse_own_source(recipe, folder)
    with old_aside(folder, "run", lambda: folder.learned_something, lambda: _is_whole(folder)):
        yield


@contextmanager
def old_aside(
    folder: RunFolder, noun: str, learned: Callable[[], bool], whole: Callable[[], bool]
) -> Iterator[None]:
    """Puts aside for the block what is in a folder; it comes back if the block fails before anything new is learned.

    Args:
        folder: of a run, or of what holds runs.
        noun: what it is called.
        learned: whether what is under the name holds anything that took time.
        whole: whether it is finished.

    Raises:
        InputError: another process is using it.
    """
    with folder.locked():
        pass  # raises if another process is using it
    aside, had_learned = place_aside(folder), learned()
    if whole():  # a new run that was killed between its end and this
        forget_old(folder)
    if aside.exists():  # the run under the name is the unfinished new one of an earlier try
        shutil.rmtree(folder.path)
    else:
        folder.path.rename(aside)
    try:
        yield
    except BaseException:
        if not learned():
            shutil.rmtree(folder.path, ignore_errors=True)
            aside.rename(folder.path)
            if had_learned:  # else it was what a mistaken call had left
                say(f"the old {noun} '{folder.name}' is as it was")
        else:
            say(f"the old {noun} is kept in '{aside}' until the new one is finished")
        raise
    if whole():
        forget_old(folder)


def forget_old_run(folder: RunFolder) -> None:
    """Deletes the old run of a name whose new run is finished."""
    if _is_whole(folder):
        forget_old(folder)


def _is_whole(folder: RunFolder) -> bool:
    return folder.status.get("state") == "finished"


def forget_old(folder: RunFolder) -> None:
    """Deletes what was put aside for what is now under its name, which is whole."""
    shutil.rmtree(place_aside(folder), ignore_errors=True)


def refuse_own_source(recipe: Recipe, folder: RunFolder, noun: str = "run") -> None:
    """Raises InputError where a new run (or what else is in the folder) would replace one that it reads from."""
    run_path = folder.path.resolve()
    sources = {recipe.data.source, recipe.data.split_lists, recipe.data.images}
    for value in _texts(recipe.model_dump(mode="json")):
        path = Path(value.removeprefix(OF_RUN))
        if not (value in sources or value.startswith(OF_RUN) or os.path.exists(value)):  # noqa: PTH110 - False, too, for what no path can be
            continue
        own = path.resolve() == run_path and (value in sources or value.startswith(OF_RUN))
        if own or run_path in path.resolve().parents:
            raise InputError(
                f"--overwrite would replace {noun} '{folder.name}', from which '{value}' is read",
                "choose another --name",
            )


def _texts(values: object) -> Iterator[str]:
    """All texts in nested tables and lists."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, dict | list | tuple):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _texts(value)
