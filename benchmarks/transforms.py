"""Images a second through each augmentation preset, against torchvision run image by image.

    OMP_NUM_THREADS=1 python benchmarks/transforms.py

Writes ``benchmarks/results/transforms.json``. Batches of 16 images of 256 x 256 become 224 x 224, on one thread.
torchvision's v2 transforms get the same operations and probabilities, bilinear interpolation, float tensors, and
images one at a time, as in a Dataset. Rounds of the two alternate, so that both meet the same busy machine.
"""

import datetime
import json
import os
import platform
import statistics
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

# Before torchvision, which needs modicum's schemas where its compiled operators are missing.
from modicum.transforms import PRESETS, Augmentation

# isort: split
import torchvision
from torchvision.transforms import InterpolationMode, v2

RESULTS = Path(__file__).parent / "results" / "transforms.json"
BATCH, STORED, SIZE, ROUNDS = 16, 256, 224, 25
BILINEAR = InterpolationMode.BILINEAR


def torchvision_presets() -> dict:
    """The presets that torchvision has all operations for (it has no random gamma, so "chest" lacks it)."""
    resize = v2.Resize((SIZE, SIZE), antialias=True)
    return {
        "none": resize,
        "light": v2.Compose([v2.RandomHorizontalFlip(), resize, v2.ColorJitter(0.1, 0.1)]),
        "fundus": v2.Compose(
            [
                v2.RandomHorizontalFlip(),
                v2.RandomVerticalFlip(),
                v2.ColorJitter(0.2, 0.2),
                v2.RandomResizedCrop(SIZE, scale=(0.87, 1.15), ratio=(0.7, 1.3), antialias=True),
                v2.RandomRotation(180, interpolation=BILINEAR),
                v2.RandomAffine(0, translate=(0.2, 0.2), interpolation=BILINEAR),
            ]
        ),
        "chest": v2.Compose(
            [
                v2.RandomRotation(10, interpolation=BILINEAR),
                v2.RandomAffine(0, translate=(0.05, 0.05), scale=(0.9, 1.1), interpolation=BILINEAR),
                resize,
                v2.ColorJitter(0.1, 0.2),
            ]
        ),
        "natural": v2.Compose(
            [
                v2.RandomResizedCrop(SIZE, antialias=True),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(0.4, 0.4, 0.4),
            ]
        ),
    }


def seconds(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(preset: str, theirs, images: torch.Tensor) -> dict:
    augment, generator = Augmentation(preset, size=SIZE), torch.Generator().manual_seed(0)
    works = {
        "modicum": lambda: augment({"image": images}, generator),
        "torchvision": lambda: torch.stack([theirs(image) for image in images]),
    }
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            times[name].append(seconds(work))
    return {name: rates(each) for name, each in times.items()}


def rates(times: list[float]) -> dict[str, float]:
    """Images a second: the median, and the middle half of the rounds."""
    low, median, high = (BATCH / each for each in statistics.quantiles(times, n=4)[::-1])
    return {"median": round(median), "low": round(low), "high": round(high)}


def processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    return names[0].split(":")[1].strip() if names else platform.machine()


def main() -> None:
    torch.set_num_threads(1)
    images = torch.rand((BATCH, 3, STORED, STORED), generator=torch.Generator().manual_seed(0))
    theirs = torchvision_presets()
    cases = {preset: measure(preset, theirs[preset], images) for preset in PRESETS}
    result = {
        "command": "OMP_NUM_THREADS=1 python benchmarks/transforms.py",
        "date": datetime.date.today().isoformat(),
        "machine": {"cpu": processor(), "cores": os.cpu_count(), "load_average": os.getloadavg()[0]},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        },
        "settings": {"batch": BATCH, "stored": STORED, "size": SIZE, "threads": 1, "rounds": ROUNDS},
        "images_per_second": cases,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    for preset, case in cases.items():
        ours, others = case["modicum"], case["torchvision"]
        print(f"{preset:8s} modicum {ours['median']:5.0f}   torchvision {others['median']:5.0f}  images/s")


if __name__ == "__main__":
    main()
