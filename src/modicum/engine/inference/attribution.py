"""Attribution: gradient-weighted maps of single predictions, as images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.data.manifest import Manifest
from modicum.data.stores.image_store import ImageStore
from modicum.engine.inference.predictor_calls import predictor_outputs
from modicum.engine.inputs.batches import to_unit_range
from modicum.engine.pictures import fitted_picture, write_png
from modicum.engine.run_folder import write_json
from modicum.nn import Classifier
from modicum.nn.attribution import grad_cam, input_gradient
from modicum.progress import say
from modicum.tasks import Example


def attribution_map(
    network: nn.Module,
    image: Float[Tensor, "1 c h w"],
    output: int,
    name: str = "",
    seed: int = 0,
    by_gradient: bool = True,
) -> tuple[Float[Tensor, "h w"], str] | None:
    """The relevance of each pixel of an image for one output, in ``[0, 1]``, and the name of the map.

    Grad-CAM (Selvaraju et al., ICCV 2017): the last feature map's planes, weighted with the mean gradient of the
    output, negative sums cut off. On a transformer the planes are the last block's tokens laid out on their
    grid. Networks without a spatial feature map, or with one of fewer than 3x3 cells, get the gradient of the
    output with respect to the pixels instead, largest over channels and smoothed. A network that knows better
    has a method ``explain(image, output)``, which gives a map and its name, or None (see
    :class:`~modicum.methods.predictor.Explains`); one that only makes maps shows the first of them. None where the
    output does not depend on the pixels by gradients.

    Args:
        network: the predictor.
        image: an image in ``[0, 1]``.
        output: index of the output.
        name: reference of the image, for stochastic predictors.
        seed: the run's seed.
        by_gradient: whether outputs are predictions, which gradients explain.
    """
    with torch.enable_grad():
        if (explain := getattr(network, "explain", None)) is not None:
            explained = explain(image, output)
            return None if explained is None else (_normalised(explained[0], image), explained[1])
        if (maps := getattr(network, "maps", None)) is not None:
            title, made = next(iter(maps(image).items()))
            return _resized(made[:, None], image).clamp(0, 1), f"{title} map"
        if not by_gradient:
            return None
        if isinstance(network, Classifier):
            gradient_map = grad_cam(network, image, output)
            if gradient_map is not None:
                return _normalised(gradient_map, image), "Grad-CAM"
        gradient_map = input_gradient(
            lambda pixels: predictor_outputs(network, pixels, [name], seed), image, output
        )
    return None if gradient_map is None else (_normalised(gradient_map, image), "input gradient")


def _normalised(values: Tensor, image: Tensor) -> Float[Tensor, "h w"]:
    resized = _resized(values, image)
    return resized / resized.max().clamp_min(1e-12)


def _resized(values: Tensor, image: Tensor) -> Float[Tensor, "h w"]:
    size = image.shape[-2:]
    return F.interpolate(values.detach().float(), size, mode="bilinear", align_corners=False)[0, 0]


def write_examples(
    folder: Path,
    network: nn.Module,
    examples: Sequence[Example],
    manifest: Manifest,
    store: ImageStore,
    store_positions: np.ndarray,
    device: torch.device,
    seed: int = 0,
    by_gradient: bool = True,
) -> None:
    """Writes ``examples.json`` and, for each example, the image and the image with its map, where it can be explained."""
    records: list[dict[str, Any]] = []
    for number, example in enumerate(examples):
        pixels = store.get(store_positions[[example.row]])
        image, name = (
            to_unit_range(torch.from_numpy(pixels).to(device)),
            str(manifest.table["image"].iloc[example.row]),
        )
        explained = attribution_map(network, image, example.output, name, seed, by_gradient)
        picture = fitted_picture(np.repeat(pixels[0], 3, axis=2) if pixels.shape[-1] == 1 else pixels[0])
        write_png(folder / f"{number:03d}.png", picture)
        answer = {"probability": example.probability} if example.score is None else {"score": example.score}
        record: dict[str, Any] = {
            "image": name,
            "kind": example.kind,
            "truth": example.truth,
            "prediction": example.prediction,
            **answer,
            "map": None,
            "picture": f"{number:03d}.png",
            "overlay": None,
        }
        if explained is not None:
            attribution, record["map"] = explained
            record["overlay"] = f"{number:03d}_map.png"
            write_png(folder / record["overlay"], _overlaid(picture, attribution.cpu().numpy()))
        records.append(record)
    if records and all(record["map"] is None for record in records):
        say("examples are shown without a map of where the model looked: this predictor cannot be explained")
    write_json(folder / "examples.json", records)


def _overlaid(
    picture: UInt8[np.ndarray, "h w 3"], values: Float[np.ndarray, "h2 w2"]
) -> UInt8[np.ndarray, "h w 3"]:
    values = cv2.resize(values.astype(np.float32), (picture.shape[1], picture.shape[0]))
    colours = cv2.cvtColor(
        cv2.applyColorMap((255 * np.clip(values, 0, 1)).astype(np.uint8), cv2.COLORMAP_INFERNO),
        cv2.COLOR_BGR2RGB,
    )
    share = 0.65 * np.clip(values, 0, 1)[..., None] ** 0.7
    return ((1 - share) * picture + share * colours).round().astype(np.uint8)
