"""The budget that all methods of a comparison have by default."""

from collections.abc import Sequence
from typing import Any

from modicum.engine.recipe.given_recipe import GivenRecipe
from modicum.engine.recipe.new_recipe import usual_task
from modicum.methods import method_class
from modicum.tasks import DenseTask, task_class

EPOCHS, BATCH_SIZE, SPLIT_SEED, IMAGE_SIZE = 20, 16, 0, 224
"""The default budget: the same for all methods, whatever their own defaults are.

For methods that predict images, defaults shared by all of them take precedence: image-to-image networks train with
other sizes and batches than classifiers.
"""


def usual_budget(methods: Sequence[str], task: str | None, given: GivenRecipe) -> dict[str, Any]:
    """Default image size, epochs, batch size and split seed for all methods, where a given recipe does not say."""
    budget = _without_recipe(methods, task)
    for key, (part, name) in _IN_RECIPE.items():
        if name in (given.values.get(part) or {}):
            budget.pop(key, None)
    return budget


_IN_RECIPE = {
    "image_size": ("image", "size"),
    "epochs": ("training", "epochs"),
    "batch_size": ("training", "batch_size"),
    "split_seed": ("data", "split_seed"),
}
"""Where a recipe has the settings of the budget."""


def _without_recipe(methods: Sequence[str], task: str | None) -> dict[str, Any]:
    """Default image size, epochs, batch size and split seed for all methods."""
    budget: dict[str, Any] = {
        "image_size": IMAGE_SIZE,
        "epochs": EPOCHS,
        "batch_size": BATCH_SIZE,
        "split_seed": SPLIT_SEED,
    }
    classes = [method_class(name) for name in methods]
    if not issubclass(task_class(task or usual_task(classes[0].tasks)), DenseTask):
        return budget
    defaults = [{"image_size": method.image.get("size"), **method.training} for method in classes]
    for key in ("image_size", "epochs", "batch_size"):
        values = [list(one[key]) if isinstance(one.get(key), tuple) else one.get(key) for one in defaults]
        if values[0] is not None and all(value == values[0] for value in values):
            budget[key] = values[0]
    return budget
