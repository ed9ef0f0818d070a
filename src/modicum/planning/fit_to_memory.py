"""``--batch-size auto`` and ``--memory``: fits a recipe's training into the available memory."""

from modicum.engine.devices import chosen_device, process_world
from modicum.engine.recipe.settings import Recipe
from modicum.errors import InputError
from modicum.planning.batch_size import (
    RESERVE_BYTES,
    BatchSearch,
    free_bytes,
    parse_memory,
    usable_bytes,
    with_batch_size,
)
from modicum.planning.data_facts import DataFacts, facts_of
from modicum.planning.memory import Device, predicted
from modicum.progress import say

STEPS_IN_AN_EPOCH = 8
"""A larger batch than leaves so many steps is only chosen where the method's own is larger: few steps learn little."""


def fit_to_memory(recipe: Recipe, memory: str | int | None, *, choose: bool) -> Recipe:
    """The recipe with the largest batch size that fits, or the recipe as it is, with a warning if it does not fit.

    Says what it found in one line.

    Args:
        recipe: its batch size is the method's own, or the user's.
        memory: what the training may take, such as ``8GB``; None for the free memory of the GPU, or half of what
            the machine has available.
        choose: whether to choose the batch size.

    Raises:
        InputError: ``memory`` is not a size, or not even the smallest batch fits.
    """
    given = None if memory is None else parse_memory(memory)
    settings = recipe.training
    if choose and given is None and settings.devices * settings.nodes * process_world() > 1:
        raise InputError(
            "--batch-size auto needs --memory where several processes train together",
            "say what each may take, for instance --memory 8GB: all of them must choose alike",
        )
    facts = facts_of(recipe)
    device = chosen_device(recipe.device)
    kind: Device = "cuda" if device.type == "cuda" else "cpu"
    # Free memory does not include this process, which has its libraries and context already.
    budget, reserve = (free_bytes(device), 0) if given is None else (given, RESERVE_BYTES)
    of = f"of {budget / 1e9:.1f} GB" + (" that are free" if given is None else "")
    if not choose:
        _check(recipe, facts, kind, usable_bytes(budget, reserve), of)
        return recipe
    asked = settings.batch_size
    most = min(facts.rows, max(asked, facts.rows // STEPS_IN_AN_EPOCH))
    batch, prediction = BatchSearch(recipe, facts, kind, budget, reserve).largest(most)
    hint = (
        f"; --set accumulate={-(-asked // batch)} keeps the method's steps of {asked}"
        if batch < asked
        else ""
    )
    say(f"batch size {batch}: predicted peak {prediction.needed_bytes / 2**30:.1f} GiB {of}{hint}")
    return with_batch_size(recipe, batch)


def _check(recipe: Recipe, facts: DataFacts, device: Device, usable: int, of: str) -> None:
    """Says whether the recipe's own batch size fits. Training is not held up where that cannot be said."""
    try:
        prediction = predicted(recipe, facts, device)
    except InputError as error:
        say(f"not known whether the memory suffices: {error.problem}")
        return
    peak = f"batch size {prediction.batch}: predicted peak {prediction.needed_bytes / 2**30:.1f} GiB {of}"
    fits = prediction.needed_bytes <= usable
    say(peak if fits else f"{peak} is more than is safe; --batch-size auto chooses one that fits")
