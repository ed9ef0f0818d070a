"""Pictures of answers, as PNG in memory: predictions, maps, and small copies of the images as they were read."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Integer

from modicum.data.image import ImageRef, MedicalImage
from modicum.data.mask_codes import codes_of
from modicum.data.placement import placed
from modicum.data.prepared import StoreSettings, expand, read_prepared
from modicum.data.readers import read_image
from modicum.data.readers.content import format_of_name
from modicum.engine.devices import autocast
from modicum.engine.inference.attribution import attribution_map
from modicum.engine.inference.dense_jobs import SUFFIX
from modicum.engine.inference.maps import map_prefix
from modicum.engine.inference.predict_run import PredictionSettings
from modicum.engine.inference.predictor_calls import predictor_outputs
from modicum.engine.inputs.batches import to_unit_range
from modicum.engine.inputs.preparation import store_settings
from modicum.engine.recipe.settings import Recipe
from modicum.methods import Method
from modicum.serving.answers import Picture, Wanted
from modicum.serving.uploads import Upload
from modicum.tasks import BoxListTask, Task

PREVIEW_SIDE = 768
PROBABILITY = "_probability_"
_MEDIA = {"png": "image/png", "dicom": "application/dicom", "nifti": "application/octet-stream"}


def encoded(levels: Integer[np.ndarray, "height width *channels"]) -> bytes:
    """Grey or colour (red, green, blue) levels of 8 or 16 bits as PNG."""
    picture = levels if levels.ndim == 2 else levels[..., ::-1]
    done, content = cv2.imencode(".png", np.ascontiguousarray(picture))
    assert done
    return content.tobytes()


def preview_of(upload: Upload, recipe: Recipe, task: Task) -> Picture:
    """An image as the run reads it, with its longer side at most 768 pixels; of several slices the middle one."""
    settings = store_settings(recipe.image, recipe.task, recipe.options)
    image = read_image(
        ImageRef(upload.path),
        window=settings.window,
        intensity=settings.intensity_rule,
        at_least=(PREVIEW_SIDE, PREVIEW_SIDE),
        empty=True,
    )
    pixels = image.pixels.transpose(1, 2, 0)
    scale = PREVIEW_SIDE / max(pixels.shape[:2])
    if scale < 1:
        size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    levels = np.rint(255 * np.clip(pixels, 0, 1)).astype(np.uint8)
    if levels.ndim == 3 and levels.shape[2] == 1:
        levels = levels[..., 0]
    return Picture("preview", "image", _MEDIA["png"], encoded(levels))


def dense_pictures(
    out: Path, files: list[str], masks: bool, wanted: Wanted, settings: PredictionSettings
) -> list[Picture]:
    """Predictions of one upload: its files, or PNG of them, and their maps."""
    kind = "mask" if masks else "image"
    found = []
    for name in files:
        path = out / name
        form = format_of_name(path) or "png"
        if wanted.file:
            found.append(Picture("prediction", "file", _MEDIA[form], path.read_bytes(), path.name))
            continue
        content = path.read_bytes() if form == "png" else middle_slice(path, masks)
        found.append(Picture("prediction", kind, _MEDIA["png"], content, path.name))
        if wanted.maps:
            found += _maps_beside(path, path.parent, f"{PROBABILITY}*")
            if settings.maps is not None:
                found += _maps_beside(path, (settings.maps / name).parent, "_*")
    return found


def _maps_beside(path: Path, folder: Path, ending: str) -> list[Picture]:
    """The maps of a prediction, by the name of its file without what predictions' names end with."""
    before = path.stem.rpartition(SUFFIX)[0]
    dropped = before + ending.rstrip("*")
    return [
        Picture(
            one.stem.removeprefix(dropped).replace("_", " "), "map", _MEDIA["png"], one.read_bytes(), one.name
        )
        for one in sorted(folder.glob(f"{_literal(before)}{ending}.png"))
        if one != path
    ]


def _literal(text: str) -> str:
    """A text that stands for itself in a pattern of file names."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in text)


def middle_slice(path: Path, masks: bool) -> bytes:
    """The middle slice of a predicted volume: codes of masks, 8 bits of images."""
    image = read_image(ImageRef(path), empty=True)
    if masks:
        return encoded(codes_of(image))
    levels = np.rint(255 * image.pixels).astype(np.uint8)
    return encoded(levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0))


def map_files(folder: Path, first: str, upload: Upload) -> list[Picture]:
    """The maps that ``modicum predict --maps`` wrote of an image.

    Args:
        folder: of the maps.
        first: the file that the table names.
        upload: the image.
    """
    prefix = map_prefix(int(first.partition("_")[0]), ImageRef(upload.path))
    return [
        Picture(
            path.stem.removeprefix(prefix).replace("_", " "),
            "map",
            _MEDIA["png"],
            path.read_bytes(),
            path.name,
        )
        for path in sorted(folder.glob(f"{_literal(prefix)}*.png"))
    ]


@dataclass(frozen=True)
class Explainer:
    """Where a predictor of numbers looked, as the examples of a report show it (Grad-CAM and the like)."""

    network: torch.nn.Module
    settings: StoreSettings
    task: Task
    precision: str
    device: torch.device
    seed: int
    by_gradient: bool

    @classmethod
    def of(cls, recipe: Recipe, task: Task, method: Method, device: str) -> "Explainer | None":
        """That of a loaded run; None for boxes, which show by themselves where they are."""
        if isinstance(task, BoxListTask):
            return None
        return cls(
            method.predictor(),
            store_settings(recipe.image, recipe.task, recipe.options),
            task,
            recipe.training.precision,
            torch.device(device),
            recipe.seed,
            method.decides_over == "image",
        )

    def pictures(self, upload: Upload) -> list[Picture]:
        """The map of the output that is largest, at the size of the image; empty where nothing explains it."""
        ref = ImageRef(upload.path)
        image, record = read_prepared(ref, self.settings)
        pixels = np.empty(
            (1, self.settings.height, self.settings.width, self.settings.channels), record.dtype
        )
        expand(record, pixels[0])
        seen = to_unit_range(torch.from_numpy(pixels).to(self.device))
        with torch.no_grad(), autocast(self.precision, self.device):
            outputs = predictor_outputs(self.network, seen, [str(ref)], self.seed).float()
        largest = int(outputs.reshape(1, -1).argmax()) if outputs.numel() > 1 else 0
        explained = attribution_map(self.network, seen, largest, str(ref), self.seed, self.by_gradient)
        if explained is None:
            return []
        values, title = explained
        return [Picture(title, "map", _MEDIA["png"], encoded(self._at_full_size(image, values)))]

    def _at_full_size(
        self, image: MedicalImage, values: Float[torch.Tensor, "height width"]
    ) -> Integer[np.ndarray, "source_height source_width"]:
        seen = np.clip(values.detach().float().cpu().numpy(), 0, 1)[None].astype(np.float32)
        whole = placed(image, self.settings).restored(seen, 0.0)
        return np.rint(255 * np.clip(whole[0], 0, 1)).astype(np.uint8)
