"""What a step of ``segment`` costs, what its augmentation costs, and what a large photograph takes in tiles.

    OMP_NUM_THREADS=1 python benchmarks/learning/segmentation/costs.py

Processor seconds on one thread, of made images at the sizes of DRIVE: the network of ``in_domain.py`` on 8 windows of 128
px, and the method's defaults (`resnet18`, 8 windows of 256 px), both in bfloat16; augmentation by the presets
``segmentation`` and ``randaugment``. The photograph has 3504 x 2336 pixels, the tiles 512. Writes
``benchmarks/results/segment_costs.json`` and prints the table of ``results.md``.
"""

import json
import os
import resource
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
from PIL import Image
from torch import Tensor

from modicum.data.image import ImageRef
from modicum.data.prepared import StoreSettings
from modicum.engine.environment import environment
from modicum.engine.inference.dense_prediction import DensePredictor
from modicum.methods import Context, method_class
from modicum.nn import Backbone, SegmentationNetwork
from modicum.tasks.segmentation.targets import MaskCodes
from modicum.tasks.segmentation.task import Segmentation, SegmentationOptions
from modicum.transforms import Augmentation

RESULTS = Path(__file__).parents[2] / "results" / "segment_costs.json"
STORED, BATCH, ROUNDS = (584, 565), 8, 9
NETWORKS: dict[str, tuple[str, dict[str, Any], int]] = {
    "small": ("test_resnet", {"decoder_width": 128, "patch": 128}, 128),
    "default": ("resnet18", {"patch": 256}, 256),
}
PHOTOGRAPH, TILE = (2336, 3504), (512, 512)


def binary() -> Segmentation:
    codes = MaskCodes("binary", ("vessel",), {"vessel": ((1, 255),), "background": ((0, 0),)})
    return Segmentation("binary", {"mask": codes}, SegmentationOptions())


def spent(work: Callable[[], Any], rounds: int = ROUNDS) -> dict[str, float]:
    """Median, least and greatest processor seconds; the first call does not count."""
    work()
    found = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return {"median": statistics.median(found), "min": min(found), "max": max(found)}


def step_of(backbone: str, settings: dict[str, Any], side: int) -> Callable[[], None]:
    """A step of training with AdamW on a batch of windows."""
    torch.manual_seed(0)
    found = method_class("segment")
    task = binary()
    context = Context(task, lambda: Backbone(backbone, (side, side)), {}, {}, image_size=(side, side))
    made = found(found.Config(architecture="unet", **settings), context)
    (stage,) = made.stages()
    (update,) = stage.train().updates()
    optimizer = torch.optim.AdamW(update.parameters, lr=1e-3)
    batch = {
        "image": torch.rand(BATCH, 3, side, side),
        "mask": (torch.rand(BATCH, 1, side, side) < 0.1).to(torch.uint8) * 255,
    }

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = sum(update.losses(task.assemble(batch)).values())
        optimizer.zero_grad()
        assert isinstance(loss, Tensor)
        loss.backward()
        optimizer.step()

    return step


def augmented(preset: str, side: int) -> Callable[[], Any]:
    augment = Augmentation(preset, size=side)
    images = torch.rand(BATCH, 3, *STORED)
    batch = {"image": images, "mask": (images[:, :1] > 0.9).to(torch.uint8) * 255}
    generator = torch.Generator().manual_seed(0)
    return lambda: augment(dict(batch), generator)


def photograph(folder: Path) -> dict[str, float]:
    """Seconds and further memory of a prediction in tiles by a tiny U-Net."""
    pixels = np.zeros((*PHOTOGRAPH, 3), np.uint8)
    pixels[::7, ::5] = 200
    Image.fromarray(pixels).save(folder / "large.png", compress_level=1)
    network = SegmentationNetwork("unet", "test_resnet", 1, decoder_width=16)
    settings, device = StoreSettings(*PHOTOGRAPH), torch.device("cpu")
    predictor = DensePredictor(network, binary(), settings, "32", device, 2, TILE)
    network(torch.rand(2, 3, *TILE))  # code and buffers of the library, and what two tiles take
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    (_,) = predictor.predict([(0, ImageRef(folder / "large.png"))])
    seconds = time.process_time() - began
    return {
        "seconds": seconds,
        "mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }


def main() -> None:
    import tempfile

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Any] = {
            "photograph": photograph(Path(folder))
        }  # first: it looks at the peak of memory
    for name, (backbone, settings, side) in NETWORKS.items():
        found[name] = {"step": spent(step_of(backbone, settings, side))}
        for preset in ("segmentation", "randaugment"):
            found[name][preset] = spent(augmented(preset, side))
        for what, seconds in found[name].items():
            share = seconds["median"] / found[name]["step"]["median"]
            print(f"{name} {what}: {1e3 * seconds['median']:.0f} ms, {100 * share:.0f} %", flush=True)
    print(f"photograph: {found['photograph']['seconds']:.1f} s, {found['photograph']['mib']:.0f} MiB")
    content = {"environment": environment(), **found}
    RESULTS.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
