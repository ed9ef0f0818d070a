"""The predictor of a loaded run that fills a table."""

from functools import partial
from pathlib import Path

from modicum.engine.devices import chosen_device
from modicum.engine.inference.prediction import TablePredictor
from modicum.engine.inputs.preparation import store_settings
from modicum.engine.recipe.settings import Recipe
from modicum.engine.scoring import decided
from modicum.methods import Method
from modicum.tasks import ImageLevelTask


def table_predictor(
    recipe: Recipe,
    task: ImageLevelTask,
    method: Method,
    batch_size: int | None = None,
    device: str | None = None,
    maps: Path | None = None,
) -> TablePredictor:
    """Predicts a few numbers an image with a run's method.

    Args:
        recipe: of the run.
        task: of the run.
        method: with what the run has learned.
        batch_size: images in one forward pass; that of the training by default.
        device: where to compute; that of the training by default.
        maps: folder for the predictor's maps.
    """
    return TablePredictor(
        method.predictor(),
        task,
        store_settings(recipe.image, recipe.task, recipe.options),
        batch_size or recipe.training.batch_size,
        recipe.training.precision,
        chosen_device(device or recipe.device),
        recipe.seed,
        partial(decided, method) if method.decides_over == "set" else None,
        maps,
    )
