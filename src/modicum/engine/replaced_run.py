"""``--overwrite``: the old run is put aside, and goes only when the new one is whole.

It lies beside the new one, in ``.NAME.replaced``. If the new one fails before it has learned anything, the old one comes
back; if it is stopped later, the old one stays aside until the new one is finished with ``--resume``.
"""

import os
import shutil
from collections.abc import Iterator
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
    with folder.locked():
        pass  # raises if another process is using it
    aside, had_learned = place_aside(folder), folder.learned_something
    forget_old_run(folder)  # of a new run that was killed between its end and this
    if aside.exists():  # the run under the name is the unfinished new one of an earlier try
        shutil.rmtree(folder.path)
    else:
        folder.path.rename(aside)
    try:
        yield
    except BaseException:
        if not folder.learned_something:
            shutil.rmtree(folder.path, ignore_errors=True)
            aside.rename(folder.path)
            if had_learned:  # else it was what a mistaken call had left
                say(f"the old run '{folder.name}' is as it was")
        else:
            say(f"the old run is kept in '{aside}' until the new one is finished")
        raise
    forget_old_run(folder)


def forget_old_run(folder: RunFolder) -> None:
    """Deletes the old run of a name whose new run is finished."""
    if folder.status.get("state") == "finished":
        shutil.rmtree(place_aside(folder), ignore_errors=True)


def refuse_own_source(recipe: Recipe, folder: RunFolder) -> None:
    """Raises InputError where a new run would replace one that it reads from."""
    run_path = folder.path.resolve()
    sources = {recipe.data.source, recipe.data.split_lists, recipe.data.images}
    for value in _texts(recipe.model_dump(mode="json")):
        path = Path(value.removeprefix(OF_RUN))
        if not (value in sources or value.startswith(OF_RUN) or os.path.exists(value)):  # noqa: PTH110 - False, too, for what no path can be
            continue
        own = path.resolve() == run_path and (value in sources or value.startswith(OF_RUN))
        if own or run_path in path.resolve().parents:
            raise InputError(
                f"--overwrite would replace run '{folder.name}', from which '{value}' is read",
                "choose another --name",
            )


def _texts(values: object) -> Iterator[str]:
    """All texts in nested tables and lists."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, dict | list | tuple):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _texts(value)
