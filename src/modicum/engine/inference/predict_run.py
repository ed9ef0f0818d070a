"""Predicts images with the model of a run: numbers into a table, pictures into a folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from modicum.data.layouts.given_images import images_with_facts
from modicum.engine.devices import chosen_device
from modicum.engine.inference.box_prediction import BoxPredictor
from modicum.engine.inference.dense_jobs import planned, without_own_output
from modicum.engine.inference.dense_output import PSEUDONYM, DenseOutput
from modicum.engine.inference.evaluation import dense_predictor
from modicum.engine.inference.prediction import PredictionSummary, TablePredictor
from modicum.engine.inputs.preparation import store_settings
from modicum.engine.known_rows import rows_of
from modicum.engine.model import load_method
from modicum.engine.recipe.settings import Recipe
from modicum.engine.run_folder import RunFolder
from modicum.engine.scoring import decided
from modicum.errors import InputError
from modicum.methods import Method
from modicum.tasks import BoxListTask, DenseTask, ImageLevelTask, Task


@dataclass(frozen=True)
class PredictionSettings:
    """How images are predicted; see :meth:`modicum.run.Run.predict` for what each means."""

    batch_size: int | None = None
    device: str | None = None
    native: bool = False
    tile: int | None = None
    overlap: float = 0.25
    pseudonym: str = PSEUDONYM
    maps: Path | None = None


def predict_run(
    folder: RunFolder,
    weights: str | None,
    given: Sequence[str | Path],
    out: Path | None,
    settings: PredictionSettings,
    *,
    columns: Mapping[str, str] | None = None,
    allow_outside: bool = False,
) -> PredictionSummary:
    """Predicts images, folders of images, or the images of a data set; see :meth:`modicum.run.Run.predict`.

    Raises:
        InputError: nothing to predict, or the run cannot be used. Broken images are rows with an ``error``.
    """
    names, refs, facts = images_with_facts(given, columns=columns, allow_outside=allow_outside)
    recipe, task, method = load_method(folder, weights)
    check_predicts(folder, task)
    if isinstance(task, DenseTask):
        place = out or Path("predictions")
        output = _dense_output(folder, recipe, task, method, place, settings)
        names, refs = without_own_output(given, names, refs, place)
        return output.write(planned(given, names, refs))
    if settings.native or settings.tile is not None:
        raise InputError(
            f"--native and --tile are for pictures, not for task '{task.name}'", "leave them out"
        )
    if isinstance(task, BoxListTask):
        if settings.maps is not None:
            raise InputError(f"--maps with predictions that are boxes ({task.name})", "leave --maps out")
        found = _box_predictor(recipe, task, method, settings)
        return found.write(refs, names, out or Path("predictions.csv"))
    assert isinstance(task, ImageLevelTask)
    table = _table_predictor(recipe, task, method, settings)
    return table.write(refs, rows_of(names, facts), out or Path("predictions.csv"))


def check_predicts(folder: RunFolder, task: Task) -> None:
    """Raises InputError where a run has learned an encoder only."""
    if not isinstance(task, DenseTask | ImageLevelTask | BoxListTask):
        raise InputError(
            f"run '{folder.name}' has learned an encoder, which predicts nothing by itself",
            f"learn from it: modicum fit DATA --backbone run:{folder.path}",
        )


def _table_predictor(
    recipe: Recipe, task: ImageLevelTask, method: Method, settings: PredictionSettings
) -> TablePredictor:
    return TablePredictor(
        method.predictor(),
        task,
        store_settings(recipe.image, recipe.task, recipe.options),
        settings.batch_size or recipe.training.batch_size,
        recipe.training.precision,
        chosen_device(settings.device or recipe.device),
        recipe.seed,
        partial(decided, method) if method.decides_over == "set" else None,
        settings.maps,
    )


def _box_predictor(
    recipe: Recipe, task: BoxListTask, method: Method, settings: PredictionSettings
) -> BoxPredictor:
    return BoxPredictor(
        method.predictor(),
        task,
        store_settings(recipe.image, recipe.task, recipe.options),
        settings.batch_size or recipe.training.batch_size,
        recipe.training.precision,
        chosen_device(settings.device or recipe.device),
        recipe.seed,
    )


def _dense_output(
    folder: RunFolder,
    recipe: Recipe,
    task: DenseTask,
    method: Method,
    place: Path,
    settings: PredictionSettings,
) -> DenseOutput:
    if settings.maps is not None:
        raise InputError(f"--maps with predictions that are pictures ({task.name})", "leave --maps out")
    if place.suffix.lower() in {".csv", ".parquet"} or place.is_file():
        raise InputError(
            f"--out '{place}' is a file, and predictions of task '{task.name}' are pictures",
            "name a folder",
        )
    device = chosen_device(settings.device or recipe.device)
    predictor = replace(
        dense_predictor(method.predictor(), task, recipe, device, method.tile()),
        batch_size=settings.batch_size or recipe.training.batch_size,
        native=settings.native,
        tile=_tile(settings.tile, settings.native, recipe.image.size, method.tile()),
        overlap=_share(settings.overlap),
    )
    return DenseOutput(predictor, place, f"{folder.name} ({recipe.method})", settings.pseudonym)


def _tile(
    tile: int | None, native: bool, trained: tuple[int, int], own: tuple[int, int] | None
) -> tuple[int, int] | None:
    """Height and width of tiles: as given; else the method's own; at the files' own size, as in training."""
    if tile is None:
        return own or (trained if native else None)
    if tile < 16:
        raise InputError(f"--tile is {tile}", "give a side in pixels from 16 on")
    return tile, tile


def _share(overlap: float) -> float:
    if not 0 <= overlap < 1:
        raise InputError(
            f"--overlap is {overlap:g}", "give a share of the tile from 0 to below 1, such as 0.25"
        )
    return overlap
