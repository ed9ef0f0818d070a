"""Finds the largest batch whose training fits into a memory budget."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from modicum.data.stores.shard_writer import size_text
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.recipe.settings import Recipe
from modicum.errors import InputError, ModicumError
from modicum.methods import method_entries
from modicum.planning.memory import Device, MemoryPrediction, predicted
from modicum.wording import count_of, listed

MARGIN = 0.1
"""Share of the memory that is left free, for an allocator's gaps and what a prediction misses."""

RESERVE_BYTES = 512 * 2**20
"""Memory of a process before it has any tensor: CUDA's context on a GPU, Python and its libraries on a CPU."""

LARGEST = 1024
"""Largest batch size that is considered."""

_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


def parse_memory(text: str | int) -> int:
    """Bytes from ``8GB``, ``500 MB`` or ``7.5GiB``; a number alone is bytes.

    Raises:
        InputError: not a size.
    """
    if isinstance(text, int):
        text = f"{text} B"
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-zA-Z]+)\s*", text)
    unit = _UNITS.get(found[2].lower()) if found else None
    size = int(float(found[1]) * unit) if found and unit else 0
    if size <= 0:
        raise InputError(f"memory '{text}' is not a size", "write for instance 8GB, 500MB or 7.5GiB")
    return size


def largest_batch(
    method: str,
    backbone: str,
    image_size: int | tuple[int, int],
    memory_bytes: int,
    *,
    num_classes: int = 2,
    device: Device = "cuda",
    precision: str = "auto",
    settings: Mapping[str, Any] | None = None,
    at_most: int = LARGEST,
    reserve_bytes: int = RESERVE_BYTES,
) -> tuple[int, MemoryPrediction]:
    """The largest batch that fits, and the memory predicted for it.

    A batch fits where its prediction is at most ``memory_bytes - reserve_bytes``, less a :data:`MARGIN` of that.

    Args:
        memory_bytes: what the training may take.
        at_most: no larger batch is looked for.
        reserve_bytes: of the memory, what is taken before there is any tensor.
        method, backbone, image_size, num_classes, device, precision, settings: see
            :func:`modicum.planning.memory.predict`.

    Raises:
        InputError: not even the smallest batch fits; the error names what it needs and the methods that do fit.
    """
    given = {"backbone": backbone, "image_size": image_size, "precision": precision}
    recipe = make_recipe("data", method, {**(settings or {}), **given})
    return largest_batch_of(recipe, memory_bytes, num_classes, device, at_most, reserve_bytes)


def largest_batch_of(
    recipe: Recipe,
    memory_bytes: int,
    num_classes: int,
    device: Device,
    at_most: int = LARGEST,
    reserve_bytes: int = RESERVE_BYTES,
) -> tuple[int, MemoryPrediction]:
    """:func:`largest_batch` for a whole recipe, whose own batch size does not matter.

    Memory is affine in the batch, but for steps where another stage or kernel becomes the largest; a line through the
    two nearest predictions finds the answer in a few, and the last two are of the answer and of the batch after it.
    """
    budget = usable_bytes(memory_bytes, reserve_bytes)

    def at(batch: int) -> MemoryPrediction:
        return predicted(with_batch_size(recipe, batch), num_classes, device)

    fits = _smallest_that_fits(recipe, at, budget, memory_bytes, num_classes, device, at_most)
    if fits.batch < 2 or fits.batch >= at_most:
        return fits.batch, fits
    other = at(min(at_most, 4 * fits.batch))
    too_large = at_most + 1
    while True:
        if other.needed_bytes <= budget:
            fits, known = other, fits
        else:
            too_large, known = min(too_large, other.batch), other
        if fits.batch + 1 >= too_large:
            return fits.batch, fits
        other = at(_guess(fits, known, budget, too_large))


def usable_bytes(memory_bytes: int, reserve_bytes: int) -> int:
    """Largest predicted memory that is allowed."""
    return int((memory_bytes - reserve_bytes) * (1 - MARGIN))


def with_batch_size(recipe: Recipe, batch: int) -> Recipe:
    """The recipe with another batch size."""
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"batch_size": batch})})


def _guess(fits: MemoryPrediction, known: MemoryPrediction, budget: int, too_large: int) -> int:
    """Where the line through two predictions meets the budget, among the batches that are still open."""
    slope = (known.needed_bytes - fits.needed_bytes) / (known.batch - fits.batch)
    step = int((budget - fits.needed_bytes) / slope) if slope > 0 else too_large
    return min(max(fits.batch + step, fits.batch + 1), too_large - 1)


def _smallest_that_fits(
    recipe: Recipe,
    at: Callable[[int], MemoryPrediction],
    budget: int,
    memory_bytes: int,
    num_classes: int,
    device: Device,
    at_most: int,
) -> MemoryPrediction:
    """Two images, or one where two are too many (batch normalisation cannot learn from one)."""
    found = at(min(2, at_most))
    if found.needed_bytes <= budget:
        return found
    if found.batch > 1:
        try:
            found = at(1)
        except InputError:
            pass
        else:
            if found.needed_bytes <= budget:
                return found
    height, width = recipe.image.size
    raise InputError(
        f"method '{recipe.method}' with backbone '{recipe.backbone.name}' needs {size_text(found.needed_bytes)} for "
        f"{count_of(found.batch, 'image')} of {height}x{width} pixels; "
        f"of {size_text(memory_bytes)} given, {size_text(max(0, budget))} can be used",
        _remedy(recipe, budget, found.batch, num_classes, device),
    )


def _remedy(recipe: Recipe, budget: int, batch: int, num_classes: int, device: Device) -> str:
    """Other methods that fit, the most demanding first."""
    fitting: dict[str, int] = {}
    general = {"backbone": recipe.backbone.name, "image_size": recipe.image.size, "batch_size": max(2, batch)}
    for name in method_entries():
        if name != recipe.method:
            try:
                needed = predicted(make_recipe("data", name, general), num_classes, device).needed_bytes
            except ModicumError:
                continue
            if needed <= budget:
                fitting[name] = needed
    lower = "lower --image-size or raise --memory"
    if not fitting:
        return f"{lower}; no other method fits either"
    names: list[str] = sorted(fitting, key=fitting.__getitem__, reverse=True)
    return f"take a method that fits ({listed(names, 5)}), or {lower}"


def free_bytes(device: torch.device) -> int:
    """Default memory budget of a training: a GPU's free memory, or half of the machine's available memory."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return _available_bytes() // 2


def _available_bytes() -> int:
    """Memory available without swapping; the machine's total if the system does not report it."""
    known = Path("/proc/meminfo")
    for line in known.read_text().splitlines() if known.is_file() else []:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
