"""Finds the largest batch whose training fits into a memory budget."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from modicum.data.processes import available_bytes
from modicum.data.stores.shard_writer import size_text
from modicum.engine.recipe.new_recipe import make_recipe
from modicum.engine.recipe.settings import Recipe
from modicum.errors import InputError, ModicumError
from modicum.methods import method_class, method_entries
from modicum.planning.data_facts import DataFacts, assumed_facts
from modicum.planning.memory import Device, MemoryPrediction, predicted
from modicum.wording import count_of, listed

MARGIN = 0.1
"""Share of the memory that is left free, for an allocator's gaps and what a prediction misses."""

RESERVE_BYTES = 512 * 2**20
"""Memory of a process before it has any tensor: CUDA's context on a GPU, Python and its libraries on a CPU."""

LARGEST = 1024
"""Largest batch size that is considered."""

_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {unit[0]: factor for unit, factor in _UNITS.items()}  # 8G, as many tools write it
_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


def parse_memory(text: str | int) -> int:
    """Bytes from ``8GB``, ``8G``, ``500 MB`` or ``7.5GiB``; a number alone, which is no text, is bytes.

    Raises:
        InputError: not a size.
    """
    if isinstance(text, int):
        text = f"{text} B"
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-zA-Z]+)\s*", text)
    unit = _UNITS.get(match[2].lower()) if match else None
    size = int(float(match[1]) * unit) if match and unit else 0
    if size <= 0:
        unit_missing = "" if match or not text.strip().replace(".", "").isdigit() else " (of which unit?)"
        raise InputError(
            f"memory '{text}' is not a size{unit_missing}", "write for instance 8GB, 500MB or 7.5GiB"
        )
    return size


def largest_batch(
    method: str,
    backbone: str,
    image_size: int | tuple[int, int],
    memory_bytes: int,
    *,
    num_classes: int | None = None,
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
    search = BatchSearch(recipe, assumed_facts(recipe, num_classes), device, memory_bytes, reserve_bytes)
    return search.largest(at_most)


@dataclass(frozen=True)
class BatchSearch:
    """Looks for the largest batch of a recipe that fits; the recipe's own batch size does not matter.

    Attributes:
        recipe: settings of the run.
        facts: of the data.
        device: what trains.
        memory_bytes: what the training may take.
        reserve_bytes: of the memory, what is taken before there is any tensor.
    """

    recipe: Recipe
    facts: DataFacts
    device: Device
    memory_bytes: int
    reserve_bytes: int = RESERVE_BYTES

    @property
    def budget(self) -> int:
        """What predictions may add up to."""
        return usable_bytes(self.memory_bytes, self.reserve_bytes)

    @property
    def unit(self) -> int:
        """What batch sizes are multiples of."""
        return self.facts.batch_unit(self.recipe.training.sampling)

    def largest(self, at_most: int = LARGEST) -> tuple[int, MemoryPrediction]:
        """The largest batch of at most so many images (at least one unit), and what is predicted for it.

        Memory is affine in the batch, but for steps where another stage or kernel becomes the largest; a line through
        the two nearest predictions finds the answer in a few, and the last two are of the answer and of the batch after
        it.

        Raises:
            InputError: not even the smallest batch fits; the error names what it needs and the methods that do fit.
        """
        most = max(1, at_most // self.unit)
        units, fits = self._smallest_that_fits(most)
        if (units < 2 <= most and self.unit == 1) or units >= most:
            return fits.batch, fits
        tried = min(most, 4 * units)
        other = self._at(tried)
        too_many = most + 1
        while True:
            if self._fits(other):
                (units, fits), tried_before = (tried, other), (units, fits)
            else:
                too_many, tried_before = min(too_many, tried), (tried, other)
            if units + 1 >= too_many:
                return fits.batch, fits
            tried = self._guess((units, fits), tried_before, too_many)
            other = self._at(tried)

    def _at(self, units: int) -> MemoryPrediction:
        return predicted(with_batch_size(self.recipe, units * self.unit), self.facts, self.device)

    def _fits(self, prediction: MemoryPrediction) -> bool:
        return prediction.needed_bytes <= self.budget

    def _guess(
        self, fits: tuple[int, MemoryPrediction], tried_before: tuple[int, MemoryPrediction], too_many: int
    ) -> int:
        """Where the line through two predictions meets the budget, among the sizes that are still open."""
        slope = (tried_before[1].needed_bytes - fits[1].needed_bytes) / (tried_before[0] - fits[0])
        step = int((self.budget - fits[1].needed_bytes) / slope) if slope > 0 else too_many
        return min(max(fits[0] + step, fits[0] + 1), too_many - 1)

    def _smallest_that_fits(self, most: int) -> tuple[int, MemoryPrediction]:
        """Two images, or one where two are too many (batch normalisation cannot learn from one); or one unit."""
        units = min(2, most) if self.unit == 1 else 1
        prediction = self._at(units)
        if self._fits(prediction):
            return units, prediction
        if units > 1:
            try:
                prediction = self._at(1)
            except InputError:
                pass
            else:
                if self._fits(prediction):
                    return 1, prediction
        height, width = self.recipe.image.size
        raise InputError(
            f"method '{self.recipe.method}' with backbone '{self.recipe.backbone.name}' needs "
            f"{size_text(prediction.needed_bytes)} for {count_of(prediction.batch, 'image')} of {height}x{width} pixels; "
            f"of {size_text(self.memory_bytes)} given, {size_text(max(0, self.budget))} can be used",
            self._remedy(prediction.batch),
        )

    def _remedy(self, batch: int) -> str:
        """Other methods of the same task that fit, the most demanding first."""
        fitting: dict[str, int] = {}
        asked = self.recipe
        general = {
            "backbone": asked.backbone.name,
            "image_size": asked.image.size,
            "batch_size": max(2, batch),
        }
        for name in method_entries():
            if name != asked.method and asked.task in method_class(name).tasks:
                try:
                    recipe = make_recipe("data", name, {**general, "task": asked.task})
                    needed = predicted(recipe, self.facts, self.device).needed_bytes
                except ModicumError:
                    continue
                if needed <= self.budget:
                    fitting[name] = needed
        lower = "lower --image-size or raise --memory"
        if not fitting:
            return f"{lower}; no other method fits either"
        names: list[str] = sorted(fitting, key=fitting.__getitem__, reverse=True)
        return f"take a method that fits ({listed(names, 5)}), or {lower}"


def usable_bytes(memory_bytes: int, reserve_bytes: int) -> int:
    """Largest predicted memory that is allowed."""
    return int((memory_bytes - reserve_bytes) * (1 - MARGIN))


def with_batch_size(recipe: Recipe, batch: int) -> Recipe:
    """The recipe with another batch size."""
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"batch_size": batch})})


def free_bytes(device: torch.device) -> int:
    """Default memory budget of a training: a GPU's free memory, or half of the machine's available memory."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_bytes() // 2
