"""``--batch-size auto`` and ``--memory``: fits a recipe's training into the available memory."""

from modicum.data.label_fraction import keep_label_fraction
from modicum.data.splits import ensure_splits
from modicum.engine.devices import chosen_device, process_world
from modicum.engine.inputs.preparation import read_manifest, task_for
from modicum.engine.recipe.settings import Recipe
from modicum.errors import InputError
from modicum.planning.batch_size import (
    RESERVE_BYTES,
    free_bytes,
    largest_batch_of,
    parse_memory,
    usable_bytes,
    with_batch_size,
)
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
    images, classes = _facts(recipe)
    device = chosen_device(recipe.device)
    kind: Device = "cuda" if device.type == "cuda" else "cpu"
    # Free memory does not include this process, which has its libraries and context already.
    budget, reserve = (free_bytes(device), 0) if given is None else (given, RESERVE_BYTES)
    of = f"of {budget / 1e9:.1f} GB" + (" that are free" if given is None else "")
    if not choose:
        _check(recipe, classes, kind, usable_bytes(budget, reserve), of)
        return recipe
    own = settings.batch_size
    most = min(images, max(own, images // STEPS_IN_AN_EPOCH))
    batch, found = largest_batch_of(recipe, budget, classes, kind, most, reserve)
    hint = f"; --set accumulate={-(-own // batch)} keeps the method's steps of {own}" if batch < own else ""
    say(f"batch size {batch}: predicted peak {found.needed_bytes / 2**30:.1f} GiB {of}{hint}")
    return with_batch_size(recipe, batch)


def _facts(recipe: Recipe) -> tuple[int, int]:
    """Number of training images and classes."""
    data = recipe.data
    manifest = read_manifest(data, recipe.task)
    task = task_for(manifest, recipe)
    train, val, _ = data.fractions
    seed = recipe.seed if data.split_seed is None else data.split_seed
    manifest = ensure_splits(manifest, data.fractions, seed, val_fraction=val / (train + val))
    manifest = keep_label_fraction(manifest, data.label_fraction, seed)
    return len(manifest.part("train")), task.num_outputs


def _check(recipe: Recipe, classes: int, device: Device, usable: int, of: str) -> None:
    """Reports whether the recipe's batch size fits. Training goes ahead if that cannot be predicted."""
    try:
        found = predicted(recipe, classes, device)
    except InputError as error:
        say(f"not known whether the memory suffices: {error.problem}")
        return
    peak = f"batch size {found.batch}: predicted peak {found.needed_bytes / 2**30:.1f} GiB {of}"
    fits = found.needed_bytes <= usable
    say(peak if fits else f"{peak} is more than is safe; --batch-size auto chooses one that fits")
