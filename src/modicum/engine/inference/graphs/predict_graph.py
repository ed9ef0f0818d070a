"""Predicts images with an exported graph, without the run: a table as the run itself writes it."""

from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import ValidationError

from modicum.data.layouts.given_images import GivenReading, given_images
from modicum.engine.inference.graphs.runtime import load_graph
from modicum.engine.inference.prediction import PredictionSummary, TablePredictor
from modicum.engine.inputs.preparation import store_settings
from modicum.engine.known_rows import rows_of
from modicum.engine.recipe.settings import ImageSettings
from modicum.errors import InputError
from modicum.output_paths import check_output
from modicum.progress import say
from modicum.tasks import ImageLevelTask
from modicum.tasks.registry import task_from_dict

_BATCH = 16


def predict_graph(
    path: Path,
    given: Sequence[str | Path],
    out: Path | None = None,
    *,
    batch_size: int | None = None,
    reading: GivenReading = GivenReading(),  # noqa: B008 - a value
) -> PredictionSummary:
    """Predicts images, folders of images, or the images of a data set, into a CSV or Parquet file.

    Args:
        path: an ``.onnx`` or ``.xml`` file of ``modicum export``, of a task whose answers are numbers.
        given: what is predicted.
        out: the table; ``predictions.csv`` by default.
        batch_size: images in one pass, 16 by default.
        reading: how data sets among them are read.

    Raises:
        InputError: the file cannot be used, or its method decides over several images, which takes the run.
    """
    if batch_size is not None and batch_size < 1:
        raise InputError(f"--batch-size is {batch_size}", "give a number of images from 1 on")
    network = load_graph(path)
    card = network.card
    try:
        task = task_from_dict(card["task"])
        image = ImageSettings.model_validate(card["image"])
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise InputError(
            f"the card in '{path}' is damaged ({type(error).__name__})", "export the run again"
        ) from error
    if not isinstance(task, ImageLevelTask):
        raise InputError(
            f"'{path}' is of task '{task.name}', whose answers are not a table", "predict with the run"
        )
    if card.get("decides_over") != "image":
        raise InputError(f"method '{card.get('method')}' decides over several images", "predict with the run")
    place = out or Path("predictions.csv")
    images = given_images(given, reading)
    for note in images.notes:
        say(note)
    check_output("--out", place, [*images.tables, path])
    table = TablePredictor(
        network, task, store_settings(image, task.name, {}), batch_size or _BATCH, "32", torch.device("cpu")
    )
    return table.write(images.refs, rows_of(images.names, images.facts), place)
