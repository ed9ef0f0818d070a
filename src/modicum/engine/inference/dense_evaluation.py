"""Scores dense predictions, each at its image's original size, and renders some of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from modicum.data.image import ImageRef, MedicalImage
from modicum.data.manifest import Manifest
from modicum.data.mask_codes import codes_of
from modicum.data.prepared import saliency_of
from modicum.data.readers import read_image
from modicum.data.same_place import PlacedImage, check_same_place
from modicum.engine.inference.dense_prediction import DensePredictor, Predicted
from modicum.engine.inference.displacement import example_displacement
from modicum.engine.pictures import fitted_picture, write_png
from modicum.engine.run_folder import write_json
from modicum.errors import InputError
from modicum.progress import bar
from modicum.tasks import DenseTask
from modicum.tasks.base import AuxiliaryImage, Example
from modicum.tasks.scores import DenseScores

OnOutput = Callable[[int, Float32[np.ndarray, "channels height width"]], None]
"""Takes a row's number and its prediction, at the size of its file."""


def score_dense(
    predictor: DensePredictor,
    manifest: Manifest,
    rows: np.ndarray,
    title: str,
    on_output: OnOutput | None = None,
) -> DenseScores:
    """Predicts rows of a manifest and compares each with its ground truth, at the size of its file.

    Each row's number and prediction is given to ``on_output`` too.
    """
    task = predictor.task
    scores = task.scores()
    with bar(f"evaluating {title}", len(rows)) as progress:
        for predicted in _predicted(replace(predictor, tell=progress.note), manifest, rows):
            assert predicted.image is not None
            assert predicted.activated is not None
            truth = read_truth(task, manifest, predicted.name, predicted.image)
            scores.add(predicted.name, predicted.activated, truth, predicted.image.spacing)
            if on_output is not None:
                on_output(predicted.name, predicted.activated)
            progress.advance()
    return scores


def read_truth(
    task: DenseTask, manifest: Manifest, row: int, predicted: MedicalImage | None = None
) -> dict[str, np.ndarray]:
    """The ground truth of a row, at the size of its files.

    Args:
        task: says what is read.
        manifest: names it.
        row: of the manifest.
        predicted: the row's image, whose size and place in the patient the truth must have.

    Raises:
        InputError: a mask with values that mean nothing, of another size, or of another place in the patient.
    """
    truths: dict[str, np.ndarray] = {}
    shape: tuple[int, int] | None = None
    absent: list[AuxiliaryImage] = []
    for auxiliary in task.auxiliary_images:
        text = manifest.table[auxiliary.column].iloc[row] if auxiliary.column in manifest.table else np.nan
        if not isinstance(text, str):
            absent.append(auxiliary)
            continue
        rule = "range" if auxiliary.kind == "saliency" else auxiliary.intensity_rule
        image = read_image(
            ImageRef.parse(text, manifest.root), window=auxiliary.window, intensity=rule, empty=True
        )
        if predicted is not None:
            place = f"{manifest.describe_row(row)}: its {auxiliary.column}"
            check_same_place(PlacedImage.of_image(predicted), PlacedImage.of_image(image), place)
        shape = image.pixels.shape[1], image.pixels.shape[2]
        truths[auxiliary.column] = _values_of(auxiliary, image)
    if shape is not None:
        truths |= {one.column: np.full(shape, one.absent, np.uint8) for one in absent}
    try:
        return task.ground_truth(truths)
    except InputError as error:
        raise InputError(f"{manifest.describe_row(row)}: {error.problem}", error.remedy) from error


def _values_of(auxiliary: AuxiliaryImage, image: MedicalImage) -> np.ndarray:
    """The values of an auxiliary image, at its original size."""
    if auxiliary.kind == "label_map":
        return codes_of(image)
    return saliency_of(image)[None] if auxiliary.kind == "saliency" else image.pixels[: auxiliary.channels]


def write_dense_examples(
    folder: Path, predictor: DensePredictor, examples: Sequence[Example], manifest: Manifest
) -> None:
    """Writes ``examples.json`` and, for each example, its panels: image, prediction, target, and their difference.

    Where the network can tell how far its translation lies from the target, that is one more panel, ``field``, and
    ``displacement`` in the example's record.
    """
    records = []
    rows = np.array([example.row for example in examples], dtype=np.int64)
    for number, (example, predicted) in enumerate(
        zip(examples, _predicted(predictor, manifest, rows), strict=True)
    ):
        assert predicted.image is not None
        assert predicted.activated is not None
        truth = read_truth(predictor.task, manifest, example.row, predicted.image)
        pixels = _whole(predictor, manifest, predicted)
        pictures = predictor.task.render(pixels, predicted.activated, truth)
        record: dict[str, Any] = {
            "image": str(manifest.table["image"].iloc[example.row]),
            "kind": example.kind,
            "truth": example.truth,
            "prediction": example.prediction,
        }
        wanted = predictor.task.target_image
        if wanted in truth:
            image, target = (manifest.subset([example.row]).refs(name)[0] for name in ("image", wanted))
            displacement = example_displacement(predictor, image, target)
            if displacement is not None:
                record["displacement"], pictures["field"] = displacement[0].as_dict(), displacement[1]
        panels = []
        for name, picture in pictures.items():
            file = f"{number:03d}_{name}.png"
            write_png(folder / file, fitted_picture(picture))
            panels.append({"name": name, "picture": file})
        records.append({**record, "panels": panels})
    write_json(folder / "examples.json", records)


def _whole(
    predictor: DensePredictor, manifest: Manifest, predicted: Predicted[int]
) -> Float32[np.ndarray, "channels height width"]:
    """A predicted row's image at its file's size; for a small network a large JPEG is decoded at half of it."""
    image, settings = predicted.image, predictor.settings
    assert image is not None
    if image.pixels.shape[1:] != (image.source.height, image.source.width):
        ref = manifest.subset([predicted.name]).refs()[0]
        image = read_image(ref, window=settings.window, intensity=settings.intensity_rule, empty=True)
    return image.pixels


def _predicted(predictor: DensePredictor, manifest: Manifest, rows: np.ndarray) -> Iterator[Predicted[int]]:
    """Predictions of rows, with the row as name. Raises for an image that cannot be read."""
    refs = manifest.subset(rows).refs()
    for predicted in predictor.predict(zip(rows.tolist(), refs, strict=True)):
        if predicted.error is not None:
            raise predicted.error
        yield predicted
