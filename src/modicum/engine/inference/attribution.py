"""Where the model looked: gradient-weighted maps of single predictions, as pictures."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from modicum.data.manifest import Manifest
from modicum.data.stores.image_store import ImageStore
from modicum.engine.inference.pictures import fitted_picture, write_png
from modicum.engine.inputs.batches import to_unit_range
from modicum.engine.run_folder import write_json
from modicum.nn import Classifier
from modicum.tasks import Example


def attribution_map(
    network: nn.Module, image: Float[Tensor, "1 c h w"], output: int
) -> tuple[Float[Tensor, "h w"], str]:
    """How much each place of an image speaks for one output, in ``[0, 1]``, and the name of the map.

    Grad-CAM (Selvaraju et al., ICCV 2017): the last feature map's planes, weighted with the mean gradient of the
    output, negative sums cut off. On a transformer the planes are the last block's tokens laid out on their
    grid. Networks without a spatial feature map, or with one of fewer than 3x3 cells, get the gradient of the
    output with respect to the pixels instead, largest over channels and smoothed. A network that knows better
    has a method ``explain(image, output)``, which gives a map and its name.
    """
    with torch.enable_grad():
        if (explain := getattr(network, "explain", None)) is not None:
            found, name = explain(image, output)
            return _normalised(found, image), name
        if isinstance(network, Classifier):
            found = _grad_cam(network, image, output)
            if found is not None:
                return _normalised(found, image), "Grad-CAM"
        pixels = image.detach().clone().requires_grad_(True)
        network(pixels)[0, output].backward()
    assert pixels.grad is not None
    magnitude = pixels.grad.abs().amax(1, keepdim=True)
    size = max(3, round(max(image.shape[-2:]) / 24) | 1)
    return _normalised(F.avg_pool2d(magnitude, size, stride=1, padding=size // 2), image), "input gradient"


def _grad_cam(network: Classifier, image: Tensor, output: int) -> Tensor | None:
    features = network.backbone.feature_map(image).detach().requires_grad_(True)
    planes = network.backbone.spatial(features)
    if planes is None or min(planes.shape[-2:]) < 3:
        return None
    logit = network.head(network.backbone.pool(features))[0, output]
    (gradient,) = torch.autograd.grad(logit, features)
    slopes = network.backbone.spatial(gradient)
    assert slopes is not None
    weights = slopes.mean((2, 3), keepdim=True)
    if not torch.any(weights):  # a class token alone is read: its gradient does not reach the other tokens
        return None
    return (weights * planes).sum(1, keepdim=True).relu()


def _normalised(values: Tensor, image: Tensor) -> Float[Tensor, "h w"]:
    resized = F.interpolate(values.detach().float(), image.shape[-2:], mode="bilinear", align_corners=False)[
        0, 0
    ]
    return resized / resized.max().clamp_min(1e-12)


def write_examples(
    folder: Path,
    network: nn.Module,
    examples: Sequence[Example],
    manifest: Manifest,
    store: ImageStore,
    store_positions: np.ndarray,
    device: torch.device,
) -> None:
    """Writes ``examples.json`` and, for each example, the image and the image with its map."""
    records = []
    for number, example in enumerate(examples):
        pixels = store.get(store_positions[[example.row]])
        image = to_unit_range(torch.from_numpy(pixels).to(device))
        attribution, kind = attribution_map(network, image, example.output)
        picture = fitted_picture(np.repeat(pixels[0], 3, axis=2) if pixels.shape[-1] == 1 else pixels[0])
        overlay = _overlaid(picture, attribution.cpu().numpy())
        write_png(folder / f"{number:03d}.png", picture)
        write_png(folder / f"{number:03d}_map.png", overlay)
        records.append(
            {
                "image": str(manifest.table["image"].iloc[example.row]),
                "kind": example.kind,
                "truth": example.truth,
                "prediction": example.prediction,
                **(
                    {"probability": example.probability}
                    if example.score is None
                    else {"score": example.score}
                ),
                "map": kind,
                "picture": f"{number:03d}.png",
                "overlay": f"{number:03d}_map.png",
            }
        )
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
