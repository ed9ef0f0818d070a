"""AADG's two inner loops: divergences of all pairs in one batch, and policies on a batch, each against one at a time.

    OMP_NUM_THREADS=1 python benchmarks/learning/aadg/policy_speed.py

The 18 divergences are those of a step of the paper (6 policies, 3 pairs of domains, 8 features of length 128); the
reference calls geomloss pair by pair with the same settings. The 144 smooth pictures of 256 x 256 pixels are those of a
step, each under the two operations of its sub-policy; the reference has Pillow apply them picture by picture, from and to
float tensors, as a data set that hands tensors over must. Processor time, rounds in turn, one thread. Writes
``benchmarks/results/aadg_policy_speed.json``.
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import modicum  # noqa: F401 - before anything that imports torchvision

# isort: split
import numpy as np
import torch
from geomloss import SamplesLoss
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from torch import Tensor
from torch.nn import functional

from modicum.engine.environment import environment
from modicum.losses import sinkhorn_divergence
from modicum.transforms.policy import (
    MAGNITUDE_LIMITS,
    POLICY_OPERATIONS,
    apply_sub_policies,
    draw_sub_policies,
)

RESULTS = Path(__file__).parents[2] / "results" / "aadg_policy_speed.json"
POLICIES, PAIRS, FEATURES, WIDTH = 6, 3, 8, 128
PICTURES, SIDE, SUB_POLICIES, STEPS = 144, 256, 5, 2
ROUNDS = 9
ENHANCERS = {"contrast": "Contrast", "color": "Color", "brightness": "Brightness", "sharpness": "Sharpness"}
PLAIN = {"autocontrast": ImageOps.autocontrast, "invert": ImageOps.invert, "equalize": ImageOps.equalize}


def with_pillow(image: Image.Image, name: str, magnitude: int, centre: list[float]) -> Image.Image:
    """One operation on one picture."""
    if name in PLAIN:
        return PLAIN[name](image)
    if name == "cutout":
        return cut_out(image, 0.2 * magnitude / 9 * SIDE, centre)
    lowest, highest = MAGNITUDE_LIMITS[name] or (0.0, 0.0)
    value = lowest + magnitude / 9 * (highest - lowest)
    if name == "solarize":
        return ImageOps.solarize(image, value)
    if name == "posterize":
        return ImageOps.posterize(image, int(value))
    return getattr(ImageEnhance, ENHANCERS[name])(image).enhance(value)


def cut_out(image: Image.Image, side: float, centre: list[float]) -> Image.Image:
    """A grey square; its exact edges do not matter for the time."""
    if side == 0:
        return image
    image = image.copy()
    left, top = (int(max(0, place * SIDE - side / 2)) for place in centre)
    right, bottom = min(SIDE, left + side), min(SIDE, top + side)
    ImageDraw.Draw(image).rectangle((left, top, right, bottom), (127, 127, 127))
    return image


def one_by_one(images: Tensor, drawn: dict[str, Tensor]) -> Tensor:
    """The sub-policies of a batch by Pillow."""
    made = torch.empty_like(images)
    for number, image in enumerate(images):
        picture = Image.fromarray((image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
        steps, centres = drawn["steps"][number].tolist(), drawn["centre"][number].tolist()
        for (kind, magnitude), centre in zip(steps, centres, strict=True):
            picture = with_pillow(picture, POLICY_OPERATIONS[kind], magnitude, centre)
        made[number] = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255
    return made


def compared(works: dict[str, Callable[[], Any]]) -> dict[str, dict[str, float]]:
    """Median, least and greatest processor seconds of each work, and of the ratio of the second to the first."""
    spent: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS + 1):
        for name, work in works.items():
            began = time.process_time()
            work()
            spent[name].append(time.process_time() - began)
    spent = {name: values[1:] for name, values in spent.items()}
    ours, theirs = spent.values()
    spent["ratio"] = [b / a for a, b in zip(ours, theirs, strict=True)]
    return {
        name: {"median": statistics.median(values), "min": min(values), "max": max(values)}
        for name, values in spent.items()
    }


def divergences() -> dict[str, Any]:
    torch.manual_seed(0)
    first, second = (
        functional.leaky_relu(torch.randn(POLICIES, PAIRS, FEATURES, WIDTH) + shift, 0.2)
        for shift in (0, 0.3)
    )
    loss = SamplesLoss(
        "sinkhorn", p=2, blur=0.05, scaling=0.5, diameter=2.0, backend="tensorized",
        cost=lambda a, b: 1 - functional.normalize(a, dim=-1) @ functional.normalize(b, dim=-1).mT,
    )  # fmt: skip
    pairs = list(zip(first.flatten(0, 1), second.flatten(0, 1), strict=True))

    def looped() -> Tensor:
        return torch.stack([loss(a, b) for a, b in pairs])

    batched = sinkhorn_divergence(first, second).flatten()
    apart = (batched - looped()).abs().max().item()
    works = {"batched": lambda: sinkhorn_divergence(first, second), "pair by pair": looped}
    return {"greatest_difference": apart, **compared(works)}


def policies() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    images = functional.interpolate(
        torch.rand(PICTURES, 3, 32, 32, generator=generator), SIDE, mode="bilinear"
    )
    shape = (POLICIES, SUB_POLICIES, STEPS)
    table = torch.stack([torch.randint(0, 10, shape, generator=generator) for _ in range(2)], -1)
    drawn = dict(draw_sub_policies(table, torch.arange(PICTURES) % POLICIES, generator))
    works = {
        "batch": lambda: apply_sub_policies(images, drawn),
        "Pillow, one by one": lambda: one_by_one(images, drawn),
    }
    return compared(works)


def main() -> None:
    torch.set_num_threads(1)
    found = {"environment": environment(), "divergences": divergences(), "policies": policies()}
    RESULTS.write_text(json.dumps(found, indent=1, default=str) + "\n")
    print(json.dumps({name: found[name] for name in ("divergences", "policies")}, indent=1))


if __name__ == "__main__":
    main()
