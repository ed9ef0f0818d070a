"""Pictures of what a stage is shown, drawn once before it learns."""

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from modicum.engine.devices import process_rank
from modicum.engine.inputs.batches import StageData, loader
from modicum.engine.pictures import write_png
from modicum.engine.randomness import seed_globals, undisturbed_generators
from modicum.engine.run_folder import RunFolder
from modicum.methods import TrainStage

IMAGES = 6
"""Training images of a preview, evenly spread over the rows that the stage learns from."""
_GAP, _SMALLEST, _LARGEST = 4, 96, 1600


def write_preview(
    stage: TrainStage, data: StageData, folder: RunFolder, seed: int, device: torch.device
) -> None:
    """Writes ``previews/STAGE.png``, a row an image, for a stage that has a preview; once a run, by the first process.

    Args:
        stage: the stage, with its first weights.
        data: what it learns from.
        folder: of the run.
        seed: the run's seed.
        device: where to compute.
    """
    path = folder.preview(stage.name)
    if process_rank() != 0 or path.exists() or not len(data.train_rows):
        return
    if type(stage).preview is TrainStage.preview:  # no images are read for nothing
        return
    rows = data.train_rows[np.linspace(0, len(data.train_rows) - 1, IMAGES).round().astype(int)]
    rows = np.unique(rows)
    training = stage.training
    with torch.no_grad(), undisturbed_generators():
        seed_globals("preview", seed, stage.name)
        [stored] = loader(data.in_order(rows, len(rows)), 0, pin=False)
        batch = data.on_device({name: tensor.to(device) for name, tensor in stored.items()})
        pictures = stage.to(device).eval().preview(batch)
    stage.train(training)
    if pictures is not None:
        path.parent.mkdir(exist_ok=True)
        write_png(path, _at_most(sheet(pictures.float().cpu()), _LARGEST))


def sheet(pictures: Float[Tensor, "images views c h w"]) -> UInt8[np.ndarray, "height width 3"]:
    """Pictures side by side, a row an image, with a white gap between them; small ones are enlarged."""
    values = pictures.clamp(0, 1).mul(255).round().byte().permute(0, 1, 3, 4, 2).numpy()
    values = values if values.shape[-1] == 3 else np.repeat(values[..., :1], 3, axis=-1)
    factor = -(-_SMALLEST // min(values.shape[2:4]))
    values = values.repeat(factor, 2).repeat(factor, 3)
    images, views, height, width, _ = values.shape
    found = np.full((images * (height + _GAP) - _GAP, views * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for row in range(images):
        for column in range(views):
            top, left = row * (height + _GAP), column * (width + _GAP)
            found[top : top + height, left : left + width] = values[row, column]
    return found


def _at_most(picture: UInt8[np.ndarray, "height width 3"], side: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The picture, made smaller where its longer side has more pixels."""
    scale = side / max(picture.shape[:2])
    if scale >= 1:
        return picture
    size = round(picture.shape[1] * scale), round(picture.shape[0] * scale)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
